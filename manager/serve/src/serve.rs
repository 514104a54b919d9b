//! The service, and the manager that it starts.

use std::os::fd::OwnedFd;
use std::path::Path;

use lakekeep_identity::{AccountName, HostAccounts, SystemAccounts};
use lakekeep_manager::Inherited;
use lakekeep_manager::config::{Config, ConfigDoc, ConfigError};
use lakekeep_sandbox::host;
use lakekeep_supervisor::{Account, Settings, SupervisorError};

use crate::{ManagerArgs, ServeArgs, say};

/// The first descriptor that systemd passes (`sd_listen_fds(3)`).
const FIRST_PASSED: i32 = 3;

/// Why there is no service.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("this host cannot be examined")]
    Host(#[from] host::ProbeError),
    #[error(
        "root starts a manager for a user of its own: set `user` to a host account that nothing else uses, for example after `useradd --system lakekeep`"
    )]
    NoUser,
    #[error("user: there is no host account {0:?}; make one with `useradd --system {0}`")]
    UnknownUser(String),
    #[error("user: {0} is root; a manager needs no privileges: name another account")]
    RootUser(String),
    #[error("user: only root can start a manager as another user; leave it out")]
    NotRoot,
    #[error("user")]
    Account(#[source] lakekeep_identity::AccountError),
    #[error("user: {0}")]
    Name(String),
    #[error("the path of this program cannot be told")]
    Program(#[source] std::io::Error),
    #[error(
        "LISTEN_FDS={0}: systemd is to pass the API's socket alone; put one ListenStream= in the socket unit"
    )]
    Passed(String),
    #[error("descriptor {0}, which was to be passed, is not open")]
    Descriptor(i32, #[source] rustix::io::Errno),
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    #[error("the signals that were blocked cannot be unblocked")]
    Signals(#[source] rustix::io::Errno),
    #[error("--descriptors is not four numbers; the manager is started by `lakekeep serve`")]
    Descriptors,
    #[error(transparent)]
    Manager(#[from] lakekeep_manager::ManagerError),
}

/// Serves until told to end.
///
/// # Errors
/// Of the configuration, with its line and field; of the host; of the supervisor.
pub fn serve(arguments: &ServeArgs) -> Result<(), ServeError> {
    let config = Config::load(&arguments.config)?;
    if arguments.check {
        let profiles = config.check_profiles()?;
        for warning in config.warnings().iter().chain(&profiles) {
            say(warning);
        }
        return Ok(());
    }
    let settings = settings(&config.doc, &arguments.config)?;
    // The manager reads and checks the files once more, with its own rights.
    drop(config);
    Ok(lakekeep_supervisor::run(settings)?)
}

fn settings(doc: &ConfigDoc, config: &Path) -> Result<Settings, ServeError> {
    let program = std::env::current_exe().map_err(ServeError::Program)?;
    let path = std::path::absolute(config).map_err(ServeError::Program)?;
    let text = |path: &Path| path.display().to_string();
    Ok(Settings {
        socket: doc.socket(),
        functions: doc.functions(),
        given: passed()?,
        runtime: doc.runtime(),
        state: doc.state(),
        launchers: doc.launchers(),
        account: account(doc.user.as_deref())?,
        host: host::probe()?,
        manager: vec![
            text(&program),
            "manager".to_owned(),
            "--config".to_owned(),
            text(&path),
        ],
        notify: std::env::var("NOTIFY_SOCKET").ok(),
    })
}

/// The socket that systemd opened, if it did.
fn passed() -> Result<Option<OwnedFd>, ServeError> {
    let ours = std::process::id().to_string();
    let for_us = std::env::var("LISTEN_PID").is_ok_and(|pid| pid == ours);
    match std::env::var("LISTEN_FDS") {
        Ok(count) if for_us && count == "1" => inherit(FIRST_PASSED).map(Some),
        Ok(count) if for_us && count != "0" => Err(ServeError::Passed(count)),
        _ => Ok(None),
    }
}

fn inherit(number: i32) -> Result<OwnedFd, ServeError> {
    lakekeep_sys::process::inherited(number).map_err(|errno| ServeError::Descriptor(number, errno))
}

fn account(user: Option<&str>) -> Result<Option<Account>, ServeError> {
    let root = rustix::process::geteuid().is_root();
    let user = match (user, root) {
        (Some(user), true) => user,
        (None, true) => return Err(ServeError::NoUser),
        (Some(_), false) => return Err(ServeError::NotRoot),
        (None, false) => return Ok(None),
    };
    let name = AccountName::new(user).map_err(|error| ServeError::Name(error.to_string()))?;
    let found = SystemAccounts.by_name(&name).map_err(ServeError::Account)?;
    let found = found.ok_or_else(|| ServeError::UnknownUser(user.to_owned()))?;
    match found.uid {
        0 => Err(ServeError::RootUser(user.to_owned())),
        uid => Ok(Some(Account {
            uid,
            gid: found.gid,
        })),
    }
}

/// The manager's own process.
///
/// # Errors
/// Of what it was started with; of the manager.
pub fn manager(arguments: &ManagerArgs) -> Result<(), ServeError> {
    // The supervisor waits for its signals with all of them blocked, and a block is
    // inherited.
    lakekeep_sys::signal::unblock_all().map_err(ServeError::Signals)?;
    let [api, functions, facts, lifeline] = arguments.descriptors.as_slice() else {
        return Err(ServeError::Descriptors);
    };
    let inherited = Inherited {
        api: inherit(*api)?,
        functions: inherit(*functions)?,
        facts: inherit(*facts)?,
        lifeline: inherit(*lifeline)?,
    };
    Ok(lakekeep_manager::run(&arguments.config, inherited)?)
}

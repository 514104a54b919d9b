//! The configuration of a test's manager.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Manager;
use super::accounts::{self, ALICE, BOB, SERVICE};
use crate::{HostSnapshot, Place, Privilege, Tracked, fail, lakekeep};

/// What every user gets that has no profile.
const PERSONAL: &str = r#"
version = 1
name = "home-{user}"
owner = "{user}"
images = ["host"]
presets = ["general", "udf", "notebook"]
[limits.default]
memory = "128MiB"
[admin]
expose_host_image = true
"#;

/// Users are the host accounts of their names.
const IDENTITY: &str = r#"
[[identity.rule]]
name = "own"
user = "*"
account = "$1"
"#;

/// A manager in preparation.
#[derive(Debug)]
pub struct Setup {
    place: Place,
    profiles: Vec<(String, String)>,
    personal: Option<String>,
    identity: String,
    tables: String,
    launchers: usize,
    ceilings: Option<PathBuf>,
    egress: Option<String>,
    activated: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

impl Setup {
    /// A manager in a place of its own, with one launcher and personal profiles.
    #[must_use]
    pub fn new() -> Self {
        Self {
            place: Place::new(),
            profiles: Vec::new(),
            personal: Some(PERSONAL.to_owned()),
            identity: IDENTITY.to_owned(),
            tables: String::new(),
            launchers: 1,
            ceilings: None,
            egress: None,
            activated: false,
        }
    }

    /// The place, for what must be there before.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Adds a profile of the administrator's.
    #[must_use]
    pub fn profile(mut self, name: &str, document: &str) -> Self {
        self.profiles.push((name.to_owned(), document.to_owned()));
        self
    }

    /// Another personal profile for everybody.
    #[must_use]
    pub fn personal_whole(mut self, document: &str) -> Self {
        self.personal = Some(document.to_owned());
        self
    }

    /// Adds to everybody's personal profile.
    #[must_use]
    pub fn personal(mut self, more: &str) -> Self {
        self.personal = self.personal.map(|text| text + more);
        self
    }

    /// Bounds of the profiles that users write.
    #[must_use]
    pub fn ceilings(mut self, path: &Path) -> Self {
        self.ceilings = Some(path.to_owned());
        self
    }

    /// The administrator's rules of egress, in a file of their own: [`Manager::egress`].
    #[must_use]
    pub fn egress(mut self, document: &str) -> Self {
        self.egress = Some(document.to_owned());
        self
    }

    /// As systemd starts it: the API's socket is open, and readiness is told to the
    /// socket `m/notify` of the place.
    #[must_use]
    pub fn activated(mut self) -> Self {
        self.activated = true;
        self
    }

    /// Nobody has a personal profile.
    #[must_use]
    pub fn without_personal(mut self) -> Self {
        self.personal = None;
        self
    }

    /// Other identity rules.
    #[must_use]
    pub fn identity(mut self, rules: &str) -> Self {
        rules.clone_into(&mut self.identity);
        self
    }

    /// Adds tables to the configuration.
    #[must_use]
    pub fn tables(mut self, text: &str) -> Self {
        self.tables.push_str(text);
        self
    }

    /// So many launchers.
    #[must_use]
    pub fn launchers(mut self, count: usize) -> Self {
        self.launchers = count;
        self
    }

    /// Starts it and waits until it answers. `None`: a skip was reported.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    #[track_caller]
    pub fn start(self, test: &str) -> Option<Manager> {
        if !accounts::available(test) {
            return None;
        }
        let before = HostSnapshot::take(self.place.path());
        let folder = self.place.dir("m", Privilege::Root);
        let profiles = self.place.dir("m/profiles", Privilege::Root);
        for (name, document) in &self.profiles {
            write(&profiles.join(format!("{name}.toml")), document);
        }
        let mut text = format!(
            "socket = {socket:?}\nruntime = {runtime:?}\nstate = {kept:?}\n\
             user = \"{SERVICE}\"\nlaunchers = {launchers}\nname = \"{test}\"\n\
             [profiles]\nfolder = {profiles:?}\n",
            socket = folder.join("run/lakekeep.sock"),
            runtime = folder.join("run"),
            kept = folder.join("kept"),
            launchers = self.launchers,
        );
        if let Some(personal) = &self.personal {
            let path = folder.join("personal.toml");
            write(&path, personal);
            text.push_str(&format!("personal = {path:?}\n"));
        }
        if let Some(path) = &self.ceilings {
            text.push_str(&format!("ceilings = {path:?}\n"));
        }
        if let Some(document) = &self.egress {
            let path = folder.join("egress.toml");
            write(&path, document);
            text.push_str(&format!("egress = {path:?}\n"));
        }
        if !self.tables.contains("[parked]") {
            // What is made ahead would be counted as left behind.
            text.push_str("[parked]\nper_shape = 0\n");
        }
        let config = folder.join("lakekeep.toml");
        write(&config, &(text + &self.identity + &self.tables));
        let manager = Manager {
            supervisor: match self.activated {
                true => activate(&folder, &config),
                false => spawn(&folder, &config),
            },
            config,
            folder,
            before,
            place: self.place,
        };
        manager.answers();
        Some(manager)
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|e| fail(format_args!("{}: {e}", path.display())));
}

/// Starts `lakekeep serve`; what it says is added to the log.
#[track_caller]
pub(super) fn spawn(folder: &Path, config: &Path) -> Tracked {
    let mut command = serve(Command::new(lakekeep()), folder, config);
    Tracked::spawn(command.stdin(Stdio::null()))
}

fn serve(mut command: Command, folder: &Path, config: &Path) -> Command {
    let path: PathBuf = folder.join("log");
    let log = File::options().create(true).append(true).open(&path);
    let log = log.unwrap_or_else(|e| fail(format_args!("{}: {e}", path.display())));
    command
        .arg("serve")
        .arg("--config")
        .arg(config)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .stdout(Stdio::null())
        .stderr(log);
    command
}

/// As [`spawn`], with the API's socket on descriptor 3 (sd_listen_fds(3)).
#[track_caller]
fn activate(folder: &Path, config: &Path) -> Tracked {
    const GIVE: &str = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"";
    let path = folder.join("run/lakekeep.sock");
    let listener = fs::create_dir_all(folder.join("run"))
        .and_then(|()| UnixListener::bind(&path))
        .and_then(|listener| {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).map(|()| listener)
        });
    let listener = listener.unwrap_or_else(|e| fail(format_args!("{}: {e}", path.display())));
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", GIVE]).arg(lakekeep());
    let mut command = serve(shell, folder, config);
    command
        .env("NOTIFY_SOCKET", folder.join("notify"))
        .stdin(Stdio::from(OwnedFd::from(listener)));
    Tracked::spawn(&mut command)
}

/// A profile that both ordinary users work in, for [`Setup::profile`]; `more` is added.
#[must_use]
pub fn shared_profile(name: &str, more: &str) -> String {
    format!(
        "version = 1\nname = \"{name}\"\nowner = \"{ALICE}\"\nimages = [\"host\"]\n\
         presets = [\"general\"]\n{more}\n\
         [contributors]\nusers = [\"{BOB}\"]\n\
         [limits.default]\nmemory = \"128MiB\"\n\
         [admin]\nexpose_host_image = true\n"
    )
}

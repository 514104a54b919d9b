//! The manager's life: start, adoption, service, end.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lakekeep_api::v1::accounts_server::AccountsServer;
use lakekeep_api::v1::environments_server::EnvironmentsServer;
use lakekeep_api::v1::sandboxes_server::SandboxesServer;
use lakekeep_api::{DESCRIPTORS, MAX_MESSAGE};
use lakekeep_identity::{DelegationKey, JwtAuthenticators, RecentAccounts};
use lakekeep_plan::HostFacts;
use lakekeep_profiles::{Authorizer, Diff, LoadError, ProfileWatcher, Profiles, QueueBounds};
use lakekeep_sandbox::chain;
use lakekeep_store::audit::{AuditLog, Event, Options};
use lakekeep_store::secrets::Vault;
use lakekeep_store::state::Store;
use rustix::process::Resource;
use tokio::io::Interest;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::transport::Server;
use tower_layer::{Identity as Unchanged, Stack};

use crate::admission::{Admissions, Permits};
use crate::calls::Counting;
use crate::config::{Config, ConfigError, TcpDoc};
use crate::door::{self, OverTls};
use crate::environments::Environments;
use crate::events::Events;
use crate::functions::Functions;
use crate::gate::{Gate, now};
use crate::history::History;
use crate::images::Images;
use crate::launchers::Launchers;
use crate::make::Making;
use crate::metrics::{Endpoint, Metrics, MetricsDoc};
use crate::refusals::Refusals;
use crate::registry::Registry;
use crate::trace::Telemetry;
use crate::who::{Authentication, Revoked};
use crate::{accounts, environments, sandboxes, tls};

/// How often what is idle or old is looked for.
const TIDY: Duration = Duration::from_secs(1);

/// A connection that does not answer for so long is closed.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Streams of one connection.
const STREAMS: u32 = 256;

/// How long changes of profiles must rest before they are read.
const QUIET: Duration = Duration::from_millis(200);

/// What a manager is handed by its supervisor.
#[derive(Debug)]
pub struct Inherited {
    /// The API's listening socket.
    pub api: OwnedFd,
    /// That of user functions.
    pub functions: OwnedFd,
    /// The host, as the launchers see it: JSON in a sealed file.
    pub facts: OwnedFd,
    /// Ends when the supervisor does.
    pub lifeline: OwnedFd,
}

/// Why a manager cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManagerError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Something that it needs.
    #[error("cannot {operation}: {why}")]
    Start {
        /// What was attempted.
        operation: &'static str,
        /// Why it failed, and what to do.
        why: String,
    },
}

impl ManagerError {
    fn start(operation: &'static str) -> impl Fn(&(dyn std::error::Error + 'static)) -> Self {
        move |error| Self::Start {
            operation,
            why: chain(error),
        }
    }
}

/// Runs a manager until its supervisor ends or tells it to.
///
/// # Errors
/// [`ManagerError`] when it cannot start.
pub fn run(path: &Path, inherited: Inherited) -> Result<(), ManagerError> {
    let config = Config::load(path)?;
    raise_open_files();
    // The supervisor blocks the signals that it waits for, and a child begins with its
    // parent's mask: none of them would ever arrive here.
    lakekeep_sys::signal::unblock_all()
        .map_err(|errno| ManagerError::start("unblock signals")(&errno))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| ManagerError::start("start threads")(&error))?;
    runtime.block_on(serve(config, inherited))
}

/// Every task has several descriptors.
fn raise_open_files() {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if rustix::process::setrlimit(Resource::Nofile, limit).is_err() {
        // The present limit holds; who meets it is told so.
    }
}

async fn serve(config: Config, inherited: Inherited) -> Result<(), ManagerError> {
    let name = config.doc.name.clone().unwrap_or_else(host_name);
    let telemetry = Telemetry::start(&config.doc.telemetry, &name)
        .map_err(|error| ManagerError::start("start logs and traces")(error.as_ref()))?;
    let served = serve_told(config, inherited).await;
    telemetry.end().await;
    served
}

async fn serve_told(config: Config, inherited: Inherited) -> Result<(), ManagerError> {
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let facts = lakekeep_sys::memfd::read_sealed(&inherited.facts, 1 << 20)
        .map_err(|error| ManagerError::start("read the host's facts")(&error))?;
    let host: HostFacts = serde_json::from_slice(&facts)
        .map_err(|error| ManagerError::start("read the host's facts")(&error))?;
    let runtime = config.doc.runtime();
    let sockets = (0..config.doc.launchers())
        .map(|index| runtime.join("launchers").join(format!("{index}.sock")));
    let metrics = Arc::new(Metrics::counting(&runtime));
    let launchers = Launchers::start(sockets.collect(), &metrics.launchers)
        .map_err(|error| ManagerError::start("start the launchers' threads")(&error))?;
    let state = config.doc.state();
    let store = Store::open(&state.join("state.db"));
    let store = Arc::new(store.map_err(|e| ManagerError::start("open the database")(&e))?);
    let kept = config.doc.history;
    let history = History::start(Arc::clone(&store), kept, metrics.history.clone())
        .map_err(|error| ManagerError::start("start the history's thread")(&error))?;
    let heard = (Events::new(), Arc::clone(&metrics), history.clone());
    let (folder, zygotes) = (runtime.join("sandboxes"), config.doc.zygotes.clone());
    let parked = (config.doc.parked, zygotes);
    let environments = Environments::new(state.join("environments"), &config.doc.environments);
    let images = Images::new(state.join("images"));
    let places = (folder, Arc::new(environments), Arc::new(images));
    let registry = Registry::new(host, launchers, places, heard, parked)
        .map_err(|error| ManagerError::start("make the sandboxes' folder")(&error))?;
    let registry = Arc::new(registry);
    let tcp = config.doc.tcp.clone();
    let mtls = config.auth.mtls().map(|mtls| mtls.ca_file().to_path_buf());
    let numbers = config.doc.metrics.clone();
    let (gate, _watcher) = gate(config, &state, (store, metrics))?;
    let making = Making::new(Arc::clone(&gate), Arc::clone(&registry));
    adopt(&gate, &registry, &making).await?;
    history
        .reconcile(&registry.all(), registry.take_orphans())
        .map_err(|error| ManagerError::start("bring the history up to date")(&error))?;
    let services = Services::new(&gate, &registry, making, state.join("audit.key"));
    let refusals = services.refusals.clone();
    let (stop, stopping) = watch::channel(false);
    let functions = Functions {
        sandboxes: services.sandboxes.clone(),
        refusals: services.refusals.clone(),
    };
    let functions = functions
        .serve(inherited.functions, stopping.clone())
        .map_err(|error| ManagerError::start("listen on the socket of functions")(&error))?;
    let api = unix(services.clone(), inherited.api, stopping.clone())?;
    let mut servers = vec![functions, api];
    if let Some(place) = numbers {
        servers.push(tell_numbers(&place, &gate, &registry).await?);
    }
    if let Some(tcp) = tcp {
        servers.push(over_tcp(services, &tcp, mtls.as_deref(), stopping).await?);
    }
    tokio::spawn(registry.stock().clone().fill());
    notify("READY=1");
    let kept = until_the_end(&gate, &registry, &refusals, &inherited.lifeline).await?;
    stop.send_replace(true);
    if !kept {
        registry.end_all().await;
    }
    for server in servers {
        server.abort();
    }
    history.flush().await;
    let failed = ManagerError::start("write the audit log");
    refusals.tell_all().await.map_err(|error| failed(&error))?;
    let event = Event::allowed(now(), "lakekeep", "manager.stop");
    gate.write(event).await.map_err(|error| failed(&error))
}

/// Opens what is remembered and what decides.
fn gate(
    config: Config,
    state: &Path,
    (store, metrics): (Arc<Store>, Arc<Metrics>),
) -> Result<(Arc<Gate>, ProfileWatcher), ManagerError> {
    let error = ManagerError::start;
    let vault = Vault::open(Arc::clone(&store), &state.join("secrets.key"));
    let options = Options {
        key: Some(state.join("audit.key")),
        ..Options::default()
    };
    let audit_folder = state.join("audit");
    let opened = AuditLog::open(&audit_folder, &options, now());
    let opened = opened.map_err(|e| error("open the audit log")(&e))?;
    if let Some(torn) = &opened.torn {
        let kept = torn.kept_as.display();
        let bytes = torn.bytes;
        tracing::warn!("the audit log ended in {bytes} torn bytes, kept as {kept}");
    }
    let name = config.doc.name.clone().unwrap_or_else(host_name);
    let key = DelegationKey::load_or_create(&state.join("delegation.key"), &name);
    let profiles = Arc::new(profiles(&config, state)?);
    let policies = config.doc.profiles.policies.clone();
    let authorizer = match &policies {
        Some(folder) => Authorizer::load(folder),
        None => Authorizer::new(),
    };
    let authorizer = authorizer.map_err(|errors| ManagerError::Start {
        operation: "read the site's authorization policies",
        why: lines(&errors),
    })?;
    let jwt = JwtAuthenticators::new(&config.auth);
    let gate = Gate {
        authentication: Authentication {
            accounts: RecentAccounts::default(),
            jwt: jwt.map_err(|e| error("prepare the token issuers")(&e))?,
            key: key.map_err(|e| error("open the delegation key")(&e))?,
            revoked: Revoked(Arc::clone(&store)),
            config: config.auth,
        },
        identities: config.identity,
        store,
        vault: vault.map_err(|e| error("open the secrets")(&e))?,
        profiles,
        personal: config.personal,
        authorizer,
        policies,
        audit: opened.log,
        audit_folder,
        admissions: Admissions::new(QueueBounds::default(), Arc::clone(&metrics)),
        permits: Permits::default(),
        metrics,
    };
    let gate = Arc::new(gate);
    let watcher = ProfileWatcher::start(Arc::clone(&gate.profiles), QUIET, report);
    Ok((gate, watcher.map_err(|e| error("watch the profiles")(&e))?))
}

fn profiles(config: &Config, state: &Path) -> Result<Profiles, ManagerError> {
    use std::os::unix::fs::DirBuilderExt;
    let owned = state.join("profiles");
    let mut builder = std::fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(&owned)
        .map_err(|error| ManagerError::start("make the folder of users' profiles")(&error))?;
    let none = state.join("declared");
    let declared = match &config.doc.profiles.folder {
        Some(folder) => folder,
        None => {
            builder
                .create(&none)
                .map_err(|error| ManagerError::start("make a folder of profiles")(&error))?;
            &none
        }
    };
    Profiles::open(declared, Some(&owned), config.ceilings.clone()).map_err(|errors| {
        ManagerError::Start {
            operation: "read the profiles",
            why: lines(&errors),
        }
    })
}

fn lines(errors: &[impl std::error::Error + 'static]) -> String {
    let lines: Vec<String> = errors.iter().map(|error| chain(error)).collect();
    lines.join("\n")
}

/// Reads profiles and policies again: all of them, or the old ones stay.
fn reload(gate: &Gate) {
    report(gate.profiles.reload());
    if let Some(folder) = &gate.policies
        && let Err(errors) = gate.authorizer.reload(folder)
    {
        tracing::error!("policies: the old ones stay:\n{}", lines(&errors));
    }
}

/// Says what became of the profiles.
fn report(reloaded: Result<Diff, Vec<LoadError>>) {
    match reloaded {
        Ok(diff) if diff.is_empty() => {}
        Ok(diff) => tracing::info!("profiles: {diff}"),
        Err(errors) => tracing::error!("profiles: the old ones stay:\n{}", lines(&errors)),
    }
}

fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

async fn adopt(gate: &Gate, registry: &Registry, making: &Making) -> Result<(), ManagerError> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        ManagerError::start("write the audit log")(error)
    };
    let started = Event::allowed(now(), "lakekeep", "manager.start");
    gate.write(started).await.map_err(|error| failed(&error))?;
    let found = registry.adopt_all().await;
    for id in &found.strange {
        let event = Event::allowed(now(), "lakekeep", "sandbox.end").with_sandbox(id);
        let event = event.with_verdict("found at the start, without a record: ended");
        gate.write(event).await.map_err(|error| failed(&error))?;
    }
    for sandbox in registry.all() {
        making.adopt(&sandbox);
        let event = Event::allowed(now(), "lakekeep", "sandbox.adopt");
        let event = crate::make::about(event, &sandbox.meta);
        gate.write(event).await.map_err(|error| failed(&error))?;
    }
    Ok(())
}

/// Everything that is served.
#[derive(Debug, Clone)]
struct Services {
    sandboxes: sandboxes::Service,
    accounts: accounts::Service,
    environments: environments::Service,
    refusals: Refusals,
}

impl Services {
    fn new(gate: &Arc<Gate>, registry: &Arc<Registry>, making: Making, audit_key: PathBuf) -> Self {
        Self {
            sandboxes: sandboxes::Service {
                gate: Arc::clone(gate),
                registry: Arc::clone(registry),
                making,
            },
            environments: environments::Service {
                gate: Arc::clone(gate),
                environments: Arc::clone(registry.environments()),
            },
            accounts: accounts::Service {
                gate: Arc::clone(gate),
                audit_key,
            },
            refusals: Refusals::new(Arc::clone(gate)),
        }
    }

    fn counting(&self) -> Counting {
        Counting::new(Arc::clone(&self.accounts.gate.metrics))
    }

    async fn routes(self) -> Result<Routes, ManagerError> {
        let failed = |error: &(dyn std::error::Error + 'static)| {
            ManagerError::start("describe the interface")(error)
        };
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(|error| failed(&error))?;
        let (reporter, health) = tonic_health::server::health_reporter();
        let sandboxes = SandboxesServer::new(self.sandboxes)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let accounts = AccountsServer::new(self.accounts)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        reporter
            .set_serving::<SandboxesServer<sandboxes::Service>>()
            .await;
        let environments = EnvironmentsServer::new(self.environments)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        reporter
            .set_serving::<EnvironmentsServer<environments::Service>>()
            .await;
        reporter
            .set_serving::<AccountsServer<accounts::Service>>()
            .await;
        let mut routes = Routes::builder();
        routes
            .add_service(health)
            .add_service(reflection)
            .add_service(sandboxes)
            .add_service(accounts)
            .add_service(environments);
        Ok(routes.routes())
    }
}

/// Answers whoever asks for numbers.
async fn tell_numbers(
    place: &MetricsDoc,
    gate: &Arc<Gate>,
    registry: &Arc<Registry>,
) -> Result<Serving, ManagerError> {
    let (gate, registry) = (Arc::clone(gate), Arc::clone(registry));
    let metrics = Arc::clone(&gate.metrics);
    let endpoint = Endpoint::new(metrics, move || {
        let set = gate.profiles.current();
        let mut now = registry.look(|profile| gate.metrics.profile(&set, profile));
        now.queued = i64::try_from(gate.admissions.waiting()).unwrap_or(i64::MAX);
        now
    });
    endpoint
        .start(place)
        .await
        .map_err(|error| ManagerError::start("listen for who asks for metrics")(&error))
}

fn builder(counting: Counting) -> Server<Stack<Counting, Unchanged>> {
    Server::builder()
        .layer(counting)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .max_concurrent_streams(Some(STREAMS))
        .tcp_nodelay(true)
}

type Serving = tokio::task::JoinHandle<()>;

fn unix(
    services: Services,
    api: OwnedFd,
    mut stopping: watch::Receiver<bool>,
) -> Result<Serving, ManagerError> {
    let listener = StdListener::from(api);
    let listener = listener
        .set_nonblocking(true)
        .and_then(|()| UnixListener::from_std(listener))
        .map_err(|error| ManagerError::start("listen on the API's socket")(&error))?;
    Ok(tokio::spawn(async move {
        let (refusals, counting) = (services.refusals.clone(), services.counting());
        let Ok(routes) = services.routes().await else {
            return;
        };
        let served = builder(counting)
            .layer(refusals.clone())
            .add_routes(routes)
            .serve_with_incoming_shutdown(door::begun(listener, refusals), async move {
                // The sender lives until the manager ends.
                drop(stopping.wait_for(|stop| *stop).await);
            });
        if let Err(error) = served.await {
            tracing::error!("the API's socket: {}", chain(&error));
        }
    }))
}

async fn over_tcp(
    services: Services,
    tcp: &TcpDoc,
    authority: Option<&Path>,
    mut stopping: watch::Receiver<bool>,
) -> Result<Serving, ManagerError> {
    let failed = ManagerError::start("serve over TCP");
    let acceptor = tls::acceptor(tcp, authority).map_err(|error| failed(&error))?;
    let counting = services.counting();
    let listener = TcpListener::bind(tcp.listen).await;
    let listener = listener.map_err(|error| failed(&error))?;
    let entrance = OverTls { listener, acceptor };
    let refusals = services.refusals.clone();
    let routes = services.routes().await?;
    Ok(tokio::spawn(async move {
        let served = builder(counting)
            .layer(refusals.clone())
            .add_routes(routes)
            .serve_with_incoming_shutdown(door::begun(entrance, refusals), async move {
                drop(stopping.wait_for(|stop| *stop).await);
            });
        if let Err(error) = served.await {
            tracing::error!("TCP: {}", chain(&error));
        }
    }))
}

/// Tidies up until the end. `true`: sandboxes that survive shall.
async fn until_the_end(
    gate: &Gate,
    registry: &Registry,
    refusals: &Refusals,
    lifeline: &OwnedFd,
) -> Result<bool, ManagerError> {
    let failed = ManagerError::start("wait for signals");
    let mut term = signal(SignalKind::terminate()).map_err(|error| failed(&error))?;
    let mut hup = signal(SignalKind::hangup()).map_err(|error| failed(&error))?;
    let lifeline = rustix::io::fcntl_dupfd_cloexec(lifeline, 3)
        .map_err(std::io::Error::from)
        .and_then(|fd| crate::ready::watch(fd, Interest::READABLE))
        .map_err(|error| failed(&error))?;
    let mut ticks = tokio::time::interval(TIDY);
    loop {
        tokio::select! {
            _ = term.recv() => return Ok(false),
            _ = hup.recv() => reload(gate),
            // Its launchers have ended with it.
            _ = lifeline.readable() => return Ok(true),
            _ = ticks.tick() => {
                registry.tidy(SystemTime::now()).await;
                if refusals.tell().await.is_err() {
                    // The log says itself that it has stopped, to everybody who acts next.
                }
            }
        }
    }
}

/// Tells systemd, if it started us (`sd_notify(3)`).
fn notify(state: &str) {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let Ok(path) = std::env::var("NOTIFY_SOCKET") else {
        return;
    };
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    let sent =
        UnixDatagram::unbound().and_then(|socket| socket.send_to_addr(state.as_bytes(), &address?));
    if let Err(error) = sent {
        tracing::warn!("systemd does not hear us: {error}");
    }
}

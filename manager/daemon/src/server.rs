//! The manager's life: start, adoption, service, end.

mod opening;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lakekeep_egress_rules::FixedAddresses;
use lakekeep_sandbox::chain;
use lakekeep_store::audit::Event;
use lakekeep_store::flows::FlowLog;
use lakekeep_store::state::Store;
use rustix::process::Resource;
use tokio::io::Interest;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tonic::transport::Server;
use tower_layer::{Identity as Unchanged, Stack};

use crate::calls::Counting;
use crate::config::{Config, ConfigError, TcpDoc};
use crate::door::{self, OverTls};
use crate::egress::{Flows, Idle, Relay};
use crate::environments::Environments;
use crate::events::Events;
use crate::functions::Functions;
use crate::gate::{Gate, now};
use crate::history::History;
use crate::images::Images;
use crate::launchers::Launchers;
use crate::local::Local;
use crate::make::Making;
use crate::metrics::{Endpoint, Metrics, MetricsDoc};
use crate::refusals::Refusals;
use crate::registry::Registry;
use crate::services::Services;
use crate::trace::Telemetry;
use crate::{egress, flows, tls};
use opening::{follow, gate, lines, report};

/// How often what is idle or old is looked for.
const TIDY: Duration = Duration::from_secs(1);

/// A connection that does not answer for so long is closed.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Streams of one connection.
const STREAMS: u32 = 256;

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
    pub(crate) fn start(
        operation: &'static str,
    ) -> impl Fn(&(dyn std::error::Error + 'static)) -> Self {
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
    runtime.block_on(serve(config, path, inherited))
}

/// Every task has several descriptors.
fn raise_open_files() {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if rustix::process::setrlimit(Resource::Nofile, limit).is_err() {
        // The present limit holds; who meets it is told so.
    }
}

async fn serve(config: Config, path: &Path, inherited: Inherited) -> Result<(), ManagerError> {
    let name = config.doc.name.clone().unwrap_or_else(host_name);
    let telemetry = Telemetry::start(&config.doc.telemetry, &name)
        .map_err(|error| ManagerError::start("start logs and traces")(error.as_ref()))?;
    let served = serve_told(config, path, inherited).await;
    telemetry.end().await;
    served
}

async fn serve_told(config: Config, path: &Path, inherited: Inherited) -> Result<(), ManagerError> {
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let host = opening::facts(&inherited)?;
    let runtime = config.doc.runtime();
    let sockets = (0..config.doc.launchers())
        .map(|index| runtime.join("launchers").join(format!("{index}.sock")));
    let metrics = Arc::new(Metrics::counting(&runtime));
    let launchers = Launchers::start(sockets.collect(), &metrics.launchers)
        .map_err(|error| ManagerError::start("start the launchers' threads")(&error))?;
    let state = config.doc.state();
    let store = Store::open(&state.join("state.db"));
    let store = Arc::new(store.map_err(|e| ManagerError::start("open the database")(&e))?);
    let flows = flows::open(&state, &config.doc.flows)?;
    let kept = config.doc.history;
    let history = History::start(Arc::clone(&store), kept, metrics.history.clone())
        .map_err(|error| ManagerError::start("start the history's thread")(&error))?;
    let heard = (Events::new(), Arc::clone(&metrics), history.clone());
    let (folder, zygotes) = (runtime.join("sandboxes"), config.doc.zygotes.clone());
    let parked = (config.doc.parked, zygotes);
    let environments = Environments::new(state.join("environments"), &config.doc.environments);
    let (relay, idle, local) = relay(&runtime, &flows, &config.fixed)?;
    let images = Images::new(state.join("images"));
    let places = (folder, Arc::new(environments), Arc::new(images), relay);
    let registry = Registry::new(host, launchers, places, heard, parked)
        .map_err(|error| ManagerError::start("make the sandboxes' folder")(&error))?;
    let registry = Arc::new(registry);
    let tcp = config.doc.tcp.clone();
    let mtls = config.auth.mtls().map(|mtls| mtls.ca_file().to_path_buf());
    let numbers = config.doc.metrics.clone();
    let (changed, changes) = watch::channel(());
    let (gate, _watchers) = gate(config, (path, &state), (store, metrics), changed)?;
    let making = Making::new(Arc::clone(&gate), Arc::clone(&registry));
    adopt(&gate, &registry, &making).await?;
    egress::refresh(&gate, &registry);
    idle.begin()
        .map_err(|error| ManagerError::start("start the relay's thread")(&error))?;
    tokio::spawn(follow(Arc::clone(&gate), Arc::clone(&registry), changes));
    history
        .reconcile(&registry.all(), registry.take_orphans())
        .map_err(|error| ManagerError::start("bring the history up to date")(&error))?;
    let services = Services::new(&gate, &registry, making, (&state, &flows, local.fixed()));
    let refusals = services.refusals.clone();
    let (stop, stopping) = watch::channel(false);
    // Whoever is answered on the Unix socket finds the others open too.
    let mut servers = Vec::new();
    if let Some(place) = numbers {
        servers.push(tell_numbers(&place, &gate, &registry, &flows).await?);
    }
    servers.push(local.serve(&registry, gate.metrics.local.clone()));
    if let Some(tcp) = tcp {
        let services = services.clone();
        servers.push(over_tcp(services, &tcp, mtls.as_deref(), stopping.clone()).await?);
    }
    let functions = Functions {
        sandboxes: services.sandboxes.clone(),
        refusals: services.refusals.clone(),
    };
    let functions = functions.serve(inherited.functions, stopping.clone());
    let failed = ManagerError::start("listen on the socket of functions");
    servers.push(functions.map_err(|error| failed(&error))?);
    servers.push(unix(services, inherited.api, stopping)?);
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
    flows::close(flows).await;
    let failed = ManagerError::start("write the audit log");
    refusals.tell_all().await.map_err(|error| failed(&error))?;
    let event = Event::allowed(now(), "lakekeep", "manager.stop");
    gate.write(event).await.map_err(|error| failed(&error))
}

/// The relay, to which nothing is said yet, and the socket of services that it will be told of.
fn relay(
    runtime: &Path,
    flows: &Arc<FlowLog>,
    fixed: &FixedAddresses,
) -> Result<(Relay, Idle, Local), ManagerError> {
    let local = Local::open(&runtime.join("services"), fixed)
        .map_err(|error| ManagerError::start("listen on the socket of services")(&error))?;
    let sink = Box::new(Flows(Arc::clone(flows)));
    let at = runtime.join("relay").join("relay.sock");
    let (relay, idle) = Relay::new(at, sink, local.offer()?);
    Ok((relay, idle, local))
}

/// Reads profiles, the administrator's rules of egress and policies again: of each all, or the
/// old ones stay.
fn reload(gate: &Gate) {
    gate.bound.reload(&gate.profiles);
    report(gate.profiles.reload());
    if let Some(folder) = &gate.policies
        && let Err(errors) = gate.authorizer.reload(folder)
    {
        tracing::error!("policies: the old ones stay:\n{}", lines(&errors));
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

/// Answers whoever asks for numbers.
async fn tell_numbers(
    place: &MetricsDoc,
    gate: &Arc<Gate>,
    registry: &Arc<Registry>,
    flows: &Arc<FlowLog>,
) -> Result<Serving, ManagerError> {
    let (gate, registry, flows) = (Arc::clone(gate), Arc::clone(registry), Arc::clone(flows));
    let metrics = Arc::clone(&gate.metrics);
    let endpoint = Endpoint::new(metrics, move || {
        let set = gate.profiles.current();
        let mut now = registry.look(|profile| gate.metrics.profile(&set, profile));
        now.queued = i64::try_from(gate.admissions.waiting()).unwrap_or(i64::MAX);
        now.flows = flows.counts();
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
            _ = hup.recv() => {
                reload(gate);
                egress::refresh(gate, registry);
            }
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

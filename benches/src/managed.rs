//! A manager of this run's own, and what is measured of it through its interface.

use std::fs::Permissions;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use lakekeep_client::{Client, ClientError, Command, Create, Event, Output, Session, Target, v1};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::args::Ready;
use crate::error::BenchError;
use crate::ground::{Ground, Guest};
use crate::measure::Sample;

/// The account that the manager runs as: one that every host has.
const SERVICE: &str = "nobody";

/// Its readiness, and every answer, come sooner or not at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// Made ahead of each shape: enough for rounds that come one after the other.
pub const PARKED: usize = 4;

/// The profile of sandboxes that nothing leaves.
pub const CLOSED: &str = "bench";

/// The profile of sandboxes that something may leave.
pub const OPEN: &str = "bench-open";

/// The profile of sandboxes on the host's own programs.
pub const HOST: &str = "bench-host";

/// Where those have the guests.
pub const GUESTS: &str = "/opt/guests";

/// How often a stock is asked for that a busy machine did not make.
const TRIES: u32 = 3;

/// How long one waits before one looks again whether the stock is full.
const AGAIN: Duration = Duration::from_millis(5);

/// A running manager; dropped, it is ended with all that it made.
#[derive(Debug)]
pub struct Server {
    process: Child,
    folder: PathBuf,
}

/// A connection to it, and a sandbox of it that stays.
#[derive(Debug)]
pub struct Managed {
    socket: PathBuf,
    metrics: PathBuf,
    /// How many it makes ahead.
    parked: usize,
    runtime: Runtime,
    client: Client,
    warm: String,
    clock: String,
    guest: String,
}

/// What is asked of the manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// A new sandbox, to the first instruction of a task in it.
    Claim,
    /// A task in a sandbox that is there, from the request to the news of its end.
    Nested,
}

impl Server {
    /// Starts one that makes `parked` sandboxes ahead, and waits until it is ready.
    pub fn start(program: &Path, ground: &Ground, parked: usize) -> Result<Self, BenchError> {
        let folder = ground.folder("manager")?;
        let config = configure(&folder, &ground.root(), parked)?;
        let notify = folder.join("notify");
        let told = UnixDatagram::bind(&notify).map_err(BenchError::file("bind", &notify))?;
        // The manager, which tells it, is another user.
        std::fs::set_permissions(&notify, Permissions::from_mode(0o666))
            .map_err(BenchError::file("chmod", &notify))?;
        told.set_read_timeout(Some(PATIENCE))
            .map_err(BenchError::file("setsockopt", &folder))?;
        let mut command = Process::new(program);
        command
            .args(["serve", "--config"])
            .arg(config)
            .env("NOTIFY_SOCKET", notify)
            .stdin(Stdio::null())
            .stdout(ground.words()?)
            .stderr(ground.words()?);
        let name = || program.display().to_string();
        let process = command.spawn().map_err(|error| BenchError::Start {
            program: name(),
            error,
        })?;
        let server = Self { process, folder };
        let ready = is_ready(&told);
        // Another try binds it again.
        let notify = server.folder.join("notify");
        std::fs::remove_file(&notify).map_err(BenchError::file("unlink", &notify))?;
        match ready {
            true => server.fill(parked).map(|()| server),
            false => Err(BenchError::Failed {
                program: name(),
                status: "did not become ready".to_owned(),
                words: ground.read_words(),
            }),
        }
    }

    /// Has it make its stock. Each sandbox that is asked for earns one that is made ahead, but
    /// for one that was: all are asked for at once, before any is; again, where a busy machine
    /// was too slow for that.
    fn fill(&self, parked: usize) -> Result<(), BenchError> {
        let runtime = runtime(&self.folder)?;
        let metrics = metrics(&self.folder);
        let mut filled = Ok(());
        for _ in 0..TRIES {
            let asked = async {
                let client = Client::connect(Target::unix(socket(&self.folder))).await?;
                let mut all = tokio::task::JoinSet::new();
                for _ in 0..parked {
                    let client = client.clone();
                    all.spawn_local(async move { client.create(create(CLOSED)).await });
                }
                for made in all.join_all().await {
                    client.kill(&made?.id).await?;
                }
                Ok::<_, ClientError>(())
            };
            tokio::task::LocalSet::new().block_on(&runtime, asked)?;
            filled = settle(&metrics, parked);
            if filled.is_ok() {
                break;
            }
        }
        filled
    }

    /// Where it has its sockets.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Managed {
    /// Connects to the manager in `folder`, and asks it for a sandbox that stays.
    pub fn connect(ground: &Ground, folder: &Path, ready: &Ready) -> Result<Self, BenchError> {
        let (socket, runtime) = (socket(folder), runtime(folder)?);
        let (client, warm) = runtime.block_on(async {
            let client = Client::connect(Target::unix(&socket)).await?;
            let warm = client.create(create(CLOSED)).await?.id;
            Ok::<_, ClientError>((client, warm))
        })?;
        Ok(Self {
            socket,
            metrics: metrics(folder),
            parked: ready.parked,
            runtime,
            client,
            warm,
            clock: Ground::clock(),
            guest: ground.guest(Guest::True),
        })
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Waits until as many sandboxes are made ahead as may be: nothing is being made then.
    pub fn settle(&self) -> Result<(), BenchError> {
        settle(&self.metrics, self.parked)
    }

    /// As many new sandboxes at once, and a task in each: the times to their first
    /// instructions, from when the first of them was asked for.
    pub fn burst(&self, count: usize) -> Result<Vec<Duration>, BenchError> {
        self.runtime.block_on(async {
            let before = monotonic();
            let mut all = tokio::task::JoinSet::new();
            for _ in 0..count {
                let (client, clock) = (self.client.clone(), self.clock.clone());
                all.spawn(async move { claim(&client, (create(CLOSED), &clock), before).await });
            }
            let mut times = Vec::new();
            while let Some(one) = all.join_next().await {
                times.push(one.map_err(|error| BenchError::io("join")(error.into()))??);
            }
            Ok(times)
        })
    }

    /// Asks once.
    pub fn once(&self, call: Call) -> Result<Sample, BenchError> {
        match call {
            Call::Claim => self.claim_in(CLOSED),
            Call::Nested => {
                let wall = self.runtime.block_on(self.nested())?;
                Ok(Sample { wall, cpu: None })
            }
        }
    }

    /// A new sandbox in a profile, to the first instruction of a task in it.
    pub fn claim_in(&self, profile: &str) -> Result<Sample, BenchError> {
        self.claim_of(create(profile), &self.clock)
    }

    /// A new sandbox as it is asked for here, to the first instruction of this program in it,
    /// which tells the time.
    pub fn claim_of(&self, create: Create, clock: &str) -> Result<Sample, BenchError> {
        let claimed = async { claim(&self.client, (create, clock), monotonic()).await };
        let wall = self.runtime.block_on(claimed)?;
        Ok(Sample { wall, cpu: None })
    }

    async fn nested(&self) -> Result<Duration, BenchError> {
        let began = Instant::now();
        let command = Command::new(&self.warm, [self.guest.as_str()]).no_stdin();
        read(self.client.exec(command).await?.output).await?;
        Ok(began.elapsed())
    }

    /// Runs the guest that stays, and looks at it; and its outcome, as JSON.
    pub fn look<T>(
        &self,
        ground: &Ground,
        look: impl FnOnce() -> T,
    ) -> Result<(T, Value), BenchError> {
        let held = async {
            let guest = ground.guest(Guest::Hold);
            let command = Command::new(&self.warm, [guest.as_str()]);
            let mut session = self.client.exec(command).await?;
            while let Some(event) = session.output.next().await? {
                if matches!(event, Event::Stdout(_)) {
                    break;
                }
            }
            let found = look();
            let Session { stdin, output, .. } = session;
            stdin.end().await?;
            let (_, outcome) = read(output).await?;
            Ok((found, serde_json::from_str(&outcome)?))
        };
        self.runtime.block_on(held)
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("run/lakekeep.sock")
}

fn metrics(folder: &Path) -> PathBuf {
    folder.join("run/metrics/m.sock")
}

fn runtime(folder: &Path) -> Result<Runtime, BenchError> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let built = builder.enable_all().build();
    built.map_err(BenchError::file("epoll_create", folder))
}

fn settle(metrics: &Path, parked: usize) -> Result<(), BenchError> {
    let began = Instant::now();
    while stock(metrics)? < parked {
        if began.elapsed() > PATIENCE {
            return Err(BenchError::Failed {
                program: "the manager".to_owned(),
                status: "makes no sandboxes ahead".to_owned(),
                words: String::new(),
            });
        }
        std::thread::sleep(AGAIN);
    }
    Ok(())
}

/// How many sandboxes are made ahead, as the manager's metrics say.
fn stock(metrics: &Path) -> Result<usize, BenchError> {
    let ask = || {
        let mut stream = UnixStream::connect(metrics)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let text: String = ask().map_err(BenchError::io("read the manager's metrics"))?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("lakekeep_parked "));
    Ok(value
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0))
}

/// A sandbox for one task. The guest reads the clock that this process reads.
async fn claim(
    client: &Client,
    (create, clock): (Create, &str),
    before: Duration,
) -> Result<Duration, BenchError> {
    let command = Command::once(create, [clock]).no_stdin();
    let (first, _) = read(client.exec(command).await?.output).await?;
    first_instruction(&first, before)
}

/// From `before` to what a guest says of its beginning.
pub fn first_instruction(said: &[u8], before: Duration) -> Result<Duration, BenchError> {
    let stamp: [u8; 8] = said.try_into().map_err(|_| BenchError::Failed {
        program: Ground::clock(),
        status: "it told no time".to_owned(),
        words: String::new(),
    })?;
    Ok(Duration::from_nanos(u64::from_ne_bytes(stamp)).saturating_sub(before))
}

/// A task's output, to its end, which must be a good one; and its outcome.
async fn read(mut output: Output) -> Result<(Vec<u8>, String), BenchError> {
    let (mut all, mut outcome) = (Vec::new(), String::new());
    while let Some(event) = output.next().await? {
        match event {
            Event::Stdout(bytes) => all.extend_from_slice(&bytes),
            Event::Stderr(_) => {}
            Event::Ended(end) if end.exit_code == 0 => outcome = end.outcome,
            Event::Ended(end) => {
                return Err(BenchError::Failed {
                    program: "a task".to_owned(),
                    status: format!("exit code {}", end.exit_code),
                    words: end.outcome,
                });
            }
        }
    }
    Ok((all, outcome))
}

/// As an engine asks for it: it ends with its manager.
pub fn create(profile: &str) -> Create {
    Create::new().profile(profile).kind(v1::Kind::Udf)
}

/// The clock that guests read too.
pub fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

fn is_ready(told: &UnixDatagram) -> bool {
    let mut message = [0; 256];
    loop {
        match told.recv(&mut message) {
            Ok(length)
                if message
                    .get(..length)
                    .is_some_and(|m| m.starts_with(b"READY=1")) =>
            {
                return true;
            }
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

/// Writes the configuration, and profiles with the shared root file system as image.
fn configure(folder: &Path, image: &Path, parked: usize) -> Result<PathBuf, BenchError> {
    let profiles = folder.join("profiles");
    std::fs::create_dir_all(&profiles).map_err(BenchError::file("mkdir", &profiles))?;
    let own = format!("images = [{image:?}]\n");
    let open = format!("{own}[egress]\nrules = [\"allow tls pypi.example:443\"]\n");
    let host = format!(
        "images = [\"host\"]\n[admin]\nexpose_host_image = true\n\
         [[volume]]\nname = \"guests\"\nsource = {image:?}\ntarget = {GUESTS:?}\nowner = \"project\"\n"
    );
    for (name, more) in [(CLOSED, own), (OPEN, open), (HOST, host)] {
        let profile = format!(
            "version = 1\nname = {name:?}\nowner = \"root\"\nproject = \"bench\"\n\
             presets = [\"general\"]\n{more}"
        );
        let path = profiles.join(format!("{name}.toml"));
        std::fs::write(&path, profile).map_err(BenchError::file("write", &path))?;
    }
    let text = format!(
        "user = \"{SERVICE}\"\nname = \"bench\"\nlaunchers = 2\n\
         socket = {socket:?}\nruntime = {run:?}\nstate = {state:?}\n\
         [profiles]\nfolder = {profiles:?}\n\
         [parked]\nper_shape = {parked}\nper_second = 100\n\
         [metrics]\nsocket = {metrics:?}\n\
         [[identity.rule]]\nname = \"bench\"\nproject = \"bench\"\n\
         shared = {{ uid = 700001, gid = 700001, name = \"bench\" }}\n",
        socket = folder.join("run/lakekeep.sock"),
        run = folder.join("run"),
        metrics = folder.join("run/metrics/m.sock"),
        state = folder.join("state"),
    );
    let path = folder.join("lakekeep.toml");
    std::fs::write(&path, text).map_err(BenchError::file("write", &path))?;
    Ok(path)
}

fn end(process: &mut Child) {
    let pid = i32::try_from(process.id()).ok();
    let pid = pid.and_then(rustix::process::Pid::from_raw);
    // It ends its sandboxes and launchers before itself.
    let told = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::TERM));
    if !matches!(told, Some(Ok(()))) || process.wait().is_err() {
        // It has ended already.
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

//! All sandboxes of this manager: made, found, taken over, ended in time.

mod ahead;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use lakekeep_api::Reason;
use lakekeep_content::Pin;
use lakekeep_plan::{EgressPlan, HostFacts, Plan};
use lakekeep_policy::Policy;
use lakekeep_protocol::launch::{HeldSandbox, RootfsStep};
use lakekeep_sandbox::service::{self, Held};
use lakekeep_sandbox::{Kind as VerdictKind, Verdict};

use crate::egress::{self, Outlet, Relay};
use crate::environments::Environments;
use crate::events::{Events, What};
use crate::fault::Fault;
use crate::history::{History, Orphan};
use crate::images::Images;
use crate::launchers::{Launcher, Launchers};
use crate::maker::{Ingredients, Kept, Maker, Replicated, Request};
use crate::meta::{Kind, Meta};
use crate::metrics::{Metrics, Snapshot, Stage, kind};
use crate::overdue::overdue;
use crate::parked::{Late, ParkedDoc, Stock, ZygoteDoc};
use crate::record::{policy_of, read_record, records, remove_folder, write_record};
use crate::sandbox::frozen::{self, is_frozen};
use crate::sandbox::{Parts, Phase, Sandbox, lock, variables};

/// How long an ended sandbox and its output can still be asked for.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Most ended sandboxes that are remembered: each takes some tens of KiB of memory.
const MOST_REMEMBERED: usize = 1_000;

/// The sandboxes.
#[derive(Debug)]
pub struct Registry {
    host: Arc<HostFacts>,
    launchers: Launchers,
    /// Each sandbox has a folder in it.
    folder: PathBuf,
    sandboxes: Mutex<BTreeMap<String, Arc<Sandbox>>>,
    events: Events,
    metrics: Arc<Metrics>,
    history: History,
    stock: Stock,
    zygotes: Vec<ZygoteDoc>,
    environments: Arc<Environments>,
    relay: Relay,
    images: Arc<Images>,
}

/// A sandbox to be made.
#[derive(Debug)]
pub struct Wanted {
    /// Whose and what for; its identifier and time of birth are set here.
    pub meta: Meta,
    /// What is allowed.
    pub policy: Policy,
    /// Where volumes may be attached later.
    pub later: Vec<String>,
    /// Its environment.
    pub environment: Option<Replicated>,
    /// What may leave it, by everybody's rules.
    pub egress: Option<EgressPlan>,
    /// What keeps its image, where it is one of the store.
    pub image: Option<Arc<Pin>>,
}

/// What adoption came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// Taken over.
    pub adopted: Vec<String>,
    /// Found, and ended: nobody knows whose they were.
    pub strange: Vec<String>,
}

impl Registry {
    /// None yet.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(
        host: HostFacts,
        launchers: Launchers,
        (folder, environments, images, relay): (PathBuf, Arc<Environments>, Arc<Images>, Relay),
        (events, metrics, history): (Events, Arc<Metrics>, History),
        (parked, zygotes): (ParkedDoc, Vec<ZygoteDoc>),
    ) -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        Ok(Self {
            host: Arc::new(host),
            stock: Stock::new(parked, launchers.clone(), metrics.parked.clone()),
            launchers,
            folder,
            sandboxes: Mutex::new(BTreeMap::new()),
            events,
            metrics,
            history,
            zygotes,
            environments,
            relay,
            images,
        })
    }

    /// What lives now, by what `label` makes of a profile's name.
    pub fn look(&self, label: impl Fn(&str) -> String) -> Snapshot {
        let mut now = Snapshot::default();
        for sandbox in self.all() {
            let state = match sandbox.phase() {
                Phase::Running => "running",
                Phase::Frozen => "frozen",
                Phase::Ended(..) => {
                    now.ended += 1;
                    continue;
                }
            };
            let of = (kind(sandbox.meta.kind), label(&sandbox.meta.profile), state);
            *now.sandboxes.entry(of).or_default() += 1;
            let runs = |task: &Arc<crate::task::Task>| task.ended().is_none();
            let tasks = sandbox.tasks().into_iter().filter(runs).count();
            now.tasks += i64::try_from(tasks).unwrap_or(0);
        }
        now
    }

    /// Users' environments.
    pub fn environments(&self) -> &Arc<Environments> {
        &self.environments
    }

    /// The images that sandboxes may have.
    pub fn images(&self) -> &Arc<Images> {
        &self.images
    }

    /// What is made ahead.
    pub fn stock(&self) -> &Stock {
        &self.stock
    }

    /// The launchers.
    pub fn launchers(&self) -> &Launchers {
        &self.launchers
    }

    /// Where events are told.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Makes a sandbox, or makes one that was made ahead its caller's.
    ///
    /// # Errors
    /// `BadPolicy`, `NotEnforced`, `Unavailable`; nothing is left of it then.
    pub async fn create(&self, wanted: Wanted) -> Result<Arc<Sandbox>, Fault> {
        let mut meta = wanted.meta;
        meta.id = identifier()?;
        meta.created = SystemTime::now();
        let later = wanted.later;
        let kept = Kept {
            environment: wanted.environment,
            image: wanted.image,
        };
        let made_of = (wanted.policy, kept.clone(), wanted.egress);
        let planned = async {
            let (maker, plan) = self.plan(&meta, made_of, &later)?;
            let divided = self.divide(&meta, (&maker, &plan), (&kept, &later));
            Ok::<_, Fault>((maker, plan, divided))
        };
        let (maker, plan, divided) = self.metrics.stage(Stage::Plan, planned).await?;
        let zygote = || self.zygote(&maker).filter(|_| kept.environment.is_none());
        let ready = divided.and_then(|divided| Some((self.stock.take(&divided, zygote)?, divided)));
        let sandbox = match ready {
            Some((parked, divided)) => {
                let again = (kept, later.as_slice());
                self.claim(parked, divided, (meta, maker, plan), again)
                    .await
            }
            None => self.make(meta, maker, plan).await,
        }?;
        let preset = sandbox.maker.policy().preset();
        self.history.made(&sandbox.meta, preset.as_str());
        self.events.tell(&sandbox.meta, 0, What::Created, "");
        Ok(sandbox)
    }

    async fn make(&self, meta: Meta, maker: Maker, plan: Plan) -> Result<Arc<Sandbox>, Fault> {
        let launcher = self.launchers.idlest();
        let launcher = launcher.ok_or_else(|| Fault::new(Reason::Unavailable, "no launcher"))?;
        let folder = self.write_record(&meta, &plan)?;
        let asked = plan.clone();
        let held = launcher.ask("create", move |service| service.create(&asked));
        let held = self.metrics.stage(Stage::LauncherCreate, held).await;
        let made = match held {
            Ok(held) => {
                self.admit(
                    self.parts((meta, maker, plan), launcher, held),
                    Late::default(),
                )
                .await
            }
            Err(error) => Err(error.into()),
        };
        match &made {
            Ok(sandbox) => sandbox.get_ready(),
            Err(_) => remove_folder(&folder),
        }
        made
    }

    fn write_record(&self, meta: &Meta, plan: &Plan) -> Result<PathBuf, Fault> {
        let folder = self.folder.join(&meta.id);
        write_record(&folder, meta, plan)
            .map_err(|error| Fault::internal("write a sandbox's record", &error))?;
        Ok(folder)
    }

    fn parts(
        &self,
        (meta, maker, plan): (Meta, Maker, Plan),
        launcher: Arc<Launcher>,
        held: Held,
    ) -> Parts {
        let outlet = plan.egress.as_ref();
        let outlet = outlet.map(|rules| Outlet::new(self.relay.clone(), &meta, rules.clone()));
        Parts {
            folder: self.folder.join(&meta.id),
            meta,
            maker,
            plan,
            launcher,
            held,
            outlet,
            zygote: None,
            frozen: None,
            events: self.events.clone(),
            metrics: Arc::clone(&self.metrics),
            history: self.history.clone(),
        }
    }

    /// The maker of its plans, and its own.
    fn plan(
        &self,
        meta: &Meta,
        (policy, kept, egress): (Policy, Kept, Option<EgressPlan>),
        later: &[String],
    ) -> Result<(Maker, Plan), Fault> {
        let maker = Maker::new(Ingredients {
            id: meta.id.clone(),
            policy,
            kept,
            programs: programs(meta),
            host: Arc::clone(&self.host),
            interpreter: meta.interpreter.clone(),
            owners: meta.owners.clone(),
            lasting: meta.kind != Kind::Udf,
            egress: egress.clone(),
        })?;
        let mut plan = maker.plan(&Request {
            arguments: vec![b"true".to_vec()],
            ..Request::default()
        })?;
        // With the documents, for the relay and for a successor.
        plan.egress = egress;
        make_places(&mut plan, later);
        Ok((maker, plan))
    }

    /// Takes a sandbox into service, with these mounts besides; or ends it.
    async fn admit(&self, mut parts: Parts, late: Late) -> Result<Arc<Sandbox>, Fault> {
        let sockets = parts.held.egress.take();
        let sandbox = Sandbox::start(parts)?;
        let shown = async {
            if let Some(extension) = late.environment {
                sandbox.extend(extension).await?;
            }
            for step in late.volumes {
                sandbox.show(step).await?;
            }
            let kept = sandbox.keep_init();
            self.metrics.stage(Stage::KeepInit, kept).await
        };
        // Meanwhile: the relay waits for none of it, and no task starts before both are done.
        let opened = async {
            match sockets {
                Some(sockets) => sandbox.let_out(sockets).await,
                None => Ok(()),
            }
        };
        let (shown, opened) = tokio::join!(shown, opened);
        match shown.and(opened) {
            Ok(()) => {
                lock(&self.sandboxes).insert(sandbox.id().to_owned(), Arc::clone(&sandbox));
                Ok(sandbox)
            }
            Err(fault) => {
                give_up(&sandbox).await;
                Err(fault)
            }
        }
    }

    /// A sandbox by identifier.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn get(&self, id: &str) -> Result<Arc<Sandbox>, Fault> {
        let found = lock(&self.sandboxes).get(id).cloned();
        found.ok_or_else(|| Fault::no_sandbox(id))
    }

    /// All of them, also ended ones that are remembered, in the order of their
    /// identifiers.
    pub fn all(&self) -> Vec<Arc<Sandbox>> {
        lock(&self.sandboxes).values().cloned().collect()
    }

    /// Takes over what launchers hold from an earlier manager. A sandbox of which
    /// there is no record is ended: nobody could answer for it.
    pub async fn adopt_all(&self) -> Adopted {
        let mut result = Adopted::default();
        for launcher in self.launchers.all() {
            let held = launcher.ask("list", |service| service.list()).await;
            for sandbox in held.unwrap_or_default() {
                let id = sandbox.id.clone();
                match self.adopt(launcher, sandbox).await {
                    Ok(()) => result.adopted.push(id),
                    Err(_) => {
                        let strange = id.clone();
                        let done =
                            launcher.ask("destroy", move |service| service.destroy(&strange));
                        if done.await.is_err() {
                            // It ended meanwhile.
                        }
                        result.strange.push(id);
                    }
                }
            }
        }
        let (adopted, strange) = (result.adopted.len(), result.strange.len());
        self.metrics.sandboxes.adopted(adopted, strange);
        result
    }

    async fn adopt(&self, launcher: &Arc<Launcher>, found: HeldSandbox) -> Result<(), Fault> {
        let folder = self.folder.join(&found.id);
        let (meta, plan) = read_record(&folder)
            .map_err(|error| Fault::internal("read a sandbox's record", &error))?;
        let image = meta.stored_image.as_ref();
        let image = image.map(|stored| self.images.again(stored)).transpose()?;
        let variables = variables::kept(launcher, &found).await?;
        let policy = policy_of(&meta, variables, image.as_ref())?;
        let environment = meta.environment.as_ref();
        let environment = environment
            .map(|found| self.environments.again(found))
            .transpose()?
            .map(|(known, pin)| (known, Arc::new(pin)));
        let image = image.map(|image| image.pin);
        let maker = Maker::new(Ingredients {
            id: meta.id.clone(),
            policy,
            kept: Kept { environment, image },
            programs: programs(&meta),
            host: Arc::clone(&self.host),
            interpreter: meta.interpreter.clone(),
            owners: meta.owners.clone(),
            lasting: meta.kind != Kind::Udf,
            egress: plan.egress.clone(),
        })?;
        let ways = match &plan.egress {
            Some(_) => Some(egress::kept(launcher, &found.id).await?),
            None => None,
        };
        let (id, nonce, frozen) = (found.id.clone(), nonce()?, is_frozen(&found));
        let (held, told) = launcher
            .ask("adopt", move |service| {
                if frozen {
                    return Ok((frozen::adopt(service, &id, nonce)?, None));
                }
                let held = service.adopt(&id)?;
                let told = service::take_over(&held.init, nonce)?;
                Ok((held, Some(told)))
            })
            .await?;
        let mut parts = self.parts((meta, maker, plan), Arc::clone(launcher), held);
        parts.frozen = frozen.then_some(nonce);
        let sandbox = self.admit(parts, Late::default()).await?;
        if let (Some(outlet), Some(ways)) = (sandbox.outlet(), ways) {
            outlet.open_again(ways);
        }
        sandbox.recall_volumes();
        sandbox.recall_numbers();
        self.events.tell(&sandbox.meta, 0, What::Adopted, "");
        // Of a frozen one, all that may run are taken up: its init tells later which do.
        let known = |number: &u32| match &told {
            Some((running, ends)) => {
                running.contains(number) || ends.iter().any(|end| end.task == *number)
            }
            None => true,
        };
        let slots = found.slots.iter();
        let numbers = slots.filter_map(|slot| slot.strip_prefix("task-")?.parse().ok());
        for number in numbers.filter(known) {
            if sandbox.adopt(number).await.is_err() {
                // Its record or its streams are not there: nobody was told that it started.
            }
        }
        match told {
            Some((running, ends)) => sandbox.take_over(&running, ends),
            None => Ok(()),
        }
    }

    /// Removes the folders of sandboxes that are not there any more, and gives what they
    /// told of them.
    pub fn take_orphans(&self) -> Vec<Orphan> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        let known = lock(&self.sandboxes);
        let mut orphans = Vec::new();
        for entry in entries.flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            if name.to_str().is_some_and(|name| known.contains_key(name)) {
                continue;
            }
            if let Ok((meta, _)) = read_record(&path) {
                let tasks = records(&path);
                orphans.push(Orphan { meta, tasks });
            }
            remove_folder(&path);
        }
        orphans
    }

    /// Ends what is idle or old, and forgets what ended long ago.
    pub async fn tidy(&self, now: SystemTime) {
        self.stock.tidy(Instant::now()).await;
        let mut ended = Vec::new();
        for sandbox in self.all() {
            if let Phase::Ended(_, at) = sandbox.phase() {
                ended.push((at, sandbox));
            } else if let Some(verdict) = overdue(&sandbox, now)
                && sandbox.kill(verdict).await.is_err()
            {
                // Its launcher is gone, and it with it; or it is tried again next time.
            }
        }
        ended.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        let old = |at: SystemTime| now.duration_since(at).unwrap_or_default() > REMEMBERED;
        for (index, (at, sandbox)) in ended.into_iter().enumerate() {
            if index >= MOST_REMEMBERED || old(at) {
                self.forget(&sandbox);
            }
        }
    }

    fn forget(&self, sandbox: &Sandbox) {
        lock(&self.sandboxes).remove(sandbox.id());
        remove_folder(sandbox.folder());
    }

    /// Ends every sandbox: this manager will have no successor.
    pub async fn end_all(&self) {
        for sandbox in self.all() {
            let verdict = Verdict::of_sandbox(
                VerdictKind::Killed,
                "ended with its manager".to_owned(),
                "start the manager again",
            );
            if sandbox.kill(verdict).await.is_err() {
                // Its launcher ends next, and takes it along.
            }
            // Nobody will ask for its output any more.
            remove_folder(sandbox.folder());
        }
    }
}

/// Where a sandbox's image has its programs, where it says so.
fn programs(meta: &Meta) -> Option<String> {
    meta.stored_image.as_ref()?.programs.clone()
}

/// Makes empty directories for volumes that may come later: the root is read-only then.
fn make_places(plan: &mut Plan, places: &[String]) {
    let steps = &mut plan.sandbox.rootfs;
    let mut made: BTreeSet<String> = BTreeSet::new();
    for step in steps.iter() {
        if let RootfsStep::Directory { path, .. } | RootfsStep::Bind { target: path, .. } = step {
            made.insert(path.clone());
        }
    }
    let mut new = Vec::new();
    for place in places {
        let above = Path::new(place)
            .ancestors()
            .map(|path| path.display().to_string());
        let missing = above.filter(|path| path != "/" && made.insert(path.clone()));
        let mut missing: Vec<String> = missing.collect();
        missing.reverse();
        new.extend(
            missing
                .into_iter()
                .map(|path| RootfsStep::Directory { path, mode: 0o755 }),
        );
    }
    let directory = |step: &RootfsStep| matches!(step, RootfsStep::Directory { .. });
    let after = steps
        .iter()
        .position(|step| !directory(step))
        .unwrap_or(steps.len());
    steps.splice(after..after, new);
}

/// Ends a sandbox that nobody was told of.
async fn give_up(sandbox: &Sandbox) {
    let verdict = Verdict::of_sandbox(
        VerdictKind::Lost,
        "it could not be made ready".to_owned(),
        "make another",
    );
    if sandbox.kill(verdict).await.is_err() {
        // Its launcher is gone, and it with it.
    }
}

fn nonce() -> Result<u64, Fault> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Fault::internal("getrandom", &errno))?;
    Ok(u64::from_be_bytes(bytes))
}

/// A new sandbox's.
pub fn identifier() -> Result<String, Fault> {
    Ok(format!("{:016x}", nonce()?))
}

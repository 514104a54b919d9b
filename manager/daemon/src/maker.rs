//! From a sandbox's policy to the plan of each of its tasks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use lakekeep_api::Reason;
use lakekeep_content::Pin;
use lakekeep_plan::{
    Command, EgressPlan, HostFacts, ImageFacts, Inputs, MountFacts, Plan, PlanError, Preload,
    ZygotePlan,
};
use lakekeep_policy::{GuestPath, MountRule, Policy};
use lakekeep_protocol::task::{MAX_SECRETS, SECRETS_DIRECTORY};
use lakekeep_sandbox::look;
use lakekeep_seccomp::{Arch, Refusal, builtin_program};

use crate::environments::Known;
use crate::fault::Fault;
use crate::sandbox::lock;

/// Where programs are looked for inside.
pub const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What a caller wants to run.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The program and its arguments.
    pub arguments: Vec<Vec<u8>>,
    /// Over the policy's variables.
    pub environment: BTreeMap<String, String>,
    /// Files for this task alone: name, contents.
    pub secrets: Vec<(String, Vec<u8>)>,
    /// Absolute, inside; empty: the policy's.
    pub working_directory: String,
    /// Rows and columns, for a terminal.
    pub terminal: Option<(u16, u16)>,
    /// The caller's `TERM`.
    pub term: String,
    /// Report refused system calls.
    pub explain: bool,
    /// The init's own file service, with these arguments.
    pub file_service: bool,
}

/// What all plans of one sandbox are made of.
#[derive(Debug)]
pub struct Maker {
    id: String,
    policy: Policy,
    host: Arc<HostFacts>,
    image: ImageFacts,
    mounts: Vec<MountFacts>,
    path: String,
    /// Tasks find what earlier ones left in their home.
    lasting: bool,
    /// Tasks that are made ready are forked from the sandbox's zygote.
    forked: bool,
    /// Volumes that were attached since: where, and whether they can be read only.
    attached: Mutex<Vec<(String, bool)>>,
    /// Variables that an environment needs.
    variables: Vec<(String, String)>,
    /// What is told of what may leave.
    egress: Option<EgressPlan>,
    /// Keep environment and image in their stores.
    pins: Mutex<Vec<Arc<Pin>>>,
}

/// What a sandbox is made of.
#[derive(Debug)]
pub struct Ingredients {
    /// Its identifier.
    pub id: String,
    /// What is allowed.
    pub policy: Policy,
    /// What the launcher's host can do.
    pub host: Arc<HostFacts>,
    /// The program whose prefix the host's image shows too.
    pub interpreter: Option<PathBuf>,
    /// For each of the policy's mounts: the owner on disk whose files it shows. A mount
    /// without one is looked at.
    pub owners: Vec<Option<(u32, u32)>>,
    /// Tasks share their home.
    pub lasting: bool,
    /// What stays in its store for as long as the sandbox lives.
    pub kept: Kept,
    /// Where its image has its programs, if it says so.
    pub programs: Option<String>,
    /// What may leave, by everybody's rules.
    pub egress: Option<EgressPlan>,
}

/// What a sandbox shows of stores.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// The environment that it shows.
    pub environment: Option<Replicated>,
    /// What keeps its image.
    pub image: Option<Arc<Pin>>,
}

/// An environment, and what keeps it in its store.
pub type Replicated = (Arc<Known>, Arc<Pin>);

impl Maker {
    /// Looks at image and mounts, once for all tasks.
    ///
    /// # Errors
    /// `BadPolicy` for what is not there.
    pub fn new(from: Ingredients) -> Result<Self, Fault> {
        let bad = |error: &(dyn std::error::Error + 'static)| {
            Fault::new(Reason::BadPolicy, lakekeep_sandbox::chain(error))
        };
        let (known, pin) = from.kept.environment.unzip();
        let shown = known.as_ref().map(|known| &known.view);
        let (image, interpreter) = (from.policy.image(), from.interpreter.as_deref());
        let image = look::image_with(image, interpreter, shown).map_err(|error| bad(&error))?;
        let mut mounts = Vec::new();
        for (index, rule) in from.policy.mounts().iter().enumerate() {
            mounts.push(match from.owners.get(index).copied().flatten() {
                // A volume: a folder that this manager itself may not even enter.
                Some(owner) => MountFacts {
                    directory: true,
                    owner,
                    identity: Some(owner),
                },
                None => look::mount_source(rule).map_err(|error| bad(&error))?,
            });
        }
        let own = from.programs.unwrap_or_else(|| PATH.to_owned());
        let mut path = match &from.interpreter {
            Some(program) => program.parent().map_or(PATH.to_owned(), |folder| {
                format!("{}:{PATH}", folder.display())
            }),
            None => own,
        };
        if let Some(shown) = shown {
            path = format!("{}:{path}", shown.programs);
        }
        Ok(Self {
            id: from.id,
            policy: from.policy,
            host: from.host,
            image,
            mounts,
            path,
            lasting: from.lasting,
            forked: false,
            attached: Mutex::new(Vec::new()),
            variables: shown.map_or(Vec::new(), |shown| shown.variables.clone()),
            egress: from.egress.as_ref().map(EgressPlan::outline),
            pins: Mutex::new(pin.into_iter().chain(from.kept.image).collect()),
        })
    }

    /// Lets its environment and its image go: the sandbox has ended.
    pub fn release(&self) {
        lock(&self.pins).clear();
    }

    /// Lets later tasks use a volume that was attached.
    pub fn attach(&self, target: String, read_only: bool) {
        lock(&self.attached).push((target, read_only));
    }

    /// What is allowed.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Plans for the sandbox of another identifier.
    pub fn rename(&mut self, id: &str) {
        id.clone_into(&mut self.id);
    }

    /// Plans for a sandbox that has a zygote.
    pub fn fork(&mut self) {
        self.forked = true;
    }

    /// What its environment needs, where the policy does not say otherwise.
    fn defaults(&self) -> BTreeMap<String, String> {
        let own = self.policy.env();
        let free = |(name, _): &&(String, String)| !own.contains_key(name);
        self.variables.iter().filter(free).cloned().collect()
    }

    /// A zygote for tasks like these. It knows nothing of their mounts and variables.
    ///
    /// # Errors
    /// For what can be no zygote.
    pub fn zygote(&self, preload: &Preload) -> Result<ZygotePlan, PlanError> {
        let policy = self.policy.bare();
        let command = Command {
            arguments: vec![preload.interpreter.clone().into_bytes()],
            path: self.path.clone(),
            ..Command::default()
        };
        let inputs = Inputs {
            policy: &policy,
            host: &self.host,
            image: &self.image,
            mounts: &[],
            command: &command,
            id: &self.id,
        };
        ZygotePlan::new(&inputs, preload)
    }

    /// How many of the plan's last mounts are the policy's, where each can be mounted
    /// after all others: folders, none below another.
    pub fn late_mounts(&self) -> Option<usize> {
        let rules = self.policy.mounts();
        let below = |(index, rule): (usize, &MountRule)| {
            let others = rules
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index);
            let mut targets = others.map(|(_, other)| other.target());
            targets.any(|target| rule.target().starts_with(target))
        };
        let folders = self.mounts.iter().all(|facts| facts.directory);
        (folders && !rules.iter().enumerate().any(below)).then_some(rules.len())
    }

    /// The plan of the sandbox, and of a task in it.
    ///
    /// # Errors
    /// `BadPolicy` for what a rule of the planner refuses, `BadRequest` for a variable,
    /// a secret, a working directory or a terminal that cannot be given.
    pub fn plan(&self, request: &Request) -> Result<Plan, Fault> {
        if request.term.contains(char::is_control) {
            return Err(Fault::new(
                Reason::BadRequest,
                "term: a control character in it; give the name of a terminal's kind, as in xterm-256color",
            ));
        }
        let command = Command {
            arguments: request.arguments.clone(),
            path: self.path.clone(),
            terminal: request.terminal,
            term: (!request.term.is_empty()).then(|| request.term.clone()),
            explain: request.explain,
        };
        let inputs = Inputs {
            policy: &self.policy,
            host: &self.host,
            image: &self.image,
            mounts: &self.mounts,
            command: &command,
            id: &self.id,
        };
        let planned = Plan::new(&inputs);
        let mut plan = planned.map_err(|error| Fault::new(Reason::BadPolicy, error.to_string()))?;
        // The policy's own are the narrowest of several.
        plan.egress.clone_from(&self.egress);
        plan.task.scratch.shared = self.lasting;
        plan.allow_ready();
        plan.task.forked = self.forked && !request.file_service;
        if !request.working_directory.is_empty() {
            plan.task.working_directory = place(&request.working_directory)?;
        }
        if let Some(rules) = &mut plan.task.landlock {
            for (target, read_only) in lock(&self.attached).iter() {
                let list = if *read_only {
                    &mut rules.read
                } else {
                    &mut rules.write
                };
                list.push(target.clone());
            }
        }
        if request.file_service {
            plan.task.file_service = true;
            plan.task.filter = file_filter(&self.host)?;
        }
        let mut variables = self.defaults();
        variables.extend(request.environment.clone());
        set_variables(&mut plan.task.environment, &variables)?;
        plan.task.secrets = secrets(&request.secrets)?;
        Ok(plan)
    }
}

/// The plan as it may be written down.
pub fn without_environment(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    plan.task.environment = Vec::new();
    plan.task.secrets = Vec::new();
    plan
}

/// The file service is our own program: the widest filter, which lets it be executed.
fn file_filter(host: &HostFacts) -> Result<Vec<u8>, Fault> {
    let what = "take the file service's filter";
    let arch = match host.arch.as_str() {
        "aarch64" => Arch::Aarch64,
        _ => Arch::X86_64,
    };
    let program = builtin_program("general", arch, Refusal::Errno)
        .map_err(|error| Fault::internal(what, &error))?
        .ok_or_else(|| Fault::internal(what, &rustix::io::Errno::NOENT))?;
    Ok(program.to_bytes())
}

/// A working directory, as policies have it.
fn place(folder: &str) -> Result<String, Fault> {
    let path = GuestPath::new(folder).map_err(|error| {
        let remedy = error.remedy();
        Fault::new(
            Reason::BadRequest,
            format!("working_directory: {error}; {remedy}"),
        )
    })?;
    Ok(path.as_str().to_owned())
}

fn set_variables(
    environment: &mut Vec<Vec<u8>>,
    wanted: &BTreeMap<String, String>,
) -> Result<(), Fault> {
    for (name, value) in wanted {
        let plain = !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0');
        if !plain {
            return Err(Fault::new(
                Reason::BadRequest,
                format!(
                    "environment: {name:?} cannot be a variable's name, or its value holds a NUL"
                ),
            ));
        }
        let prefix = format!("{name}=").into_bytes();
        environment.retain(|entry| !entry.starts_with(&prefix));
        environment.push([prefix.as_slice(), value.as_bytes()].concat());
    }
    Ok(())
}

fn secrets(wanted: &[(String, Vec<u8>)]) -> Result<Vec<(String, Vec<u8>)>, Fault> {
    let total: u64 = wanted
        .iter()
        .map(|(_, value)| u64::try_from(value.len()).unwrap_or(u64::MAX))
        .sum();
    if total > MAX_SECRETS {
        return Err(Fault::new(
            Reason::BadRequest,
            format!(
                "the task's secrets are larger than {MAX_SECRETS} bytes together; give fewer of them to {SECRETS_DIRECTORY}"
            ),
        ));
    }
    Ok(wanted.to_vec())
}

//! Requests of the interface `lakekeep.v1`, as any client could send them. The first byte of
//! an input chooses the message, the rest is its encoding. What was decoded goes through
//! what the manager checks and makes of it before anything is done.
#![no_main]

use std::alloc::System;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use cap::Cap;
use lakekeep_api::v1::exec_request::Request as In;
use lakekeep_api::{DESCRIPTORS, Reason, v1};
use lakekeep_egress_rules::{Host, parse_destination};
use lakekeep_fuzz::asked::{check_words, image, kind, lifetimes, project, resolved};
use lakekeep_fuzz::fault::Fault;
use lakekeep_fuzz::identity::{ALICE, MANAGER, NOW};
use lakekeep_fuzz::maker::{self, Ingredients, Kept, Maker};
use lakekeep_fuzz::wire;
use lakekeep_identity::{
    Grant, MAX_DELEGATION_LIFETIME, ProjectName, TokenId, UserName, parse_delegation_token,
};
use lakekeep_plan::{HostFacts, Plan};
use lakekeep_policy::{Policy, PolicyDoc};
use lakekeep_profiles::{Action, Ceilings, Profile, ProfileDoc, is_secret_name};
use lakekeep_protocol::facts::{LimitFacts, ProcessFacts};
use lakekeep_protocol::launch::Created;
use lakekeep_protocol::task::{TaskFailure, TaskSpec, TaskStep};
use lakekeep_sandbox::{chain, service};
use lakekeep_store::state::{check_name, check_secret_name};
use libfuzzer_sys::fuzz_target;
use prost::Message;
use prost_types::FileDescriptorSet;
use tempfile::TempDir;
use tonic::Status;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// Memory that decoding may take at one time for each byte: two make an empty text of 24
/// bytes in a list, which is there three times over while it grows. A map takes less.
const FOR_A_BYTE: usize = 40;
/// And for any message.
const FOR_ANY: usize = 64 << 10;

/// Most bytes of headers that every client takes, counted as HTTP/2 does: gRPC's own
/// libraries begin to refuse beyond, and ours does at twice as many.
const HEADERS: usize = 8 << 10;

/// In nanoseconds.
const SECOND: i128 = 1_000_000_000;

/// The README's profile; it is a seed of `profiles` too, whose first byte says so.
const TEAM: &str = include_str!("../corpus/profiles/team");
/// Its bounds.
const IDLE: Duration = Duration::from_secs(2 * 3600);
const LIFETIME: Duration = Duration::from_secs(7 * 86_400);

static PROFILE: LazyLock<Profile> = LazyLock::new(|| {
    let doc = ProfileDoc::from_toml("team.toml", &TEAM[1..]).expect("a good document");
    Profile::check(&doc, &Ceilings::default()).expect("a good profile")
});

/// What plans the tasks of a sandbox, whose image is an empty folder.
static MAKER: LazyLock<(TempDir, Maker)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = format!("version = 1\nimage = {:?}", folder.path());
    let doc = PolicyDoc::from_toml("policy", &text).expect("a good document");
    let made = Maker::new(Ingredients {
        id: "fuzz".to_owned(),
        policy: Policy::check(doc).expect("a good policy"),
        host: Arc::new(HostFacts::example_root()),
        interpreter: None,
        owners: Vec::new(),
        lasting: false,
        kept: Kept::default(),
        programs: None,
        egress: None,
    });
    (folder, made.expect("a folder is an image"))
});

static CREATED: LazyLock<Created> = LazyLock::new(|| Created {
    init: ProcessFacts::default(),
    id_range: (100_000, 65_536),
    limits: LimitFacts::default(),
    unmapped_mounts: Vec::new(),
});

/// A message's name, and what is done with its bytes.
type Request = (&'static str, fn(&[u8]));

macro_rules! requests {
    ($($name:ident: $check:expr,)+) => {
        [$((stringify!($name), |bytes| read::<v1::$name>(bytes, $check))),+]
    };
}

/// Seeds name them by their place: a new one goes to the end.
const REQUESTS: [Request; 33] = requests! {
    CreateRequest: create,
    ExecRequest: exec,
    ReadFileRequest: |_| (),
    WriteFileRequest: |_| (),
    ListFilesRequest: |_| (),
    SandboxRef: |_| (),
    ListRequest: |_| (),
    StatsRequest: |asked| span(asked.interval.as_ref()),
    EventsRequest: |_| (),
    SignalRequest: |_| (),
    TaskRef: |_| (),
    AttachVolumeRequest: |asked| create(&v1::CreateRequest {
        volumes: vec![asked.volume.clone()],
        ..v1::CreateRequest::default()
    }),
    WhoAmIRequest: |asked| names("", &asked.project),
    TestIdentityRequest: |asked| names(&asked.user, &asked.project),
    DelegateRequest: delegate,
    RevokeDelegationRequest: revoke,
    CanRequest: can,
    ListProfilesRequest: |_| (),
    ProfileRef: |_| (),
    PutProfileRequest: put_profile,
    DeleteProfileRequest: |_| (),
    SetVariableRequest: |asked| asked.variable.iter().for_each(variable),
    VariableRef: variable,
    ListVariablesRequest: |_| (),
    QueryAuditRequest: |_| (),
    VerifyAuditRequest: |_| (),
    PushRequest: |_| (),
    ListEnvironmentsRequest: |_| (),
    EnvironmentRef: |_| (),
    CollectEnvironmentsRequest: |_| (),
    ReadFlowsRequest: |_| (),
    // Its document is read as `egress_rules` reads it.
    ReplayFlowsRequest: |_| (),
    ExplainEgressRequest: explain,
};

fuzz_target!(init: all_are_there(), |data: &[u8]| {
    let Some((&choice, bytes)) = data.split_first() else {
        return;
    };
    let (_, read) = REQUESTS[usize::from(choice) % REQUESTS.len()];
    read(bytes);
});

/// Every method's request is one of [`REQUESTS`].
fn all_are_there() {
    let set = FileDescriptorSet::decode(DESCRIPTORS).expect("our own descriptors");
    let services = set.file.iter().flat_map(|file| &file.service);
    let methods = services.flat_map(|service| &service.method);
    let asked: BTreeSet<&str> = methods
        .filter_map(|method| method.input_type().strip_prefix(".lakekeep.v1."))
        .collect();
    assert_eq!(asked, REQUESTS.iter().map(|(name, _)| *name).collect());
}

fn read<T: Message + Default + PartialEq + Debug>(bytes: &[u8], check: impl FnOnce(&T)) {
    let Ok(request) = bounded(bytes.len(), || T::decode(bytes)) else {
        return;
    };
    let again = request.encode_to_vec();
    assert_eq!(again.len(), request.encoded_len());
    assert_eq!(T::decode(again.as_slice()).as_ref(), Ok(&request));
    check(&request);
}

/// Runs `work`; more memory than a message of `length` may cost ends the process.
fn bounded<R>(length: usize, work: impl FnOnce() -> R) -> R {
    let limit = MEMORY.allocated() + length * FOR_A_BYTE + FOR_ANY;
    MEMORY.set_limit(limit).expect("above what is in use");
    let result = work();
    MEMORY.set_limit(usize::MAX).expect("above what is in use");
    result
}

/// A refusal reaches its caller whole: its word, its message, a remedy on one line.
fn told(fault: Fault) {
    let (reason, message) = (fault.reason(), fault.to_string());
    assert!(
        !message.contains(|c: char| c.is_control() && c != '\n'),
        "{message:?}"
    );
    let answer = Status::from(fault).into_http::<()>();
    let headers = answer.headers().iter();
    let size: usize = headers
        .map(|(name, value)| name.as_str().len() + value.len() + 32)
        .sum();
    assert!(size <= HEADERS, "{size} bytes of headers");
    let status = Status::from_header_map(answer.headers()).expect("a status");
    assert_eq!(status.code(), reason.code());
    assert_eq!(status.message(), message);
    assert_eq!(Reason::of(&status).as_deref(), Some(reason.name()));
    let remedy = Reason::remedy_of(&status).expect("every fault has one");
    // It is a sentence, and no end of a name that holds a semicolon.
    assert!(remedy.contains(' ') && !remedy.contains(char::is_control));
}

fn bad(error: &(dyn std::error::Error + 'static)) {
    told(Fault::new(Reason::BadRequest, chain(error)));
}

/// A span of time is as long as it says, and none where that is negative.
fn span(wire: Option<&prost_types::Duration>) {
    let exact = wire.map(|wire| i128::from(wire.seconds) * SECOND + i128::from(wire.nanos));
    let longest = i128::from(i64::MAX) * SECOND + SECOND - 1;
    let taken = wire::duration(wire).map(|time| i128::try_from(time.as_nanos()));
    let wanted = exact.filter(|nanos| *nanos >= 0);
    assert_eq!(taken, wanted.map(|nanos| Ok(nanos.min(longest))));
}

fn create(request: &v1::CreateRequest) {
    if let Err(fault) = made(request) {
        told(fault);
    }
}

/// What is made is the profile's, whatever was asked for.
fn made(request: &v1::CreateRequest) -> Result<(), Fault> {
    check_words(request)?;
    assert!(request.request_id.len() <= 64);
    let project = project(&PROFILE, &request.project)?;
    assert_eq!(PROFILE.project(), Some(project));
    let resolved = resolved(&PROFILE, request, Some(&ALICE))?;
    for name in &request.volumes {
        assert!(resolved.volumes.iter().any(|grant| grant.name == *name));
    }
    let policy = Policy::check(resolved.policy)
        .map_err(|errors| Fault::new(Reason::BadPolicy, errors.to_string()))?;
    assert!(PROFILE.presets().contains(&policy.preset()));
    let image = image(&policy);
    assert!(PROFILE.images().iter().any(|rule| rule.allows(&image)));
    let lifetimes = lifetimes(&PROFILE, request)?;
    assert!(lifetimes.idle_timeout.is_some_and(|span| span <= IDLE));
    assert!(lifetimes.max_lifetime.is_none_or(|span| span <= LIFETIME));
    span(request.deadline.as_ref());
    kind(request.kind());
    Ok(())
}

fn exec(request: &v1::ExecRequest) {
    let Some(In::Start(start)) = &request.request else {
        return;
    };
    if let Some(once) = &start.once {
        create(once);
    }
    span(start.linger.as_ref());
    // The service refuses these before it asks for a plan.
    if start.arguments.is_empty() || start.arguments.iter().any(|word| word.contains(&0)) {
        return;
    }
    let size = |count: u32| u16::try_from(count).unwrap_or(u16::MAX);
    let window = start.terminal.as_ref();
    let wanted = maker::Request {
        arguments: start.arguments.clone(),
        environment: start.environment.clone().into_iter().collect(),
        working_directory: start.working_directory.clone(),
        terminal: window.map(|window| (size(window.rows), size(window.columns))),
        term: start.term.clone(),
        explain: start.explain_syscalls,
        ..maker::Request::default()
    };
    match MAKER.1.plan(&wanted) {
        Ok(plan) => {
            planned(&plan.task, &wanted);
            unstarted(&plan);
        }
        Err(fault) => told(fault),
    }
}

/// As the launcher and the init are promised it, with what was asked for.
fn planned(task: &TaskSpec, wanted: &maker::Request) {
    assert_eq!(task.arguments, wanted.arguments);
    let mut variables = BTreeMap::new();
    for entry in &task.environment {
        assert!(!entry.contains(&0), "{entry:?}");
        let at = entry.iter().position(|byte| *byte == b'=');
        let (name, value) = entry.split_at(at.expect("NAME=value"));
        assert!(variables.insert(name, &value[1..]).is_none(), "{name:?}");
    }
    for (name, value) in &wanted.environment {
        assert_eq!(variables.get(name.as_bytes()), Some(&value.as_bytes()));
    }
    assert!(task.working_directory.starts_with('/'));
    assert!(!task.working_directory.contains('\0'));
}

/// A command that could not be run is told on one line.
fn unstarted(plan: &Plan) {
    for step in [TaskStep::Exec, TaskStep::WorkingDirectory] {
        let failure = TaskFailure {
            step,
            errno: 2,
            index: 0,
        };
        let outcome = service::failed_outcome(plan, &CREATED, &failure);
        let why = outcome.expect("the command's fault").verdict.explanation;
        assert!(!why.contains(char::is_control), "{why:?}");
    }
}

/// Without a name it is the caller, in no project.
fn names(user: &str, project: &str) {
    if !user.is_empty()
        && let Err(error) = UserName::new(user)
    {
        bad(&error);
    }
    if !project.is_empty()
        && let Err(error) = ProjectName::new(project)
    {
        bad(&error);
    }
}

/// A token says what was granted, and not for longer than any may be.
fn delegate(request: &v1::DelegateRequest) {
    let actor = match UserName::new(&request.actor) {
        Ok(actor) => actor,
        Err(error) => return bad(&error),
    };
    let (key, user) = &*MANAGER;
    let profile = request.profile.as_str();
    let grant = Grant {
        user,
        actor: &actor,
        profile: (!profile.is_empty()).then_some(profile),
        lifetime: wire::duration(request.lifetime.as_ref()),
    };
    let token = match key.issue(&grant, NOW) {
        Ok(token) => token,
        Err(error) => return bad(&error),
    };
    let claims = parse_delegation_token(&token).expect("our own token");
    assert_eq!((claims.user(), claims.actor()), (user.user(), &actor));
    assert_eq!(claims.profile(), grant.profile);
    let lifetime = claims.expires().seconds() - NOW.seconds();
    assert!((1..=MAX_DELEGATION_LIFETIME.as_secs()).contains(&lifetime));
}

/// A revocation is kept under its text: one token has one.
fn revoke(request: &v1::RevokeDelegationRequest) {
    if let Some(id) = TokenId::parse(&request.id) {
        assert_eq!(id.to_string(), request.id);
    }
}

fn can(request: &v1::CanRequest) {
    names(&request.user, "");
    match request.action.parse::<Action>() {
        Ok(action) => assert_eq!(action.as_str(), request.action),
        Err(error) => bad(&error),
    }
}

fn put_profile(request: &v1::PutProfileRequest) {
    let doc = ProfileDoc::from_toml("profile", &request.document);
    if let Err(errors) = doc.and_then(|doc| Profile::check(&doc, &Ceilings::default())) {
        told(Fault::new(Reason::BadRequest, errors.to_string()));
    }
}

/// A name is shown as it is understood, and understood as it is shown.
fn explain(request: &v1::ExplainEgressRequest) {
    match parse_destination(&request.destination) {
        Ok((Host::Name(name), port)) => {
            let shown = parse_destination(&format!("{name}:{port}"));
            assert!(shown == Ok((Host::Name(name), port)));
        }
        Ok((Host::Address(_), _)) => {}
        Err(error) => bad(&error),
    }
}

/// What a profile may declare as a secret can be kept as one, and nothing else.
fn variable(which: &v1::VariableRef) {
    let checked = match which.secret {
        true => check_secret_name(&which.name),
        false => check_name(&which.name, false),
    };
    match checked {
        Ok(()) => assert!(is_secret_name(&which.name) || !which.secret),
        Err(error) => {
            assert!(!which.secret || !is_secret_name(&which.name));
            bad(&error);
        }
    }
    which.scope();
}

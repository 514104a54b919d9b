//! What an init says of a task that ended or did not start, as the manager judges it:
//! an init is a process of the sandbox, and may say anything. The first byte of an
//! input chooses; the rest is a frame's body.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use lakekeep_plan::image::FolderImage;
use lakekeep_plan::{Command, HostFacts, ImageFacts, Inputs, Plan};
use lakekeep_policy::{Policy, PolicyDoc};
use lakekeep_protocol::InitReply;
use lakekeep_protocol::channel::decode;
use lakekeep_protocol::facts::{
    EndFacts, GroupUsageFacts, LimitFacts, ProcessFacts, TaskFacts, UsageFacts,
};
use lakekeep_protocol::launch::Created;
use lakekeep_protocol::task::Exited;
use lakekeep_sandbox::{Interference, Outcome, service};
use libfuzzer_sys::fuzz_target;

static PLAN: LazyLock<Plan> = LazyLock::new(|| {
    let text =
        "version = 1\nimage = \"/srv/image\"\n[limits]\ncpu_time = \"20s\"\nmemory = \"64MiB\"";
    let doc = PolicyDoc::from_toml("policy", text).expect("a document");
    let policy = Policy::check(doc).expect("a policy");
    let image = ImageFacts::Folder(FolderImage {
        folder: "/srv/image".into(),
        not_directories: Vec::new(),
    });
    let command = Command {
        arguments: vec![b"true".to_vec()],
        path: "/bin".to_owned(),
        terminal: None,
        term: None,
        explain: true,
    };
    let inputs = Inputs {
        policy: &policy,
        host: &HostFacts::example_root(),
        image: &image,
        mounts: &[],
        command: &command,
        id: "fuzz",
    };
    Plan::new(&inputs).expect("a plan")
});

static CREATED: LazyLock<Created> = LazyLock::new(|| Created {
    init: ProcessFacts::default(),
    id_range: (100_000, 65_536),
    limits: LimitFacts::default(),
    unmapped_mounts: Vec::new(),
});

fuzz_target!(|data: &[u8]| {
    let Some((&choice, body)) = data.split_first() else {
        return;
    };
    match decode::<InitReply>(body) {
        Ok(InitReply::Exited(exited)) => ended(choice, &exited, &TaskFacts::default()),
        Ok(InitReply::Spawned { facts, .. }) => {
            let exited = Exited {
                task: 1,
                ended: EndFacts::Exited(0),
                usage: UsageFacts::default(),
                scratch_free: (0, 0),
                refused: Vec::new(),
            };
            ended(choice, &exited, &facts);
        }
        Ok(InitReply::SpawnFailed { failure, .. }) => {
            if let Ok(outcome) = service::failed_outcome(&PLAN, &CREATED, &failure) {
                told(&outcome);
            }
        }
        _ => {}
    }
});

/// What the launcher counted is the kernel's; the bits of `choice` say what there was.
fn ended(choice: u8, exited: &Exited, facts: &TaskFacts) {
    let group = GroupUsageFacts {
        oom_kills: u64::from(choice & 1),
        pids_refused: u64::from(choice >> 1 & 1),
        memory_peak: (choice & 4 != 0).then_some(64 << 20),
        ..GroupUsageFacts::default()
    };
    let interference = Interference {
        timed_out: choice & 8 != 0,
        too_much_output: choice & 16 != 0,
    };
    let end = service::End {
        plan: &PLAN,
        created: &CREATED,
        facts,
        exited,
        group: &group,
        interference,
        wall: Duration::from_secs(1),
    };
    told(&service::outcome(&end).expect("the end of a task"));
}

/// It can be told: as JSON, and on a terminal.
fn told(outcome: &Outcome) {
    let verdict = &outcome.verdict;
    assert!(!verdict.explanation.is_empty());
    for text in [&verdict.explanation, &verdict.remedy] {
        assert!(!text.contains(char::is_control), "{text:?}");
    }
    let text = serde_json::to_string(outcome).expect("plain data");
    assert!(!text.contains('\n'));
}

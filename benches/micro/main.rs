//! Micro-benchmarks of what a run is made of: `cargo bench -p lakekeep-bench`.
//!
//! Filters, plans and frames need nothing of the host. A claim needs root, and is left out
//! without it, with that said.

mod claim;

use std::error::Error;
use std::hint::black_box;

use criterion::Criterion;
use lakekeep_plan::image::FolderImage;
use lakekeep_plan::{Command, HostFacts, ImageFacts, Inputs, Plan};
use lakekeep_policy::{Policy, PolicyDoc};
use lakekeep_protocol::channel::decode;
use lakekeep_protocol::{Channel, LauncherRequest};
use lakekeep_seccomp::{Arch, Profile, Refusal, builtin_program, compile};

const POLICY: &str =
    "version = 1\n[limits]\nmemory = \"256MiB\"\ncpus = 1.5\n[env]\nLANG = \"C\"\n";

type Done = Result<(), Box<dyn Error>>;

fn main() -> Done {
    let mut criterion = Criterion::default().configure_from_args();
    filters(&mut criterion)?;
    plans(&mut criterion)?;
    frames(&mut criterion)?;
    claim::bench(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}

/// From a profile's rules to BPF; and what was compiled when lakekeep was built.
fn filters(criterion: &mut Criterion) -> Done {
    let mut group = criterion.benchmark_group("filter");
    for name in Profile::BUILTIN {
        let profile = Profile::builtin(name)?;
        compile(&profile, Arch::X86_64, Refusal::Errno)?;
        group.bench_function(format!("compile {name}"), |bencher| {
            bencher.iter(|| compile(black_box(&profile), Arch::X86_64, Refusal::Errno));
        });
        builtin_program(name, Arch::X86_64, Refusal::Errno)?;
        group.bench_function(format!("prebuilt {name}"), |bencher| {
            bencher.iter(|| builtin_program(black_box(name), Arch::X86_64, Refusal::Errno));
        });
    }
    group.finish();
    Ok(())
}

/// From a document to a policy, and from that to a plan, for a host that never changes.
fn plans(criterion: &mut Criterion) -> Done {
    let mut group = criterion.benchmark_group("plan");
    policy()?;
    group.bench_function("document to policy", |bencher| bencher.iter(policy));
    let (policy, host) = (policy()?, HostFacts::example_root());
    plan(&policy, &host)?;
    group.bench_function("policy to plan", |bencher| {
        bencher.iter(|| plan(black_box(&policy), &host).map_err(|error| error.to_string()));
    });
    group.finish();
    Ok(())
}

fn policy() -> Result<Policy, String> {
    let doc = PolicyDoc::from_toml("policy.toml", POLICY).map_err(|error| error.to_string())?;
    Policy::check(doc).map_err(|error| error.to_string())
}

fn plan(policy: &Policy, host: &HostFacts) -> Result<Plan, Box<dyn Error>> {
    let image = ImageFacts::Folder(FolderImage {
        folder: "/srv/image".into(),
        not_directories: Vec::new(),
    });
    let command = Command {
        arguments: vec![b"/bin/true".to_vec()],
        path: "/bin".to_owned(),
        ..Command::default()
    };
    Ok(Plan::new(&Inputs {
        policy,
        host,
        image: &image,
        mounts: &[],
        command: &command,
        id: "0123456789abcdef",
    })?)
}

/// The largest request that is usual, "create": its bytes, and through a socket.
fn frames(criterion: &mut Criterion) -> Done {
    let plan = plan(&policy()?, &HostFacts::example_root())?;
    let request = LauncherRequest::Create(Box::new(plan.sandbox));
    let bytes = postcard::to_stdvec(&request)?;
    decode::<LauncherRequest>(&bytes)?;
    let mut group = criterion.benchmark_group("frame");
    group.bench_function("encode", |bencher| {
        bencher.iter(|| postcard::to_stdvec(black_box(&request)));
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| decode::<LauncherRequest>(black_box(&bytes)));
    });
    let (left, right) = lakekeep_sys::socket::pair()?;
    let left: Channel<LauncherRequest, LauncherRequest> = Channel::new(left);
    let right: Channel<LauncherRequest, LauncherRequest> = Channel::new(right);
    left.send(&request, &[])?;
    right.receive()?;
    group.bench_function("send and receive", |bencher| {
        bencher.iter(|| (left.send(black_box(&request), &[]), right.receive()));
    });
    group.finish();
    Ok(())
}

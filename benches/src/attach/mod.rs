//! A client's environment that comes with the claim of a sandbox that was made without it:
//! what that adds, and how long its imports take inside, beside the client's own interpreter.

mod manager;

use std::io::Read;
use std::process::{Command, ExitCode, Stdio as Streams};

use lakekeep_content::Store;
use lakekeep_plan::{Command as Planned, View};
use lakekeep_policy::{MountDoc, Policy, PolicyDoc};
use lakekeep_sandbox::{Job, Kind, Pool, Stdio, host, plan_for};

use crate::args::AttachArgs;
use crate::error::BenchError;
use crate::ground::{Ground, Guest};
use crate::machine::{self, Machine};
use crate::managed::{GUESTS, first_instruction, monotonic};
use crate::measure::{self, Sample};
use crate::pooled::{clock, null, pipe};
use crate::python::program;
use crate::raw::{self, Circumstances, Placed};
use crate::report::{Figure, Report};
use crate::stats::Summary;

use manager::Stock;

const FORK: &str = "fork+exec";
const BARE: &str = "lakekeep-claim";
const DRESSED: &str = "lakekeep-claim-environment";
const ASKED: &str = "lakekeep-claim-grpc";
const ASKED_DRESSED: &str = "lakekeep-claim-grpc-environment";
const OWN: &str = "python-import";
const INSIDE: &str = "lakekeep-environment-import";

/// A second of import says little the hundredth time.
const ROUNDS_AN_IMPORT: u32 = 10;

/// A pool of sandboxes that show the host's programs, and what one of them gets.
struct Wardrobe {
    pool: Pool,
    view: View,
    clock: Job,
    import: Job,
}

/// `lakekeep-bench attach`
pub fn run(arguments: &AttachArgs) -> Result<ExitCode, BenchError> {
    let ground = Ground::make()?;
    let machine = Machine::look();
    let load_before = machine::load();
    let store = Store::open(&arguments.store).map_err(BenchError::plan)?;
    let environment =
        lakekeep_tree::open(&store, &arguments.environment).map_err(BenchError::plan)?;
    let python = environment.manifest().interpreter().executable.as_str();
    let mut wardrobe = Wardrobe::fill(&ground, environment.view(), arguments, python)?;
    let stock = match arguments.manager {
        true => Some(Stock::fill(&ground, arguments)?),
        false => None,
    };
    let mut placed = Vec::new();
    for round in 0..arguments.n {
        // Who is first in one round is last in the next.
        let mut order = [FORK, BARE, DRESSED, ASKED, ASKED_DRESSED, OWN, INSIDE];
        if round % 2 == 1 {
            order.reverse();
        }
        for (position, peer) in order.into_iter().enumerate() {
            let sample = match peer {
                FORK => fork(&ground)?,
                BARE => wardrobe.claim(None)?,
                DRESSED => wardrobe.claim(Some(Then::Clock))?,
                ASKED | ASKED_DRESSED => match &stock {
                    Some(stock) => stock.claim(peer == ASKED_DRESSED)?,
                    None => continue,
                },
                _ if round % ROUNDS_AN_IMPORT != 0 => continue,
                OWN => own(python, &arguments.modules)?,
                _ => wardrobe.claim(Some(Then::Import))?,
            };
            placed.push(Placed {
                round,
                position,
                peer: peer.to_owned(),
                concurrency: 1,
                sample,
            });
            wardrobe.refill()?;
        }
        eprint!("\r{} of {}", round + 1, arguments.n);
    }
    eprintln!();
    let report = report(&placed, wardrobe.view.replicas.len());
    report.publish("", arguments.json.json.as_deref())?;
    if let Some(top) = &arguments.raw {
        let about = Circumstances {
            machine,
            load_before,
            load_after: machine::load(),
            seed: 0,
            versions: vec![(python.to_owned(), arguments.modules.join(" "))],
        };
        raw::keep(top, "attach", (&placed, &report), &about)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn report(placed: &[Placed], parts: usize) -> Report {
    let of = |peer: &str| {
        let samples = placed.iter().filter(|placed| placed.peer == peer);
        let samples: Vec<Sample> = samples.map(|placed| placed.sample).collect();
        Summary::of(&samples)
    };
    let fork = of(FORK);
    let rows = [
        ("fork+exec", FORK, "none"),
        ("claim", BARE, "all layers"),
        ("claim", DRESSED, "all layers"),
        ("claim-grpc", ASKED, "all layers"),
        ("claim-grpc", ASKED_DRESSED, "all layers"),
        ("python-import", OWN, "none"),
        ("python-import", INSIDE, "all layers"),
    ];
    let figures = rows.into_iter().filter_map(|(scenario, peer, isolation)| {
        let summary = of(peer)?;
        let isolation = isolation.to_owned();
        let note = match peer {
            DRESSED | ASKED_DRESSED | INSIDE => {
                format!("an environment of {parts} parts comes with the claim")
            }
            _ => String::new(),
        };
        Some(Figure {
            note,
            ..Figure::measured(scenario, peer, isolation, &summary, fork.as_ref())
        })
    });
    Report {
        figures: figures.collect(),
        left_out: Vec::new(),
    }
}

fn fork(ground: &Ground) -> Result<Sample, BenchError> {
    let guest = ground.guest(Guest::True);
    let mut fork = Command::new(ground.root().join(guest.trim_start_matches('/')));
    measure::once(&mut fork, ground)
}

/// The client's interpreter, without a sandbox; its files are in memory after the first time.
fn own(python: &str, modules: &[String]) -> Result<Sample, BenchError> {
    let before = monotonic();
    let output = Command::new(python)
        .args(["-c", &program(modules)])
        .stdin(Streams::null())
        .output()
        .map_err(BenchError::file("execute", std::path::Path::new(python)))?;
    Ok(Sample {
        wall: first_instruction(&output.stdout, before)?,
        cpu: None,
    })
}

/// What runs in a sandbox that got the environment.
#[derive(Clone, Copy)]
enum Then {
    Clock,
    Import,
}

impl Wardrobe {
    fn fill(
        ground: &Ground,
        view: View,
        arguments: &AttachArgs,
        python: &str,
    ) -> Result<Self, BenchError> {
        let facts = host::probe().map_err(BenchError::plan)?;
        let doc = PolicyDoc {
            mounts: vec![MountDoc {
                source: ground.root().display().to_string(),
                target: GUESTS.to_owned(),
                mode: None,
            }],
            ..PolicyDoc::default()
        };
        let policy = Policy::check(doc).map_err(BenchError::plan)?;
        let command = Planned {
            arguments: vec![b"true".to_vec()],
            path: "/usr/bin:/bin".to_owned(),
            ..Planned::default()
        };
        let plan = plan_for(&policy, &facts, &command, None).map_err(BenchError::plan)?;
        let mut clock = clock();
        clock.arguments = vec![format!("{GUESTS}{}", Ground::clock()).into_bytes()];
        let import = program(&arguments.modules);
        let mut wardrobe = Self {
            pool: Pool::start(&facts, plan, 1)?,
            view,
            clock,
            import: Job {
                last: true,
                ..Job::new([python, "-c", &import])
            },
        };
        wardrobe.refill()?;
        Ok(wardrobe)
    }

    fn refill(&mut self) -> Result<(), BenchError> {
        while self.pool.refill()? {}
        Ok(())
    }

    /// From the claim until the program inside says the time.
    fn claim(&mut self, dressed: Option<Then>) -> Result<Sample, BenchError> {
        let (read, write) = pipe()?;
        let stdio = Stdio::Given([null()?, write, null()?]);
        let job = match dressed {
            None | Some(Then::Clock) => &self.clock,
            Some(Then::Import) => &self.import,
        };
        let before = monotonic();
        let mut sandbox = self.pool.claim()?;
        if dressed.is_some() {
            sandbox.show(&self.view)?;
        }
        let task = sandbox.spawn(job, stdio)?;
        let mut stamp = Vec::new();
        std::fs::File::from(read)
            .read_to_end(&mut stamp)
            .map_err(BenchError::io("read a task's output"))?;
        let verdict = sandbox.wait(task)?.verdict;
        sandbox.end()?;
        if verdict.kind != Kind::Exit || verdict.exit_code != 0 {
            return Err(BenchError::Failed {
                program: "a task".to_owned(),
                status: verdict.explanation,
                words: verdict.remedy,
            });
        }
        Ok(Sample {
            wall: first_instruction(&stamp, before)?,
            cpu: None,
        })
    }
}

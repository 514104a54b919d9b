//! `stages`: where the time of one `lakekeep run` goes.
//!
//! strace(1) stops a process at each traced call, which takes time. With
//! `--seccomp-bpf` it stops at the named calls alone, and only those are named
//! by which stages are told apart: some eighty stops in a run. What that adds is
//! printed, as the difference to untraced runs in between.

mod milestones;
mod trace;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::args::StagesArgs;
use crate::error::BenchError;
use crate::ground::{Ground, Guest};
use crate::machine;
use crate::measure;
use crate::peers::{Manager, Name, Peer};
use crate::report::table;
use crate::stages::milestones::{MILESTONES, instants};
use crate::stages::trace::Trace;
use crate::stats::{micros, percentile};

/// The calls by which the stages are told apart.
const CALLS: &str = "execve,execveat,clone3,unshare,fsmount,pivot_root,accept4,sendmsg,recvmsg,\
                     exit_group,pidfd_send_signal,waitid,wait4";

const HEAD: [&str; 5] = ["stage", "median_us", "min_us", "p90_us", "share_%"];

/// Times of each stage over all runs, microseconds, ascending.
type Stages = Vec<Vec<u64>>;

/// Traces, and prints the table.
pub fn run(arguments: &StagesArgs) -> Result<ExitCode, BenchError> {
    let ground = Ground::make()?;
    let peer = Peer::new(
        Name::Lakekeep,
        &ground,
        &arguments.programs,
        0,
        &Manager::none(),
    )?;
    let load = machine::load();
    let mut stages: Stages = vec![Vec::new(); MILESTONES.len() - 1];
    let (mut traced, mut untraced) = (Vec::new(), Vec::new());
    for serial in 0..arguments.n {
        let plain = measure::once(&mut peer.command(&ground, Guest::True, serial), &ground)?;
        untraced.push(micros(plain.wall));
        let instants = trace(&peer, &ground, serial)?;
        traced.push(between(instants.first(), instants.last()));
        for (stage, pair) in stages.iter_mut().zip(instants.windows(2)) {
            stage.push(between(pair.first(), pair.last()));
        }
    }
    for times in stages.iter_mut().chain([&mut traced, &mut untraced]) {
        times.sort_unstable();
    }
    print(&stages, &traced, &untraced);
    println!("\nload average before {load}, after {}", machine::load());
    Ok(ExitCode::SUCCESS)
}

fn trace(peer: &Peer, ground: &Ground, serial: u32) -> Result<Vec<Duration>, BenchError> {
    let file = ground.folder("trace")?.join("strace");
    let traced = peer.command(ground, Guest::True, serial);
    let mut command = Command::new("strace");
    command.args([
        "--follow-forks",
        "--seccomp-bpf",
        "-ttt",
        "--signal=none",
        "--string-limit=80",
    ]);
    command
        .arg(format!("--trace={CALLS}"))
        .arg("--output")
        .arg(&file);
    command.arg(traced.get_program()).args(traced.get_args());
    measure::once(&mut command, ground)?;
    instants(&read(&file)?)
}

fn read(file: &Path) -> Result<Trace, BenchError> {
    let text = std::fs::read_to_string(file).map_err(BenchError::file("read", file))?;
    Ok(Trace::parse(&text))
}

fn between(first: Option<&Duration>, last: Option<&Duration>) -> u64 {
    let (first, last) = (
        first.copied().unwrap_or_default(),
        last.copied().unwrap_or_default(),
    );
    micros(last.saturating_sub(first))
}

fn print(stages: &Stages, traced: &[u64], untraced: &[u64]) {
    let median = |times: &[u64]| percentile(times, 50).unwrap_or(0);
    let sum: u64 = stages.iter().map(|times| median(times)).sum();
    let row = |name: &str, times: &[u64]| {
        let share = median(times) * 1000 / sum.max(1);
        [
            name.to_owned(),
            median(times).to_string(),
            times.first().copied().unwrap_or(0).to_string(),
            percentile(times, 90).unwrap_or(0).to_string(),
            format!("{}.{}", share / 10, share % 10),
        ]
    };
    let rows: Vec<[String; 5]> = MILESTONES
        .iter()
        .skip(1)
        .zip(stages)
        .map(|(milestone, times)| row(milestone.until, times))
        .collect();
    print!("{}", table(&HEAD, &rows, &[0]));
    println!(
        "\nmedian of {} runs: {} us traced, {} us untraced; the difference is strace's own",
        traced.len(),
        median(traced),
        median(untraced),
    );
}

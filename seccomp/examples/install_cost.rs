//! Length and installation time of the built-in filters, against seccompiler's for the same rules.
//!
//! `cargo run -p lakekeep-seccomp --release --example install_cost [ROUNDS]`
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a measurement for the terminal"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use common::probe::Probe;
use lakekeep_seccomp::{Arch, Profile, Refusal, compile};

fn main() -> Result<(), String> {
    let rounds = std::env::args()
        .nth(1)
        .map_or(Ok(400), |text| text.parse::<usize>())
        .map_err(|error| error.to_string())?;
    let arch = Arch::native().ok_or("neither x86-64 nor aarch64")?;
    let folder = std::env::temp_dir().join(format!("lakekeep-install-cost-{}", std::process::id()));
    let probe = Probe::build(&folder)?;
    println!(
        "| profile | calls | instructions | seccompiler's | install, µs | seccompiler's | ratio |"
    );
    println!("|---|---|---|---|---|---|---|");
    for name in Profile::BUILTIN {
        let profile = common::profile(name);
        let ours = compile(&profile, arch, Refusal::Errno).map_err(|error| error.to_string())?;
        let theirs = common::peer::compile(&profile, arch);
        let times = probe.time(rounds, &[&ours, &theirs]);
        let (our, their) = (times[0] / 1000.0, times[1] / 1000.0);
        println!(
            "| `{name}` | {} | {} | {} | {our:.1} | {their:.1} | {:.3} |",
            profile.allowed(arch).len(),
            ours.len(),
            theirs.len(),
            our / their
        );
    }
    std::fs::remove_dir_all(&folder).map_err(|error| error.to_string())
}

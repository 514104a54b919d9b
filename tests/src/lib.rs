//! The harness of the end-to-end tests: real processes on the real kernel.
//!
//! - [`Run`] starts `lakekeep run` as root or as an ordinary user and collects all
//!   that it did; every run has a state directory of its own.
//! - [`manager`] starts a manager of a test's own, and speaks to it as several users.
//! - [`HostSnapshot`] compares the host before and after.
//! - [`skip`] reports a test that this host cannot run; `LAKEKEEP_TESTS_REQUIRE`
//!   turns such a report into a failure.
//! - [`eventually`] polls a condition with a deadline; nothing here sleeps and hopes.
//!   `LAKEKEEP_TESTS_SLACK` multiplies every deadline.

mod attack;
mod bin;
pub mod functions;
mod host;
pub mod internet;
mod json;
pub mod manager;
mod place;
mod poll;
mod pooled;
mod privilege;
mod processes;
mod run;
mod skip;
mod uv;

pub use attack::{AttackGround, Way};
pub use bin::{lakekeep, target_dir};
pub use host::HostSnapshot;
pub use json::forget;
pub use place::Place;
pub use poll::{eventually, eventually_within, slack};
pub use pooled::{pool_program, pool_program_at, run_pool};
pub use privilege::{Privilege, for_each_privilege};
pub use processes::{
    Tracked, cgroups_of_lakekeep, children, descendants, is_program, open_descriptors, orphans,
    unreaped,
};
pub use run::{Finished, Run};
pub use skip::{SKIP_LOG, skip};
pub use uv::uv;

/// A number from the environment, for the sizes of soak and fault tests.
///
/// # Panics
/// When the variable is set to something else than a number.
#[must_use]
pub fn number_from_env(name: &str, default: usize) -> usize {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|e| fail(format_args!("{name}={text}: {e}"))),
        Err(_) => default,
    }
}

/// Ends the test. The harness is test code in a library: this is its one panic.
#[expect(clippy::panic, reason = "a harness reports by failing its test")]
#[track_caller]
pub fn fail(message: std::fmt::Arguments<'_>) -> ! {
    panic!("{message}")
}

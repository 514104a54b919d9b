//! A manager that makes one sandbox of each shape ahead, and the numbers that tell of it.

use std::path::{Path, PathBuf};

use lakekeep_api::v1;

use super::{Manager, Setup, User, of, scrape, value};
use crate::eventually;

/// What its configuration says of it.
#[must_use]
pub fn tables(place: &Path) -> String {
    let socket = socket(place);
    format!("[parked]\nper_shape = 1\n[metrics]\nsocket = {socket:?}\n")
}

fn socket(place: &Path) -> PathBuf {
    place.join("m/run/metrics/m.sock")
}

/// One that runs.
#[must_use]
pub fn start(test: &str) -> Option<Manager> {
    start_with(test, "")
}

/// One with more in its configuration.
#[must_use]
pub fn start_with(test: &str, more: &str) -> Option<Manager> {
    let setup = Setup::new();
    let tables = tables(setup.place().path());
    setup.tables(&format!("{tables}{more}")).start(test)
}

/// One of its numbers.
#[track_caller]
#[must_use]
pub fn number(manager: &Manager, name: &str, labels: &[&str]) -> f64 {
    let read = || scrape(&socket(manager.place().path()));
    value(&eventually("the metrics", read), name, labels)
}

/// Waits until one is ready.
#[track_caller]
pub fn ready(manager: &Manager) {
    eventually("a parked sandbox", || {
        (number(manager, "lakekeep_parked", &[]) >= 1.0).then_some(())
    });
}

/// How many requests met one that was `ready`, or none.
#[track_caller]
#[must_use]
pub fn claims(manager: &Manager, result: &str) -> f64 {
    let result = format!("result=\"{result}\"");
    number(manager, "lakekeep_parked_claims_total", &[&result])
}

/// Asks for the first of a shape, ends it, and waits until another is ready.
///
/// # Panics
/// When it cannot be ended.
#[track_caller]
pub fn learn(manager: &Manager, user: &User, request: v1::CreateRequest) {
    let first = user.sandbox(request);
    user.kill(of(&first.id))
        .unwrap_or_else(|e| crate::fail(format_args!("{e:?}")));
    ready(manager);
}

/// A sandbox that was made ahead: the shape is learned from another, which is ended.
///
/// # Panics
/// When it was not.
#[track_caller]
#[must_use]
pub fn claimed(manager: &Manager, user: &User, request: v1::CreateRequest) -> v1::Sandbox {
    learn(manager, user, request.clone());
    let before = claims(manager, "ready");
    let sandbox = user.sandbox(request);
    assert!(claims(manager, "ready") > before, "it was not made ahead");
    sandbox
}

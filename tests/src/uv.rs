//! uv, with which tests install what is to be replicated.

use std::env;
use std::path::PathBuf;

use crate::skip;

/// Its program: of `LAKEKEEP_TESTS_UV`, or on `PATH`; without one a skip was reported.
#[must_use]
pub fn uv(test: &str) -> Option<PathBuf> {
    if let Some(named) = env::var_os("LAKEKEEP_TESTS_UV") {
        return Some(PathBuf::from(named));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let mut programs = env::split_paths(&path).map(|folder| folder.join("uv"));
    let found = programs.find(|program| program.is_file());
    if found.is_none() {
        skip(test, "uv", "there is no uv; test.sh installs it");
    }
    found
}

//! Reported skips: a test that this host cannot run says so, and is counted.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use crate::{fail, target_dir};

/// The file in the target directory that collects the reports of one test run;
/// `cargo run -p lakekeep-tests --bin skips` prints and empties it.
pub const SKIP_LOG: &str = "lakekeep-skips.log";

/// Reports that `test` cannot run here for want of `feature`.
///
/// # Panics
/// When `LAKEKEEP_TESTS_REQUIRE` (names with commas, or `all`) demands the feature.
#[track_caller]
pub fn skip(test: &str, feature: &str, reason: &str) {
    let required = env::var("LAKEKEEP_TESTS_REQUIRE").unwrap_or_default();
    if required
        .split(',')
        .any(|name| name.trim() == feature || name.trim() == "all")
    {
        fail(format_args!(
            "{test}: {feature} is required and missing: {reason}"
        ));
    }
    let line = format!("SKIP {test}: {feature}: {reason}\n");
    eprint!("{line}");
    let path: PathBuf = target_dir().join(SKIP_LOG);
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(error) = written {
        fail(format_args!(
            "a skip could not be reported in {}: {error}",
            path.display()
        ));
    }
}

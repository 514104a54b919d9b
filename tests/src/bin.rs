//! Where the command under test is.

use std::env;
use std::path::{Path, PathBuf};

use crate::fail;

/// The target directory of this very build: tests are in `target/<profile>/deps`.
#[must_use]
pub fn target_dir() -> PathBuf {
    let exe = env::current_exe().unwrap_or_else(|e| fail(format_args!("no path of the test: {e}")));
    exe.ancestors()
        .find(|dir| dir.join("deps").is_dir() || dir.ends_with("deps"))
        .map(|dir| {
            if dir.ends_with("deps") {
                dir.parent().unwrap_or(dir)
            } else {
                dir
            }
        })
        .and_then(Path::parent)
        .map(Path::to_path_buf)
        .unwrap_or_else(|| {
            fail(format_args!(
                "{} is not in a target directory",
                exe.display()
            ))
        })
}

/// The `lakekeep` command: from `LAKEKEEP_BIN_DIR`, else this build's release folder.
#[must_use]
pub fn lakekeep() -> PathBuf {
    let dir =
        env::var_os("LAKEKEEP_BIN_DIR").map_or_else(|| target_dir().join("release"), PathBuf::from);
    let path = dir.join("lakekeep");
    if !path.is_file() {
        fail(format_args!(
            "{} is missing: build it with `cargo build --release`, or set LAKEKEEP_BIN_DIR",
            path.display()
        ));
    }
    path
}

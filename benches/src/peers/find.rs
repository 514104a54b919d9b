//! Where a peer's program is.

use std::path::PathBuf;

use crate::args::Programs;
use crate::error::BenchError;
use crate::peers::Name;

/// Debian keeps runc in a folder that is not on an ordinary user's PATH.
const MORE: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// Finds the program of a peer.
pub fn program(name: Name, programs: &Programs) -> Result<PathBuf, BenchError> {
    let (file, remedy) = match name {
        // Compiled with the guests: found before anybody asks.
        Name::Fork | Name::CgroupFloor | Name::CgroupProcs => ("true", "install coreutils"),
        Name::Unshare => ("unshare", "install util-linux"),
        Name::Bwrap => ("bwrap", "install bubblewrap"),
        Name::Crun => ("crun", "install crun"),
        Name::Runc => ("runc", "install runc"),
        Name::Youki => ("youki", "cargo install youki --locked"),
        Name::Libcontainer => return example(),
        Name::Podman => ("podman", "install podman"),
        Name::Gvisor => ("runsc", "install runsc"),
        Name::Lakekeep
        | Name::LakekeepHost
        | Name::LakekeepRootless
        | Name::Managed
        | Name::ClaimGrpc
        | Name::NestedGrpc
        | Name::Claim
        | Name::Nested => return lakekeep(programs),
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = programs
        .search
        .iter()
        .cloned()
        .chain(std::env::split_paths(&path));
    folders
        .chain(MORE.map(PathBuf::from))
        .map(|folder| folder.join(file))
        .find(|candidate| candidate.is_file())
        .ok_or(BenchError::Missing {
            program: file.to_owned(),
            remedy,
        })
}

/// The launcher's example of the same build as this program.
fn example() -> Result<PathBuf, BenchError> {
    let beside = std::env::current_exe()
        .ok()
        .map(|own| own.with_file_name("examples").join("libcontainer"));
    beside
        .filter(|path| path.is_file())
        .ok_or(BenchError::Missing {
            program: "libcontainer".to_owned(),
            remedy: "run `cargo build --release --workspace --all-targets`",
        })
}

/// The given lakekeep, or the one of the same build as this program.
pub fn lakekeep(programs: &Programs) -> Result<PathBuf, BenchError> {
    let beside = || {
        std::env::current_exe()
            .ok()
            .map(|own| own.with_file_name("lakekeep"))
    };
    let found = programs
        .lakekeep
        .clone()
        .or_else(beside)
        .filter(|path| path.is_file());
    let path = found.ok_or(BenchError::Missing {
        program: "lakekeep".to_owned(),
        remedy: "run `cargo build --release` first, or name it with --lakekeep",
    })?;
    std::path::absolute(&path).map_err(BenchError::file("find", &path))
}

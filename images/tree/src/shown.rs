//! How a sandbox shows an environment.

use std::io::Read;
use std::path::Path;

use lakekeep_environment::{Digest, Library};
use lakekeep_policy::GuestPath;

use crate::stored::{Environment, Mount};

/// Where shared libraries are shown that the host has not or has others of.
pub const LIBRARIES: &str = "/opt/lakekeep/lib";

/// Parts of the C library: the loader of the image and they are one, so the image's are used.
const C_LIBRARY: [&str; 10] = [
    "libc.so.6",
    "libm.so.6",
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
    "libutil.so.1",
    "libresolv.so.2",
    "libanl.so.1",
    "libcrypt.so.1",
    "libnsl.so.1",
];

/// Folders of the host that every sandbox sees anyway.
const SEEN: [&str; 4] = ["/usr", "/lib", "/lib64", "/bin"];

/// What is mounted where, and what an interpreter inside must be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Read-only, each at its place.
    pub mounts: Vec<Mount>,
    /// Folder of the interpreter, first on PATH.
    pub programs: String,
    /// Variables that a command has, unless it is given others.
    pub variables: Vec<(String, String)>,
}

impl Shown {
    /// How this host shows an environment.
    pub fn of(environment: &Environment) -> Shown {
        let manifest = environment.manifest();
        let mut mounts = environment.mounts();
        let mut variables = Vec::new();
        let added = manifest.paths().iter().filter(|path| path.added);
        let added: Vec<&str> = added.map(|path| path.path.as_str()).collect();
        if !added.is_empty() {
            variables.push(("PYTHONPATH".to_owned(), added.join(":")));
        }
        if manifest.libraries().iter().any(is_another)
            && let Ok(target) = GuestPath::new(LIBRARIES)
        {
            mounts.push(Mount {
                source: environment.libraries(),
                target,
                directory: true,
            });
            variables.push(("LD_LIBRARY_PATH".to_owned(), LIBRARIES.to_owned()));
        }
        let executable = manifest.interpreter().executable.as_path();
        let programs = executable.parent().unwrap_or(Path::new("/"));
        Shown {
            mounts,
            programs: programs.display().to_string(),
            variables,
        }
    }
}

/// Whether this host's file is not the one that was captured.
fn is_another(library: &Library) -> bool {
    if C_LIBRARY.contains(&library.soname.as_str()) || library.soname.starts_with("ld-linux") {
        return false;
    }
    same(library).is_none_or(|same| !same)
}

/// `None`: there is none that a sandbox would see. The path is a stranger's, and this process may be
/// able to read more than he is: so nothing but what every sandbox sees is opened, and only where
/// it is a file of the right length.
fn same(library: &Library) -> Option<bool> {
    let real = std::fs::canonicalize(library.path.as_path()).ok()?;
    if !SEEN.iter().any(|folder| real.starts_with(folder)) {
        return None;
    }
    let stat = std::fs::symlink_metadata(&real).ok()?;
    if !stat.is_file() || stat.len() != library.file.size {
        return None;
    }
    let mut content = Vec::new();
    let file = std::fs::File::open(&real).ok()?;
    file.take(library.file.size)
        .read_to_end(&mut content)
        .ok()?;
    Some(Digest::of(&content) == library.file.digest)
}

//! An environment as a sandbox shows it, and what its interpreter must be told.

use std::io::Read;
use std::path::Path;

use lakekeep_environment::{Digest, Library, Manifest, Tree};
use lakekeep_plan::{Replica, View};

use crate::stored::Environment;

/// Where shared libraries are shown that the host has not or has others of.
const LIBRARIES: &str = "/opt/lakekeep/lib";

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

impl Environment {
    /// Its parts, each where it was on the client, and the variables of its interpreter. Shared
    /// libraries are compared with this host's, which are read: ask once for many sandboxes.
    #[must_use]
    pub fn view(&self) -> View {
        let mut replicas: Vec<Replica> = self
            .mounts()
            .into_iter()
            .map(|mount| Replica {
                source: mount.source.display().to_string(),
                target: mount.target.as_str().to_owned(),
                directory: mount.directory,
            })
            .collect();
        let manifest = self.manifest();
        let mut variables = Vec::new();
        let added = manifest.paths().iter().filter(|path| path.added);
        let added: Vec<&str> = added.map(|path| path.path.as_str()).collect();
        if !added.is_empty() {
            variables.push(("PYTHONPATH".to_owned(), added.join(":")));
        }
        if manifest.libraries().iter().any(is_another) {
            replicas.push(Replica {
                source: self.libraries().display().to_string(),
                target: LIBRARIES.to_owned(),
                directory: true,
            });
            variables.push(("LD_LIBRARY_PATH".to_owned(), LIBRARIES.to_owned()));
        }
        let executable = manifest.interpreter().executable.as_path();
        let programs = executable.parent().unwrap_or(Path::new("/"));
        View {
            replicas,
            programs: programs.display().to_string(),
            variables,
        }
    }

    /// Whether a distribution of this name is installed in it, or a module of this name lies on
    /// its `sys.path`. Nothing is imported: a module may be there and fail all the same.
    #[must_use]
    pub fn has_module(&self, name: &str) -> bool {
        let manifest = self.manifest();
        let installed = manifest.distributions().iter().any(|it| it.name == name);
        installed || lies_on_path(manifest, name)
    }
}

fn lies_on_path(manifest: &Manifest, name: &str) -> bool {
    let forms = [format!("{name}/__init__.py"), format!("{name}.py")];
    let beneath = |tree: &Tree, folder: &Path| {
        let relative = folder.strip_prefix(tree.root.as_path()).ok()?;
        let has = |form: &String| {
            let path = relative.join(form);
            let wanted = path.to_str()?;
            let found = tree
                .entries
                .binary_search_by(|it| it.path.as_str().cmp(wanted));
            found.ok()
        };
        forms.iter().find_map(has)
    };
    manifest.paths().iter().any(|entry| {
        let trees = manifest.trees().iter();
        trees
            .map(|tree| beneath(tree, entry.path.as_path()))
            .any(|found| found.is_some())
    })
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

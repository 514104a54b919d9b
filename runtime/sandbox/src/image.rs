//! Looks at images and mount sources before a plan is made of them.

use std::path::{Path, PathBuf};

use lakekeep_plan::image::{FolderImage, HostImage};
use lakekeep_plan::{ImageFacts, MountFacts, Replica, View};
use lakekeep_policy::{ImageRef, MountRule};
use lakekeep_protocol::launch::RootfsStep;
use lakekeep_sys::{Errno, mount};
use rustix::fs::FileType;

/// What of `/` a sandbox of the host image is shown.
const TOP: [&str; 7] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
];

/// What of /etc it is shown: no secret, no name of the host or its users.
const ETC: [&str; 20] = [
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/debian_version",
    "/etc/fonts",
    "/etc/inputrc",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/magic",
    "/etc/mime.types",
    "/etc/perl",
    "/etc/pki",
    "/etc/protocols",
    "/etc/redhat-release",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/terminfo",
    "/etc/xdg",
];

/// Beginnings of versioned names in /etc that runtimes read their settings from.
const ETC_VERSIONED: [&str; 2] = ["java-", "python3"];

/// What the sandbox mounts over or makes files in.
const MUST_BE_DIRECTORIES: [&str; 9] = [
    "/dev", "/dev/pts", "/dev/shm", "/proc", "/sys", "/tmp", "/run", "/etc", "/home",
];

/// An image or a mount source that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// It is not there.
    #[error("{what} {path} does not exist; check the path, which must be one of this host")]
    Missing {
        /// `image` or `mount source`.
        what: &'static str,
        /// The path.
        path: String,
    },
    /// The way to it leads over a link, which could be pointed elsewhere.
    #[error("{what} {path} leads through a symbolic link; name the real path: {real}")]
    Link {
        /// `image` or `mount source`.
        what: &'static str,
        /// The path.
        path: String,
        /// What it resolves to now.
        real: String,
    },
    /// It is of the wrong kind.
    #[error("{what} {path} is {found}; {wanted} is needed")]
    Kind {
        /// `image` or `mount source`.
        what: &'static str,
        /// The path.
        path: String,
        /// What it is.
        found: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// A replicated environment is shown with the host's programs only.
    #[error(
        "an environment needs the host's programs around it, not the image {image}; leave the image out"
    )]
    NotWithFolder {
        /// The image.
        image: String,
    },
    /// The kernel refuses a look.
    #[error("{what} {path} cannot be looked at")]
    Unreadable {
        /// `image` or `mount source`.
        what: &'static str,
        /// The path.
        path: String,
        /// Why.
        #[source]
        errno: Errno,
    },
}

const IMAGE: &str = "image";
const SOURCE: &str = "mount source";
const INTERPRETER: &str = "interpreter";
const REPLICA: &str = "part of the environment";
const PLACE: &str = "place for a part of the environment";

/// What is added to an image.
#[derive(Debug, Clone, Copy, Default)]
pub struct Additions<'a> {
    /// A program whose prefix the host image shall include.
    pub interpreter: Option<&'a Path>,
    /// A replicated environment.
    pub view: Option<&'a View>,
}

impl Additions<'_> {
    fn replicas(&self) -> &[Replica] {
        self.view.map_or(&[][..], |view| view.replicas.as_slice())
    }
}

/// Looks at the policy's image.
pub fn image(image: &ImageRef, additions: &Additions<'_>) -> Result<ImageFacts, ImageError> {
    match image {
        ImageRef::Host => host(additions).map(ImageFacts::Host),
        ImageRef::Folder(folder) if additions.replicas().is_empty() => {
            self::folder(folder).map(ImageFacts::Folder)
        }
        ImageRef::Folder(folder) => Err(ImageError::NotWithFolder {
            image: folder.display().to_string(),
        }),
    }
}

/// Each part is there, and within the host's read-only folders there is a place for it.
fn replicas(image: &HostImage, parts: &[Replica]) -> Result<Vec<Replica>, ImageError> {
    let shown: Vec<&str> = image.directories.iter().map(String::as_str).collect();
    check_replicas(&shown, parts)?;
    Ok(parts.to_vec())
}

/// The same for a sandbox that is planned already.
pub fn parts(root: &[RootfsStep], parts: &[Replica]) -> Result<(), ImageError> {
    let shown = root.iter().filter_map(|step| match step {
        RootfsStep::Bind { source, target, .. } if source == target => Some(target.as_str()),
        _ => None,
    });
    check_replicas(&shown.collect::<Vec<_>>(), parts)
}

fn check_replicas(shown: &[&str], parts: &[Replica]) -> Result<(), ImageError> {
    for part in parts {
        same_kind(REPLICA, Path::new(&part.source), part.directory)?;
        let target = Path::new(&part.target);
        if shown.iter().any(|folder| target.starts_with(folder)) {
            same_kind(PLACE, target, part.directory)?;
        }
    }
    Ok(())
}

fn same_kind(what: &'static str, path: &Path, directory: bool) -> Result<(), ImageError> {
    let (found, _) = look(what, path)?;
    match (found, directory) {
        (FileType::Directory, true) | (FileType::RegularFile, false) => Ok(()),
        (found, _) => Err(ImageError::Kind {
            what,
            path: path.display().to_string(),
            found: name(found),
            wanted: if directory { "a directory" } else { "a file" },
        }),
    }
}

/// Looks at the source of a mount.
pub fn mount_source(rule: &MountRule) -> Result<MountFacts, ImageError> {
    let path = rule.source();
    let (kind, owner) = look(SOURCE, path)?;
    match kind {
        FileType::Directory | FileType::RegularFile => Ok(MountFacts {
            directory: kind == FileType::Directory,
            owner,
            identity: None,
        }),
        other => Err(ImageError::Kind {
            what: SOURCE,
            path: path.display().to_string(),
            found: name(other),
            wanted: "a file or a directory",
        }),
    }
}

fn host(additions: &Additions<'_>) -> Result<HostImage, ImageError> {
    let mut image = HostImage::default();
    for path in TOP {
        match std::fs::read_link(path) {
            Ok(target) => image
                .links
                .push((path.to_owned(), target.display().to_string())),
            Err(_) if Path::new(path).is_dir() => image.directories.push(path.to_owned()),
            Err(_) => {}
        }
    }
    for path in etc() {
        // A link, or nothing: what is not plainly there is not shown.
        match look(IMAGE, Path::new(&path)) {
            Ok((FileType::Directory, _)) => image.etc_directories.push(path),
            Ok((FileType::RegularFile, _)) => image.etc_files.push(path),
            _ => {}
        }
    }
    if let Some(program) = additions.interpreter {
        image.prefixes = prefixes(program)?;
    }
    image.replicas = replicas(&image, additions.replicas())?;
    Ok(image)
}

fn etc() -> Vec<String> {
    let mut paths: Vec<String> = ETC.map(str::to_owned).to_vec();
    // An unreadable /etc shows nothing more: programs then use their defaults.
    for entry in std::fs::read_dir("/etc").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if ETC_VERSIONED.iter().any(|start| name.starts_with(start)) {
            paths.push(format!("/etc/{name}"));
        }
    }
    paths.sort();
    paths
}

/// The prefixes of an interpreter that lie outside of what is shown anyway: that of the
/// program, `/opt/py/bin/python3` → `/opt/py`; and where it is a link, as in a virtual
/// environment, that of the name by which it is called.
fn prefixes(program: &Path) -> Result<Vec<String>, ImageError> {
    let failed = |error| missing(INTERPRETER, program, &error);
    let real = std::fs::canonicalize(program).map_err(failed)?;
    let folder = program.parent().unwrap_or(Path::new("/"));
    let named = std::fs::canonicalize(folder).map_err(failed)?;
    let named = program
        .file_name()
        .map_or(named.clone(), |name| named.join(name));
    let mut prefixes = Vec::new();
    for place in [&real, &named] {
        let prefix = prefix(place)?;
        prefixes.extend(prefix.filter(|prefix| !prefixes.contains(prefix)));
    }
    Ok(prefixes)
}

fn prefix(program: &Path) -> Result<Option<String>, ImageError> {
    if TOP.iter().any(|top| program.starts_with(top)) {
        return Ok(None);
    }
    match program.parent().and_then(Path::parent) {
        Some(prefix) if prefix != Path::new("/") => Ok(Some(prefix.display().to_string())),
        _ => Err(ImageError::Kind {
            what: INTERPRETER,
            path: program.display().to_string(),
            found: "not in a prefix",
            wanted: "a program in PREFIX/bin",
        }),
    }
}

fn folder(folder: &Path) -> Result<FolderImage, ImageError> {
    match look(IMAGE, folder)? {
        (FileType::Directory, _) => {}
        (kind, _) => {
            return Err(ImageError::Kind {
                what: IMAGE,
                path: folder.display().to_string(),
                found: name(kind),
                wanted: "\"host\" or a folder that holds a root file system",
            });
        }
    }
    Ok(FolderImage {
        folder: folder.to_path_buf(),
        not_directories: not_directories(folder)?,
    })
}

fn not_directories(folder: &Path) -> Result<Vec<(String, &'static str)>, ImageError> {
    let root = mount::host_place(folder).map_err(|errno| unreadable(IMAGE, folder, errno))?;
    let mut found = Vec::new();
    for path in MUST_BE_DIRECTORIES {
        match mount::beneath(&root, Path::new(path)).and_then(|place| rustix::fs::fstat(&place)) {
            Ok(stat) => {
                let kind = FileType::from_raw_mode(stat.st_mode);
                if kind != FileType::Directory {
                    found.push((path.to_owned(), name(kind)));
                }
            }
            // Opened without following: a link reports as itself or as a loop.
            Err(Errno::LOOP) => found.push((path.to_owned(), name(FileType::Symlink))),
            Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR) => found.push((path.to_owned(), "below a file")),
            Err(errno) => return Err(unreadable(IMAGE, &folder.join(&path[1..]), errno)),
        }
    }
    Ok(found)
}

/// Kind and owner of what `path` names, through no link.
fn look(what: &'static str, path: &Path) -> Result<(FileType, (u32, u32)), ImageError> {
    let place = mount::host_place(path).map_err(|errno| match errno {
        Errno::NOENT | Errno::NOTDIR => ImageError::Missing {
            what,
            path: path.display().to_string(),
        },
        Errno::LOOP => link(what, path),
        errno => unreadable(what, path, errno),
    })?;
    let stat = rustix::fs::fstat(&place).map_err(|errno| unreadable(what, path, errno))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => Err(link(what, path)),
        kind => Ok((kind, (stat.st_uid, stat.st_gid))),
    }
}

fn link(what: &'static str, path: &Path) -> ImageError {
    let real = std::fs::canonicalize(path);
    ImageError::Link {
        what,
        path: path.display().to_string(),
        real: real
            .unwrap_or_else(|_| PathBuf::from("(it leads nowhere)"))
            .display()
            .to_string(),
    }
}

fn missing(what: &'static str, path: &Path, error: &std::io::Error) -> ImageError {
    match error.kind() {
        std::io::ErrorKind::NotFound => ImageError::Missing {
            what,
            path: path.display().to_string(),
        },
        _ => unreadable(what, path, Errno::from_io_error(error).unwrap_or(Errno::IO)),
    }
}

fn unreadable(what: &'static str, path: &Path, errno: Errno) -> ImageError {
    ImageError::Unreadable {
        what,
        path: path.display().to_string(),
        errno,
    }
}

fn name(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice => "a character device",
        FileType::BlockDevice => "a block device",
        _ => "something else",
    }
}

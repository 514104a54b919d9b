//! Reading a folder of documents: regular files only, through no link, bounded
//! in number and size.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, Mode, OFlags, fstat, open, openat};

/// Which files are read, and how much of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// How their names end; names that begin with a point are passed over.
    pub(crate) suffix: &'static str,
    /// Most files.
    pub(crate) files: usize,
    /// Most bytes of each.
    pub(crate) bytes: u64,
}

/// A folder or file that could not be read, or must not be.
#[derive(Debug)]
pub(crate) struct FolderFault {
    pub(crate) path: PathBuf,
    pub(crate) cause: Cause,
}

#[derive(Debug)]
pub(crate) enum Cause {
    Open(io::Error),
    Read(io::Error),
    NotRegular,
    Writable(u32),
    TooLong(u64),
    TooMany(usize),
    NotText,
}

impl FolderFault {
    pub(crate) fn why(&self) -> String {
        match &self.cause {
            Cause::Open(error) if error.raw_os_error() == Some(LOOP) => {
                "a symbolic link, which is not followed".to_owned()
            }
            Cause::Open(error) => format!("cannot be opened: {error}"),
            Cause::Read(error) => format!("cannot be read: {error}"),
            Cause::NotRegular => "not a regular file".to_owned(),
            Cause::Writable(mode) => {
                format!(
                    "every user of the host may change it (mode {:o})",
                    mode & 0o7777
                )
            }
            Cause::TooLong(most) => format!("longer than {most} bytes"),
            Cause::TooMany(most) => format!("more than {most} files"),
            Cause::NotText => "not UTF-8 text".to_owned(),
        }
    }

    pub(crate) fn remedy(&self) -> &'static str {
        match &self.cause {
            Cause::Open(error) if error.raw_os_error() == Some(LOOP) => {
                "put the file itself into the folder"
            }
            Cause::Open(_) | Cause::Read(_) => {
                "make it readable for the user that runs the manager"
            }
            Cause::NotRegular => "put a file there, or give it another name",
            Cause::Writable(_) => "chmod o-w",
            Cause::TooLong(_) => "make it shorter",
            Cause::TooMany(_) => "remove some",
            Cause::NotText => "save it as UTF-8",
        }
    }
}

/// `ELOOP`: what opening a link without following it gives.
const LOOP: i32 = rustix::io::Errno::LOOP.raw_os_error();

/// The files of `folder` by name, and everything that is wrong with it.
pub(crate) fn read_folder(
    folder: &Path,
    bounds: Bounds,
) -> (Vec<(PathBuf, String)>, Vec<FolderFault>) {
    let fault = |path: &Path, cause| FolderFault {
        path: path.to_owned(),
        cause,
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = match open(folder, flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(error) => return (Vec::new(), vec![fault(folder, Cause::Open(error.into()))]),
    };
    let names = match names(&directory, bounds) {
        Ok(names) => names,
        Err(cause) => return (Vec::new(), vec![fault(folder, cause)]),
    };
    let (mut files, mut faults) = (Vec::new(), Vec::new());
    for name in names {
        let path = folder.join(&name);
        match read(&directory, &name, bounds.bytes) {
            Ok(text) => files.push((path, text)),
            Err(cause) => faults.push(fault(&path, cause)),
        }
    }
    (files, faults)
}

fn names(directory: &impl std::os::fd::AsFd, bounds: Bounds) -> Result<Vec<String>, Cause> {
    let entries = Dir::read_from(directory).map_err(|error| Cause::Read(error.into()))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| Cause::Read(error.into()))?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        if name.ends_with(bounds.suffix) && !name.starts_with('.') {
            names.push(name.to_owned());
        }
        if names.len() > bounds.files {
            return Err(Cause::TooMany(bounds.files));
        }
    }
    names.sort();
    Ok(names)
}

/// Non-blocking, so that a pipe under that name does not hold the manager up.
fn read(directory: &impl std::os::fd::AsFd, name: &str, most: u64) -> Result<String, Cause> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file =
        openat(directory, name, flags, Mode::empty()).map_err(|error| Cause::Open(error.into()))?;
    let stat = fstat(&file).map_err(|error| Cause::Read(error.into()))?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return Err(Cause::NotRegular);
    }
    if stat.st_mode & 0o002 != 0 {
        return Err(Cause::Writable(stat.st_mode));
    }
    let mut bytes = Vec::new();
    File::from(file)
        .take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(Cause::Read)?;
    if bytes.len() as u64 > most {
        return Err(Cause::TooLong(most));
    }
    String::from_utf8(bytes).map_err(|_| Cause::NotText)
}

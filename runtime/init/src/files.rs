//! The file service: reads, writes and lists files as the sandbox's user, under a
//! task's seal. See [`lakekeep_protocol::task::FILES`] for its arguments.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lakekeep_protocol::task::{FileEntry, FileKind};
use rustix::io::Errno;

/// Opened without waiting for the other end of a pipe; no pipe is read anyway.
const FLAGS: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

/// Serves one request.
pub fn serve(arguments: Vec<OsString>) -> ExitCode {
    match answer(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(Errno::IO.raw_os_error());
            if writeln!(io::stderr(), "{errno}").is_err() {
                // Nobody listens any more.
            }
            ExitCode::FAILURE
        }
    }
}

fn answer(arguments: &[OsString]) -> io::Result<()> {
    let words: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
    let known = |word: &OsStr| word.to_str().unwrap_or_default().to_owned();
    match words.as_slice() {
        [what, path, offset, length] if known(what) == "read" => {
            read(Path::new(path), number(offset)?, number(length)?)
        }
        [what, path, mode, how] if known(what) == "write" => {
            let mode = u32::try_from(number(mode)?).map_err(|_| invalid())?;
            write(Path::new(path), mode & 0o777, known(how) == "new")
        }
        [what, path, limit] if known(what) == "list" => list(Path::new(path), number(limit)?),
        _ => Err(invalid()),
    }
}

fn invalid() -> io::Error {
    Errno::INVAL.into()
}

fn number(word: &OsStr) -> io::Result<u64> {
    let text = word.to_str().ok_or_else(invalid)?;
    text.parse().map_err(|_| invalid())
}

fn read(path: &Path, offset: u64, length: u64) -> io::Result<()> {
    let mut file = File::options().read(true).custom_flags(FLAGS).open(path)?;
    let found = file.metadata()?;
    if found.is_dir() {
        return Err(Errno::ISDIR.into());
    }
    if !found.is_file() {
        return Err(invalid());
    }
    file.seek(SeekFrom::Start(offset))?;
    let most = if length == 0 { u64::MAX } else { length };
    io::copy(&mut file.take(most), &mut io::stdout().lock())?;
    Ok(())
}

/// The file is made under another name beside its own, and takes its own when whole.
fn write(path: &Path, mode: u32, new: bool) -> io::Result<()> {
    let name = path.file_name().ok_or_else(invalid)?;
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}", std::process::id()));
    let draft = path.with_file_name(beside);
    let written = fill(&draft, mode).and_then(|()| settle(&draft, path, new));
    if written.is_err() && std::fs::remove_file(&draft).is_err() {
        // It was not made.
    }
    written
}

fn fill(draft: &PathBuf, mode: u32) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(draft)?;
    io::copy(&mut io::stdin().lock(), &mut file)?;
    file.sync_all()
}

fn settle(draft: &Path, path: &Path, new: bool) -> io::Result<()> {
    if new {
        // A link does not replace.
        std::fs::hard_link(draft, path)?;
        return std::fs::remove_file(draft);
    }
    std::fs::rename(draft, path)
}

fn list(path: &Path, limit: u64) -> io::Result<()> {
    let mut output = io::BufWriter::new(io::stdout().lock());
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    for entry in std::fs::read_dir(path)?.take(limit) {
        let entry = entry?;
        // Gone meanwhile: not there.
        let Ok(found) = entry.metadata() else {
            continue;
        };
        let kind = match found.file_type() {
            kind if kind.is_file() => FileKind::File,
            kind if kind.is_dir() => FileKind::Directory,
            kind if kind.is_symlink() => FileKind::Symlink,
            _ => FileKind::Other,
        };
        let entry = FileEntry {
            name: entry.file_name().as_bytes().to_vec(),
            kind,
            size: found.size(),
            mode: found.mode() & 0o7777,
        };
        let bytes = postcard::to_stdvec(&entry).map_err(|_| invalid())?;
        output.write_all(&bytes)?;
    }
    output.flush()
}

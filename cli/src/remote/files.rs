//! Files in and out of sandboxes.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lakekeep_client::{Client, WriteFile, v1};
use serde_json::json;

use super::carry::{Writer, read};
use super::error::RemoteError;
use super::show::{self, Cell};
use super::{Answer, print};
use crate::args::remote::{CpArgs, LsArgs, Place, place};
use crate::run::copy as duplicate;

/// `lakekeep cp`
pub async fn copy(client: Client, arguments: CpArgs) -> Answer {
    let inside = |word: &OsStr| word.to_str().and_then(|text| place(text).ok());
    match (inside(&arguments.from), inside(&arguments.to)) {
        (None, Some(to)) => put(&client, &arguments, to).await?,
        (Some(from), None) => get(&client, &arguments, &from).await?,
        (Some(_), Some(_)) => return Err(RemoteError::Copy("both are in a sandbox")),
        (None, None) => return Err(RemoteError::Copy("neither is SANDBOX:/PATH")),
    }
    Ok(ExitCode::SUCCESS)
}

fn failed(path: &Path, done: &'static str) -> impl Fn(std::io::Error) -> RemoteError {
    let path = path.display().to_string();
    move |error| RemoteError::File {
        path: path.clone(),
        done,
        error,
    }
}

/// Into a sandbox.
async fn put(client: &Client, arguments: &CpArgs, to: Place) -> Result<(), RemoteError> {
    let path = Path::new(&arguments.from);
    let unread = failed(path, "read");
    let mut target = to.path;
    if target.ends_with('/') {
        let name = path.file_name().and_then(OsStr::to_str);
        target.push_str(name.ok_or_else(|| RemoteError::NotText(arguments.from.clone()))?);
    }
    let mut file = WriteFile::new(to.sandbox, target);
    if arguments.no_clobber {
        file = file.create_new();
    }
    let source = match arguments.from == "-" {
        true => duplicate(rustix::stdio::stdin())?,
        false => {
            let source = File::open(path).map_err(&unread)?;
            let about = source.metadata().map_err(&unread)?;
            if about.is_dir() {
                return Err(unread(std::io::ErrorKind::IsADirectory.into()));
            }
            file = file.mode(about.permissions().mode() & 0o777);
            source.into()
        }
    };
    let mut pieces = read(source);
    let mut writer = client.write_file(file).await?;
    while let Some(piece) = pieces.recv().await {
        writer.write(&piece.map_err(&unread)?).await?;
    }
    writer.finish().await?;
    Ok(())
}

/// Out of a sandbox: the file is there whole or not at all.
async fn get(client: &Client, arguments: &CpArgs, from: &Place) -> Result<(), RemoteError> {
    let mut reader = client.read_file(&from.sandbox, &from.path, 0, 0).await?;
    if arguments.to == "-" {
        let mut out = Writer::start(duplicate(rustix::stdio::stdout())?);
        while let Some(piece) = reader.next().await? {
            if !out.write(piece).await {
                break;
            }
        }
        return Ok(out.finish()?);
    }
    let path = target(&arguments.to, &from.path);
    let unwritten = failed(&path, "written");
    // What is no file, a pipe or a device, is written to and never replaced.
    if path
        .symlink_metadata()
        .is_ok_and(|found| !found.is_file() && !found.is_symlink())
    {
        let mut file = File::options()
            .write(true)
            .open(&path)
            .map_err(&unwritten)?;
        while let Some(piece) = reader.next().await? {
            file.write_all(&piece).map_err(&unwritten)?;
        }
        return Ok(());
    }
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let mut draft = tempfile::Builder::new()
        .prefix(".lakekeep-cp-")
        // Less the umask.
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(folder.unwrap_or_else(|| Path::new(".")))
        .map_err(&unwritten)?;
    while let Some(piece) = reader.next().await? {
        draft.write_all(&piece).map_err(&unwritten)?;
    }
    let kept = match arguments.no_clobber {
        true => draft.persist_noclobber(&path),
        false => draft.persist(&path),
    };
    kept.map(drop).map_err(|error| unwritten(error.error))
}

/// Into a folder, under the file's own name.
fn target(to: &OsString, from: &str) -> PathBuf {
    let path = PathBuf::from(to);
    match (path.is_dir(), Path::new(from).file_name()) {
        (true, Some(name)) => path.join(name),
        _ => path,
    }
}

/// `lakekeep ls`
pub async fn list(client: Client, arguments: LsArgs) -> Answer {
    let place = &arguments.place;
    let mut folder = client.list_files(&place.sandbox, &place.path, 0).await?;
    folder
        .entries
        .sort_by(|one, other| one.name.cmp(&other.name));
    let text = match (arguments.via.json, arguments.long) {
        (true, _) => folder.entries.iter().map(as_json).collect(),
        (false, true) => long(&folder.entries),
        (false, false) => {
            let names = folder.entries.iter();
            names.map(|entry| name(entry) + "\n").collect()
        }
    };
    print(&text)?;
    if folder.truncated {
        let messages = crate::report::Messages {
            json: arguments.via.json,
        };
        messages.say("warning", "there is more in the folder than is listed");
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(entry: &v1::FileEntry) -> String {
    let line = json!({
        "name": String::from_utf8_lossy(&entry.name),
        "kind": entry.kind,
        "size": entry.size,
        "mode": format!("{:04o}", entry.mode & 0o7777),
    });
    format!("{line}\n")
}

/// A name, with a slash after a folder's.
fn name(entry: &v1::FileEntry) -> String {
    let name = show::clean(&String::from_utf8_lossy(&entry.name));
    match entry.kind.as_str() {
        "directory" => name + "/",
        _ => name,
    }
}

fn long(entries: &[v1::FileEntry]) -> String {
    let rows = entries.iter().map(|entry| {
        vec![
            mode(entry).into(),
            Cell::figure(entry.size.to_string()),
            name(entry).into(),
        ]
    });
    show::table(&["MODE", "SIZE", "NAME"], &rows.collect::<Vec<_>>(), false)
}

/// As ls(1) has it.
fn mode(entry: &v1::FileEntry) -> String {
    let mut text = String::from(match entry.kind.as_str() {
        "file" => '-',
        "directory" => 'd',
        "symlink" => 'l',
        _ => '?',
    });
    for (bit, letter) in (0..9).rev().zip("rwxrwxrwx".chars()) {
        text.push(if entry.mode & (1 << bit) == 0 {
            '-'
        } else {
            letter
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &[u8], kind: &str, mode: u32) -> v1::FileEntry {
        v1::FileEntry {
            name: name.to_vec(),
            kind: kind.to_owned(),
            size: 12,
            mode,
        }
    }

    #[test]
    fn a_folder_is_listed_as_ls_does() {
        let entries = [
            entry(b"a\x1bb", "file", 0o640),
            entry(b"d", "directory", 0o755),
            entry(b"l", "symlink", 0o777),
        ];
        assert_eq!(
            long(&entries),
            "MODE        SIZE  NAME\n\
             -rw-r-----    12  a\\u{1b}b\n\
             drwxr-xr-x    12  d/\n\
             lrwxrwxrwx    12  l\n"
        );
        let line: serde_json::Value = serde_json::from_str(&as_json(&entries[0])).unwrap();
        assert_eq!(
            line,
            json!({ "name": "a\u{1b}b", "kind": "file", "size": 12, "mode": "0640" })
        );
    }

    #[test]
    fn a_copy_into_a_folder_keeps_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().as_os_str().to_owned();
        assert_eq!(target(&to, "/x/data.csv"), folder.path().join("data.csv"));
        let file = folder.path().join("new").into_os_string();
        assert_eq!(target(&file, "/x/data.csv"), folder.path().join("new"));
    }
}

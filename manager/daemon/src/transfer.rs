//! Files of a sandbox, read and written by its init's file service: as the sandbox's
//! user, under a task's seal, so that no path of the sandbox is ever opened out here.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use lakekeep_api::v1::write_file_request::Request as Piece;
use lakekeep_api::v1::{
    FileChunk, FileEntry, ListFilesRequest, ListFilesResponse, ReadFileRequest, WriteFileHeader,
    WriteFileRequest, WriteFileResponse,
};
use lakekeep_api::{CHUNK, Reason};
use lakekeep_protocol::task::{self as wire, FILES, FileKind};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::admission::Permit;
use crate::fault::Fault;
use crate::maker::Request;
use crate::sandbox::{Manner, Sandbox};
use crate::streams::FIRST_WORD;
use crate::task::Task;

/// Most names of one answer.
const MOST_ENTRIES: u32 = 10_000;

/// Chunks that wait for a reader.
const WAITING: usize = 4;

/// Reads a file in chunks.
///
/// # Errors
/// `BadRequest` for a path that is not absolute; of the task.
pub async fn read(
    sandbox: &Arc<Sandbox>,
    permit: Option<Permit>,
    asked: &ReadFileRequest,
) -> Result<Pin<Box<dyn Stream<Item = Result<FileChunk, Status>> + Send>>, Fault> {
    let words = [
        "read".to_owned(),
        absolute(&asked.path)?,
        asked.offset.to_string(),
        asked.length.to_string(),
    ];
    let task = serve(sandbox, permit, &words, true).await?;
    let (to, chunks) = mpsc::channel(WAITING);
    let (base, path) = (asked.offset, asked.path.clone());
    tokio::spawn(async move {
        let _follower = task.follow();
        if let Err(fault) = send(&task, base, &to).await {
            drop(to.send(Err(fault.into())).await);
            return;
        }
        if let Err(fault) = success(&task, &path).await {
            drop(to.send(Err(fault.into())).await);
        }
    });
    Ok(Box::pin(ReceiverStream::new(chunks)))
}

async fn send(
    task: &Task,
    base: u64,
    to: &mpsc::Sender<Result<FileChunk, Status>>,
) -> Result<(), Fault> {
    let mut progress = task.stdout.follow();
    let mut at = 0;
    loop {
        let seen = *progress.borrow_and_update();
        let data = task
            .stdout
            .read(at, CHUNK)
            .map_err(|error| Fault::internal("read a file", &error))?;
        if !data.is_empty() {
            let length = u64::try_from(data.len()).unwrap_or(0);
            let chunk = FileChunk {
                offset: base + at,
                data,
            };
            at += length;
            if to.send(Ok(chunk)).await.is_err() {
                return Ok(());
            }
        } else if (seen.closed && at >= seen.end) || progress.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// The first message of a file to be written.
///
/// # Errors
/// `BadRequest` when it is none.
pub async fn header(pieces: &mut Streaming<WriteFileRequest>) -> Result<WriteFileHeader, Fault> {
    let missing = || {
        Fault::new(
            Reason::BadRequest,
            "the first message of the stream is `header`",
        )
    };
    let first = tokio::time::timeout(FIRST_WORD, pieces.message()).await;
    let first = first.map_err(|_| missing())?.map_err(|_| missing())?;
    match first.and_then(|first| first.request) {
        Some(Piece::Header(header)) => Ok(header),
        _ => Err(missing()),
    }
}

/// Writes a file from a stream. It takes its name when all of it is there.
///
/// # Errors
/// Of the stream: nothing is left of the file then. Of the task.
pub async fn write(
    sandbox: &Arc<Sandbox>,
    permit: Option<Permit>,
    header: &WriteFileHeader,
    mut pieces: Streaming<WriteFileRequest>,
) -> Result<WriteFileResponse, Fault> {
    let how = if header.create_new { "new" } else { "replace" };
    let words = [
        "write".to_owned(),
        absolute(&header.path)?,
        header.mode.to_string(),
        how.to_owned(),
    ];
    let task = serve(sandbox, permit, &words, false).await?;
    let _follower = task.follow();
    let mut size = 0;
    let given = loop {
        match pieces.message().await {
            Ok(None) => break Ok(()),
            Ok(Some(WriteFileRequest {
                request: Some(Piece::Data(data)),
            })) => match give(&task, size, &data).await {
                Some(so_far) => size = so_far,
                // It has failed, and says why.
                None => break Ok(()),
            },
            Ok(Some(_)) => {
                break Err(Fault::new(
                    Reason::BadRequest,
                    "only `data` follows the header",
                ));
            }
            Err(status) => break Err(Fault::new(Reason::BadRequest, status.message())),
        }
    };
    if given.is_err() {
        // The draft goes with the scratch file system at the latest.
        sandbox.signal(task.number, 15)?;
        task.wait().await;
    } else {
        sandbox.end_input(&task).await;
    }
    given?;
    success(&task, &header.path).await?;
    Ok(WriteFileResponse { size })
}

async fn give(task: &Task, offset: u64, data: &[u8]) -> Option<u64> {
    tokio::select! {
        given = task.give(offset, data) => given.ok(),
        _ = task.wait() => None,
    }
}

/// What is in a folder.
///
/// # Errors
/// Of the task.
pub async fn list(
    sandbox: &Arc<Sandbox>,
    permit: Option<Permit>,
    asked: &ListFilesRequest,
) -> Result<ListFilesResponse, Fault> {
    let limit = match asked.limit {
        0 => MOST_ENTRIES,
        some => some.min(MOST_ENTRIES),
    };
    let words = [
        "list".to_owned(),
        absolute(&asked.path)?,
        (limit + 1).to_string(),
    ];
    let task = serve(sandbox, permit, &words, true).await?;
    let _follower = task.follow();
    success(&task, &asked.path).await?;
    let end = task.stdout.follow().borrow().end;
    let most = usize::try_from(end).unwrap_or(0);
    let bytes = task
        .stdout
        .read(0, most)
        .map_err(|error| Fault::internal("read a folder", &error))?;
    let mut entries = Vec::new();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        // From inside: an enemy's, perhaps.
        let (entry, next): (wire::FileEntry, &[u8]) = lakekeep_protocol::take(rest)
            .map_err(|error| Fault::internal("read a folder", &error))?;
        entries.push(shown(entry));
        rest = next;
    }
    let truncated = entries.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    entries.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(ListFilesResponse { entries, truncated })
}

fn shown(entry: wire::FileEntry) -> FileEntry {
    let kind = match entry.kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symlink",
        FileKind::Other => "other",
    };
    FileEntry {
        name: entry.name,
        kind: kind.to_owned(),
        size: entry.size,
        mode: entry.mode,
    }
}

/// Starts the file service, which counts as a task as long as it runs.
async fn serve(
    sandbox: &Arc<Sandbox>,
    permit: Option<Permit>,
    words: &[String],
    no_input: bool,
) -> Result<Arc<Task>, Fault> {
    let mut arguments = vec![FILES.as_bytes().to_vec()];
    arguments.extend(words.iter().map(|word| word.clone().into_bytes()));
    let request = Request {
        arguments,
        file_service: true,
        ..Request::default()
    };
    let manner = Manner {
        detached: false,
        linger: Duration::from_secs(30),
        query: String::new(),
        no_input,
        asked: None,
        last: false,
        given: None,
    };
    let task = sandbox.exec(&request, &manner).await?;
    if let Some(permit) = permit {
        task.hold(permit);
    }
    Ok(task)
}

async fn success(task: &Task, path: &str) -> Result<(), Fault> {
    const ENOENT: i32 = 2;
    const EEXIST: i32 = 17;
    let ended = task.wait().await;
    if ended.exit_code == 0 {
        return Ok(());
    }
    let words = task.stderr.read(0, 64).unwrap_or_default();
    let errno: Option<i32> = String::from_utf8_lossy(&words).trim().parse().ok();
    let Some(errno) = errno else {
        let message = format!("{path}: the file service ended: {}", ended.verdict);
        return Err(Fault::new(Reason::Internal, message));
    };
    let why = std::io::Error::from_raw_os_error(errno);
    let reason = match errno {
        ENOENT => Reason::NotFound,
        EEXIST => Reason::Conflict,
        _ => Reason::BadRequest,
    };
    Err(Fault::new(reason, format!("{path}: {why}")))
}

fn absolute(path: &str) -> Result<String, Fault> {
    if path.starts_with('/') && !path.contains('\0') {
        return Ok(path.to_owned());
    }
    Err(Fault::new(
        Reason::BadRequest,
        "path: name it from /, as the sandbox sees it",
    ))
}

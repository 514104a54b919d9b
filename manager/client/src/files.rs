//! Files of a sandbox, in pieces: no file is held in memory.

use std::pin::Pin;
use std::task::{Context, Poll};

use lakekeep_api::CHUNK;
use lakekeep_api::v1::write_file_request::Request as Out;
use lakekeep_api::v1::{
    FileChunk, ListFilesRequest, ListFilesResponse, ReadFileRequest, WriteFileHeader,
    WriteFileRequest, WriteFileResponse,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tonic::{Response, Status, Streaming};

use crate::client::{Client, answered};
use crate::error::{Cause, ClientError};

/// Pieces that wait for the connection.
const SENDING: usize = 2;

/// Permission bits of a file that is written, where none are said.
const MODE: u32 = 0o644;

/// A file to be written.
#[derive(Debug, Clone)]
pub struct WriteFile {
    header: WriteFileHeader,
}

impl WriteFile {
    /// The file at `path`, from `/` as the sandbox sees it; it replaces one of that name.
    pub fn new(sandbox: impl Into<String>, path: impl Into<String>) -> Self {
        Self {
            header: WriteFileHeader {
                sandbox: sandbox.into(),
                path: path.into(),
                mode: MODE,
                create_new: false,
            },
        }
    }

    /// Its permission bits.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.header.mode = mode & 0o7777;
        self
    }

    /// Refuse when there is a file of this name.
    #[must_use]
    pub fn create_new(mut self) -> Self {
        self.header.create_new = true;
        self
    }
}

/// A file that is read.
#[derive(Debug)]
pub struct FileReader {
    chunks: Streaming<FileChunk>,
    /// The offset of the next byte.
    at: u64,
}

impl FileReader {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// As the manager says: the file is then not whole.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        let Some(chunk) = self.chunks.message().await? else {
            return Ok(None);
        };
        if chunk.offset != self.at {
            let message = format!("byte {} of the file came as byte {}", chunk.offset, self.at);
            return Err(ClientError::new(Cause::Protocol, message));
        }
        self.at += u64::try_from(chunk.data.len()).unwrap_or(0);
        Ok(Some(chunk.data))
    }
}

/// A file that is written. It takes its name when it is finished; dropped before,
/// nothing is left of it.
#[derive(Debug)]
pub struct FileWriter {
    pieces: mpsc::Sender<Option<WriteFileRequest>>,
    call: JoinHandle<Result<Response<WriteFileResponse>, Status>>,
}

impl FileWriter {
    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// As the manager says.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        for piece in bytes.chunks(CHUNK) {
            let request = WriteFileRequest {
                request: Some(Out::Data(piece.to_vec())),
            };
            if self.pieces.send(Some(request)).await.is_err() {
                return Err(self.refused().await);
            }
        }
        Ok(())
    }

    /// Gives the file its name; returns its size, bytes.
    ///
    /// # Errors
    /// As the manager says: there is no such file then, or still the old one.
    pub async fn finish(mut self) -> Result<u64, ClientError> {
        if self.pieces.send(None).await.is_err() {
            return Err(self.refused().await);
        }
        Ok(self.answer().await?.size)
    }

    async fn answer(&mut self) -> Result<WriteFileResponse, ClientError> {
        match (&mut self.call).await {
            Ok(answer) => answered(answer),
            Err(error) => Err(ClientError::new(Cause::Lost, error.to_string())),
        }
    }

    /// Why the manager takes no more.
    async fn refused(&mut self) -> ClientError {
        match self.answer().await {
            Err(error) => error,
            Ok(_) => ClientError::new(
                Cause::Protocol,
                "the manager said that the file is there before it was sent",
            ),
        }
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        self.call.abort();
    }
}

/// The pieces of a file. They end only where the caller says so: for the manager the
/// end of the stream is the file's.
struct Pieces {
    from: mpsc::Receiver<Option<WriteFileRequest>>,
    ended: bool,
}

impl Stream for Pieces {
    type Item = WriteFileRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WriteFileRequest>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match self.from.poll_recv(cx) {
            Poll::Ready(Some(Some(piece))) => Poll::Ready(Some(piece)),
            Poll::Ready(Some(None)) => {
                self.ended = true;
                Poll::Ready(None)
            }
            // Dropped: the call is being cancelled.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

impl Client {
    /// Reads a file of a sandbox as its user, from `offset`, at most `length` bytes (0:
    /// to the end).
    ///
    /// # Errors
    /// As the manager says.
    pub async fn read_file(
        &self,
        sandbox: &str,
        path: &str,
        offset: u64,
        length: u64,
    ) -> Result<FileReader, ClientError> {
        let request = self.request(ReadFileRequest {
            sandbox: sandbox.to_owned(),
            path: path.to_owned(),
            offset,
            length,
        })?;
        let chunks = answered(self.sandboxes().read_file(request).await)?;
        Ok(FileReader { chunks, at: offset })
    }

    /// Writes a file of a sandbox as its user.
    ///
    /// # Errors
    /// `Credentials`; what the manager says comes from the writer.
    pub async fn write_file(&self, file: WriteFile) -> Result<FileWriter, ClientError> {
        let (pieces, from) = mpsc::channel(SENDING);
        let header = WriteFileRequest {
            request: Some(Out::Header(file.header)),
        };
        let request = self.request(Pieces { from, ended: false })?;
        let mut api = self.sandboxes();
        let call = tokio::spawn(async move { api.write_file(request).await });
        let mut writer = FileWriter { pieces, call };
        if writer.pieces.send(Some(header)).await.is_err() {
            return Err(writer.refused().await);
        }
        Ok(writer)
    }

    /// What is in a folder of a sandbox; at most `limit` names, or as many as the manager
    /// gives (0).
    ///
    /// # Errors
    /// As the manager says.
    pub async fn list_files(
        &self,
        sandbox: &str,
        path: &str,
        limit: u32,
    ) -> Result<ListFilesResponse, ClientError> {
        let request = self.request(ListFilesRequest {
            sandbox: sandbox.to_owned(),
            path: path.to_owned(),
            limit,
        })?;
        answered(self.sandboxes().list_files(request).await)
    }
}

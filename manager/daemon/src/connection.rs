//! A connection on which the client has begun to speak: over TCP, TLS is agreed upon, and
//! the first words of HTTP/2 have come.
//!
//! The server's own watch over idle connections begins after these words; a client that
//! never says them would stay for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

use crate::places::Place;

/// What a client of HTTP/2 says first (RFC 9113, 3.4).
const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// It, with its place among all of them.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    /// What was heard here and the server has not read.
    heard: &'static [u8],
    _place: Place,
}

impl<S: AsyncRead + Unpin> Connection<S> {
    /// Waits for the client's first words.
    ///
    /// # Errors
    /// Of the stream; `InvalidData` for what is not HTTP/2; `NotConnected` when it leaves
    /// without a word.
    pub async fn begin(mut stream: S, place: Place) -> io::Result<Self> {
        let mut words = [0; PREFACE.len()];
        let first = stream.read(&mut words).await?;
        if first == 0 {
            let why = "it left without a word";
            return Err(io::Error::new(io::ErrorKind::NotConnected, why));
        }
        if let Some(rest) = words.get_mut(first..) {
            stream.read_exact(rest).await?;
        }
        if words != PREFACE {
            let why = "its first words are not those of HTTP/2";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(Self {
            stream,
            heard: &PREFACE,
            _place: place,
        })
    }
}

impl<S: Unpin> Connection<S> {
    fn stream(self: Pin<&mut Self>) -> Pin<&mut S> {
        Pin::new(&mut self.get_mut().stream)
    }
}

impl<S: Connected> Connected for Connection<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.heard.is_empty() {
            return self.stream().poll_read(context, buffer);
        }
        let (now, later) = self
            .heard
            .split_at(self.heard.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.heard = later;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

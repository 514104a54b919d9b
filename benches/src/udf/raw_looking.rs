//! `raw-looking`: the least that a worker in another process can cost in Python, where both
//! ends look before they sleep. The packets of `lakekeep-rust`, and nobody checks or isolates.

use std::collections::HashMap;
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::root_as_message;
use arrow_schema::SchemaRef;
use lakekeep_udf_client::encode::Encoder;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType,
};

use super::own::{Callee, Host, answered};
use crate::error::BenchError;

/// Bytes before a packet's content: what `lakekeep-rust` has there, too.
const HEADER: usize = 24;
/// As long as the client looks by default.
const LOOK: Duration = Duration::from_micros(250);
/// Bytes of the continuation and the metadata's length.
const PREFIX: usize = 8;

/// A worker process, and its one call.
#[derive(Debug)]
pub struct RawLooking {
    /// None when it is to end.
    socket: Option<OwnedFd>,
    child: Child,
    encoder: Encoder,
    arguments: RecordBatch,
    answers: SchemaRef,
    packet: Vec<u8>,
}

impl RawLooking {
    /// Starts its worker.
    ///
    /// # Errors
    /// [`BenchError`]: no socket, or no process.
    pub fn new(host: &Host, arguments: RecordBatch) -> Result<Self, BenchError> {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let (ours, theirs) = rustix::net::socketpair(family, kind, SocketFlags::CLOEXEC, None)
            .map_err(|errno| BenchError::io("make a socket")(errno.into()))?;
        let child = Command::new(&host.python)
            .arg(host.folder.join("raw_looking_worker.py"))
            .stdin(theirs)
            .spawn()
            .map_err(BenchError::file("execute", &host.python))?;
        Ok(Self {
            socket: Some(ours),
            child,
            encoder: Encoder::default(),
            arguments,
            answers: answered(),
            packet: vec![0; 1 << 18],
        })
    }

    fn socket(&self) -> Result<&OwnedFd, BenchError> {
        self.socket.as_ref().ok_or(BenchError::LostWorker)
    }

    fn send(&mut self) -> Result<(), BenchError> {
        let batch = self.encoder.batch(&self.arguments)?;
        let header = [0; HEADER];
        let mut pieces = vec![IoSlice::new(&header)];
        pieces.extend(batch.iter().map(|piece| IoSlice::new(piece)));
        let mut none = SendAncillaryBuffer::default();
        rustix::net::sendmsg(self.socket()?, &pieces, &mut none, SendFlags::NOSIGNAL)
            .map_err(|errno| BenchError::io("send a batch")(errno.into()))?;
        Ok(())
    }

    /// The size of the next packet.
    fn receive(&mut self) -> Result<usize, BenchError> {
        let socket = self.socket.as_ref().ok_or(BenchError::LostWorker)?;
        let until = Instant::now() + LOOK;
        let mut flags = RecvFlags::DONTWAIT;
        loop {
            match rustix::net::recv(socket, &mut self.packet, flags) {
                Ok((0, _)) => return Err(BenchError::LostWorker),
                Ok((size, _)) => return Ok(size),
                Err(Errno::AGAIN) if Instant::now() > until => flags = RecvFlags::empty(),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return Err(BenchError::io("receive a batch")(errno.into())),
            }
        }
    }

    fn read(&self, size: usize) -> Result<RecordBatch, BenchError> {
        let none = || BenchError::Answer("the peer answered no batch");
        let content = self.packet.get(HEADER..size).ok_or_else(none)?;
        let length = content.get(PREFIX / 2..PREFIX).ok_or_else(none)?;
        let length = u32::from_le_bytes(length.try_into().map_err(|_| none())?) as usize;
        let metadata = content.get(PREFIX..PREFIX + length).ok_or_else(none)?;
        let message = root_as_message(metadata).map_err(|_| none())?;
        let batch = message.header_as_record_batch().ok_or_else(none)?;
        let body = Buffer::from(content.get(PREFIX + length..).ok_or_else(none)?);
        let (schema, version) = (self.answers.clone(), message.version());
        let none = HashMap::new();
        let found =
            arrow_ipc::reader::read_record_batch(&body, batch, schema, &none, None, &version)?;
        Ok(found)
    }
}

impl Callee for RawLooking {
    fn call(&mut self) -> Result<RecordBatch, BenchError> {
        self.send()?;
        let size = self.receive()?;
        self.read(size)
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for RawLooking {
    fn drop(&mut self) {
        // It ends when there is nobody to answer.
        self.socket.take();
        if let Err(error) = self.child.wait() {
            eprintln!("lakekeep-bench: wait for a worker: {error}");
        }
    }
}

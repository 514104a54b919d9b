//! A stand-in for the broker: who makes workers here makes what a test wants them to be.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "a test fails by panicking; each uses a part"
)]

use std::collections::HashMap;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use lakekeep_udf_client::{Broker, Code, Environment, Function, Kind, Options, Session, UdfError};
use lakekeep_udf_packets::{Answer, MAX_PACKET, Request, Verdict};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

pub const PIECE: usize = 128 * 1024;
pub const OPENED: u8 = 16;
pub const RESULT: u8 = 17;
pub const DONE: u8 = 18;
pub const ERROR: u8 = 19;
pub const CRASHED: u8 = 20;
pub const PART: u8 = 21;

/// A worker's ends.
pub struct Worker {
    pub socket: OwnedFd,
    pub stdout: File,
    pub stderr: File,
}

/// A packet as it was received.
#[derive(Debug, Clone, Default)]
pub struct Packet {
    pub kind: u8,
    pub call: u32,
    /// Bytes of content, wherever it is.
    pub length: u64,
    pub rows: u64,
    pub content: Vec<u8>,
}

impl Worker {
    /// A header and a content, whatever they say.
    pub fn raw(&self, bytes: &[u8]) {
        // The engine may be gone, which its own error tells of.
        rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL).ok();
    }

    pub fn send(&self, kind: u8, call: u32, rows: u64, content: &[u8]) {
        self.raw(
            &[
                &header(kind, 0, call, content.len() as u64, rows)[..],
                content,
            ]
            .concat(),
        );
    }

    pub fn send_with(&self, bytes: &[u8], given: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        assert!(rights.push(SendAncillaryMessage::ScmRights(given)));
        let slices = [IoSlice::new(bytes)];
        rustix::net::sendmsg(&self.socket, &slices, &mut rights, SendFlags::NOSIGNAL).unwrap();
    }

    /// The next packet; an empty one at the end.
    pub fn receive(&self) -> Packet {
        let mut bytes = vec![0; 24 + 2 * PIECE];
        let size = match rustix::net::recv(&self.socket, &mut bytes, RecvFlags::empty()) {
            Ok((size, _)) => size,
            Err(_) => 0,
        };
        if size < 24 {
            return Packet::default();
        }
        Packet {
            kind: bytes[0],
            call: u32::from_le_bytes(bytes[4..8].try_into().unwrap()),
            length: u64::from_le_bytes(bytes[8..16].try_into().unwrap()),
            rows: u64::from_le_bytes(bytes[16..24].try_into().unwrap()),
            content: bytes[24..size].to_vec(),
        }
    }

    /// Hears the opening, and answers that all is well.
    pub fn open(&self) -> serde_json::Value {
        let opening = self.receive();
        for _ in 0..3 {
            self.receive();
        }
        self.send(OPENED, 0, 0, br#"{"version": 1}"#);
        serde_json::from_slice(&opening.content).unwrap()
    }

    /// Waits until the engine is gone.
    pub fn linger(&self) {
        while self.receive().kind != 0 {}
    }
}

pub fn header(kind: u8, place: u8, call: u32, length: u64, rows: u64) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[0] = kind;
    bytes[1] = place;
    bytes[4..8].copy_from_slice(&call.to_le_bytes());
    bytes[8..16].copy_from_slice(&length.to_le_bytes());
    bytes[16..24].copy_from_slice(&rows.to_le_bytes());
    bytes
}

pub fn verdict(kind: &str) -> Verdict {
    Verdict {
        kind: kind.to_owned(),
        exit_code: 0,
        signal: None,
        limit: None,
        peak: None,
        explanation: String::new(),
        remedy: String::new(),
    }
}

/// Who listens where a broker would, and a client of it.
pub struct Stand {
    pub broker: Broker,
    pub folder: tempfile::TempDir,
}

/// Every session's worker does what `act` does, and ends with its verdict.
pub fn stand(act: impl Fn(Worker) -> Verdict + Send + Sync + 'static) -> Stand {
    stand_of(Arc::new(act))
}

type Act = Arc<dyn Fn(Worker) -> Verdict + Send + Sync>;

fn stand_of(act: Act) -> Stand {
    stand_that(move |control| serve(&Arc::new(control), &act))
}

/// A broker that is nothing but its end of the control socket.
pub fn stand_that(answers: impl FnOnce(OwnedFd) + Send + 'static) -> Stand {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broker");
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let listener = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
    rustix::net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&listener, 1).unwrap();
    std::thread::spawn(move || {
        answers(rustix::net::accept_with(&listener, SocketFlags::CLOEXEC).unwrap());
    });
    Stand {
        broker: Broker::connect(&path).unwrap(),
        folder,
    }
}

/// A request, and the descriptors with it; none at the end.
pub fn hear(control: &OwnedFd) -> Option<(Request, Vec<OwnedFd>)> {
    let mut bytes = vec![0; MAX_PACKET];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let heard = rustix::net::recvmsg(
        control,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut rights,
        RecvFlags::CMSG_CLOEXEC,
    )
    .ok()?;
    let given = rights.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
        _ => Vec::new(),
    });
    let given = given.collect();
    Some((Request::parse(bytes.get(..heard.bytes)?).ok()?, given))
}

fn serve(control: &Arc<OwnedFd>, act: &Act) {
    let killed: Arc<Mutex<HashMap<u32, OwnedFd>>> = Arc::default();
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    while let Some((request, given)) = hear(control) {
        match request {
            Request::Open(open) => {
                let [socket, stdout, stderr] = <[OwnedFd; 3]>::try_from(given).unwrap();
                let number = open.number;
                killed
                    .lock()
                    .unwrap()
                    .insert(number, socket.try_clone().unwrap());
                let sandbox = format!("stand-{number}");
                let warning = None;
                say(
                    control,
                    &Answer::Opened {
                        number,
                        sandbox,
                        warning,
                    },
                );
                let worker = Worker {
                    socket,
                    stdout: stdout.into(),
                    stderr: stderr.into(),
                };
                let (act, control, killed) = (act.clone(), control.clone(), killed.clone());
                threads.push(std::thread::spawn(move || {
                    let verdict = act(worker);
                    killed.lock().unwrap().remove(&number);
                    let (memory_peak, cpu_us) = (1 << 20, 7);
                    say(
                        &control,
                        &Answer::Ended {
                            number,
                            verdict,
                            memory_peak,
                            cpu_us,
                        },
                    );
                }));
            }
            Request::Kill { number } => {
                if let Some(socket) = killed.lock().unwrap().get(&number) {
                    rustix::net::shutdown(socket, rustix::net::Shutdown::Both).unwrap();
                }
            }
            // It keeps no log.
            Request::Used { .. } => {}
        }
    }
    for socket in killed.lock().unwrap().values() {
        rustix::net::shutdown(socket, rustix::net::Shutdown::Both).unwrap();
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

pub fn say(control: &OwnedFd, answer: &Answer) {
    // The engine may be gone.
    rustix::net::send(control.as_fd(), &answer.to_packet(), SendFlags::NOSIGNAL).ok();
}

// What is called.

pub fn column() -> SchemaRef {
    Schema::new(vec![Field::new("x", DataType::Int64, true)]).into()
}

pub fn numbers(values: Vec<i64>) -> RecordBatch {
    let array: ArrayRef = Arc::new(Int64Array::from(values));
    RecordBatch::try_new(column(), vec![array]).unwrap()
}

pub fn function(kind: Kind) -> Function {
    Function {
        name: "f".to_owned(),
        kind,
        code: Code::Pickled(b"opaque".to_vec()),
        arguments: column(),
        returns: column(),
    }
}

impl Stand {
    pub fn session(&self, kind: Kind) -> Result<Session, UdfError> {
        self.session_with(kind, quick())
    }

    pub fn session_with(&self, kind: Kind, options: Options) -> Result<Session, UdfError> {
        let environment = Environment::of("/usr/bin/python3");
        self.broker.open(&environment, &function(kind), options)
    }
}

pub fn quick() -> Options {
    Options {
        call_timeout: Some(Duration::from_secs(20)),
        ..Options::default()
    }
}

/// A batch as one encapsulated message.
pub fn message(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &batch.schema()).unwrap();
    writer.write(batch).unwrap();
    drop(writer);
    // The first message is the schema, which has no body.
    let size = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
    let rest = &bytes[8 + size..];
    rest.strip_suffix(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0])
        .unwrap_or(rest)
        .to_vec()
}

//! An engine of user functions, as far as its control socket goes: it speaks raw packets,
//! to a broker of its own or to a manager.

use std::fs::{self, File};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType,
};
use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::{Value, json};

use crate::{Privilege, fail};

/// Two ends of a packet socket.
///
/// # Panics
/// When there are none to be had.
#[must_use]
#[track_caller]
pub fn pair() -> (OwnedFd, OwnedFd) {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    done(rustix::net::socketpair(
        family,
        kind,
        SocketFlags::CLOEXEC,
        None,
    ))
}

/// The engine's end of a control socket.
#[derive(Debug)]
pub struct Engine(OwnedFd);

/// The engine's ends of a session's streams.
#[derive(Debug)]
pub struct Streams {
    /// To the worker.
    pub socket: OwnedFd,
    /// What it says.
    pub stderr: File,
}

impl Engine {
    /// One that speaks over this socket.
    #[must_use]
    pub fn new(control: OwnedFd) -> Self {
        Self(control)
    }

    /// Sends a packet with descriptors.
    ///
    /// # Panics
    /// When nobody takes it.
    #[track_caller]
    pub fn say(&self, packet: &[u8], given: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        if !given.is_empty() && !rights.push(SendAncillaryMessage::ScmRights(given)) {
            fail(format_args!("{} descriptors in a packet", given.len()));
        }
        let packet = [IoSlice::new(packet)];
        let sent = rustix::net::sendmsg(&self.0, &packet, &mut rights, SendFlags::NOSIGNAL);
        done(sent);
    }

    /// Sends a packet where there is room for it now.
    ///
    /// # Errors
    /// `EAGAIN`: there is none.
    pub fn say_now(&self, packet: &[u8]) -> Result<(), Errno> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        rustix::net::send(&self.0, packet, flags).map(drop)
    }

    /// The next answer; `None`: there will be none.
    ///
    /// # Panics
    /// When it is no JSON.
    #[track_caller]
    pub fn try_hear(&self) -> Option<Value> {
        let mut packet = vec![0; 64 * 1024];
        let heard = rustix::net::recv(&self.0, &mut packet, RecvFlags::empty());
        let length = match heard {
            Ok((0, _)) | Err(Errno::CONNRESET) => return None,
            heard => done(heard).0,
        };
        packet.truncate(length);
        let read = serde_json::from_slice(&packet);
        Some(read.unwrap_or_else(|error| fail(format_args!("an answer: {error}"))))
    }

    /// The next answer.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn hear(&self) -> Value {
        let heard = self.try_hear();
        heard.unwrap_or_else(|| fail(format_args!("nobody answers any more")))
    }

    /// Asks for a session.
    ///
    /// # Panics
    /// When nobody takes the request.
    #[track_caller]
    pub fn ask(&self, open: &Value) -> Streams {
        let ((socket, theirs), (stderr, written)) = (pair(), done(pipe_with(PipeFlags::CLOEXEC)));
        let null = File::options().write(true).open("/dev/null");
        let null = null.unwrap_or_else(|error| fail(format_args!("/dev/null: {error}")));
        let packet = json!({ "open": open }).to_string();
        let given = [theirs.as_fd(), null.as_fd(), written.as_fd()];
        self.say(packet.as_bytes(), &given);
        Streams {
            socket,
            stderr: stderr.into(),
        }
    }

    /// Asks for a session, and is told its sandbox.
    ///
    /// # Panics
    /// When it is told something else.
    #[track_caller]
    pub fn open(&self, open: &Value) -> (String, Streams) {
        let streams = self.ask(open);
        let answer = self.hear();
        if answer["opened"]["number"] != open["number"] {
            fail(format_args!("not opened: {answer}"));
        }
        let sandbox = answer["opened"]["sandbox"].as_str().unwrap_or_default();
        (sandbox.to_owned(), streams)
    }

    /// Asks for a session, and is told why there is none: the whole answer.
    ///
    /// # Panics
    /// When there is one.
    #[must_use]
    #[track_caller]
    pub fn refused(&self, open: &Value) -> Value {
        drop(self.ask(open));
        let mut answer = self.hear();
        if answer["failed"]["number"] != open["number"] {
            fail(format_args!("not refused: {answer}"));
        }
        answer["failed"].take()
    }

    /// Has a session ended.
    ///
    /// # Panics
    /// When nobody takes the request.
    #[track_caller]
    pub fn kill(&self, number: u32) {
        let packet = json!({ "kill": { "number": number } }).to_string();
        self.say(packet.as_bytes(), &[]);
    }

    /// Is told the end of a session: the whole answer.
    ///
    /// # Panics
    /// When it is told something else.
    #[must_use]
    #[track_caller]
    pub fn ended(&self, number: u32) -> Value {
        let mut answer = self.hear();
        if answer["ended"]["number"] != number {
            fail(format_args!("not the end of {number}: {answer}"));
        }
        answer["ended"].take()
    }
}

impl Streams {
    /// Returns when a worker of [`waiting_python`] is there.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn wait(&self) {
        let mut word = [0; 16];
        let (length, _) = done(rustix::net::recv(
            &self.socket,
            &mut word,
            RecvFlags::empty(),
        ));
        if word.get(..length) != Some(b"here") {
            fail(format_args!("a worker's first word: {word:?}"));
        }
    }

    /// Has a worker of [`waiting_python`] end.
    ///
    /// # Panics
    /// When it is gone.
    #[track_caller]
    pub fn let_go(&self) {
        done(rustix::net::send(&self.socket, b"x", SendFlags::NOSIGNAL));
    }

    /// Whether the worker's end is closed, after whatever it has said.
    #[must_use]
    pub fn is_over(&self) -> bool {
        loop {
            match rustix::net::recv(&self.socket, &mut [0; 4096], RecvFlags::empty()) {
                Ok((0, _)) | Err(Errno::CONNRESET) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }
}

/// A Python in `folder` whose workers wait until they are let go: what they import first does.
///
/// # Panics
/// When it cannot be made.
#[must_use]
#[track_caller]
pub fn waiting_python(folder: &Path, privilege: Privilege) -> String {
    let mut venv = Command::new("/usr/bin/python3");
    venv.args(["-m", "venv", "--without-pip"]).arg(folder);
    privilege.apply(&mut venv);
    let made = venv.stdout(Stdio::null()).status();
    if !made.is_ok_and(|status| status.success()) {
        fail(format_args!("no venv in {}", folder.display()));
    }
    let libraries = fs::read_dir(folder.join("lib")).into_iter().flatten();
    let mut packages = libraries
        .flatten()
        .map(|it| it.path().join("site-packages"));
    let packages = packages.find(|path| path.is_dir());
    let packages = packages.unwrap_or_else(|| fail(format_args!("a venv without packages")));
    let waits = "import os\nos.write(0, b'here')\nos.read(0, 1)\n";
    let written = fs::write(packages.join("pyarrow.py"), waits);
    written.unwrap_or_else(|error| fail(format_args!("pyarrow.py: {error}")));
    folder.join("bin/python3").display().to_string()
}

#[track_caller]
fn done<T>(result: Result<T, Errno>) -> T {
    result.unwrap_or_else(|errno| fail(format_args!("an engine: {errno}")))
}

//! Connects to a Unix socket as whoever it runs as, and hands the connection to the
//! test that started it, over its standard input: the kernel tells the other end who
//! connected, not who writes. A second word, `packets`: to a packet socket.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, sendmsg,
};

fn main() -> ExitCode {
    match hand_over() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lakekeep-tests-connect: {error}");
            ExitCode::FAILURE
        }
    }
}

fn packets(path: &Path) -> io::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

fn hand_over() -> io::Result<()> {
    let socket = std::env::args_os()
        .nth(1)
        .ok_or(io::ErrorKind::InvalidInput)?;
    let stream = match std::env::args_os().nth(2) {
        Some(word) if word == "packets" => packets(Path::new(&socket))?,
        _ => OwnedFd::from(UnixStream::connect(socket)?),
    };
    let given = [stream.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&given)) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let word = [IoSlice::new(b"c")];
    sendmsg(io::stdin(), &word, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

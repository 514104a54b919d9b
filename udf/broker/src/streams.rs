//! What an engine may hand to its worker.
//!
//! A descriptor that is inside a sandbox is a way out of it, whatever the sandbox forbids: a
//! folder's leads to the host's files, a socket's to the network. So a session's are of the
//! kinds that it needs, and of no other.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, sockopt};

/// The device number of /dev/null.
const NULL: (u32, u32) = (1, 3);

/// Why descriptors are no session's streams.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamsError {
    /// Too few, or too many.
    #[error("{0} descriptors came with it; send the worker's end, its stdout and its stderr")]
    Count(usize),
    /// The worker's end is something else.
    #[error(
        "the worker's end is no packet socket without an address; send one end of socketpair(AF_UNIX, SOCK_SEQPACKET)"
    )]
    Socket,
    /// Its output is something else.
    #[error("the worker's {0} is neither a pipe's end to write to nor /dev/null; send one of them")]
    Output(&'static str),
    /// The kernel tells nothing of one.
    #[error("looking at a descriptor")]
    Look(#[source] Errno),
}

/// The worker's standard input, output and error, if they are what they may be: one end of a
/// pair of packet sockets, and two pipes' ends to write to, or /dev/null.
///
/// # Errors
/// [`StreamsError`]: all of them are closed.
pub fn check(given: Vec<OwnedFd>) -> Result<[OwnedFd; 3], StreamsError> {
    let count = given.len();
    let streams: [OwnedFd; 3] = given.try_into().map_err(|_| StreamsError::Count(count))?;
    let [socket, output, errors] = &streams;
    if !is_pair(socket).map_err(StreamsError::Look)? {
        return Err(StreamsError::Socket);
    }
    for (name, fd) in [("stdout", output), ("stderr", errors)] {
        if !takes_output(fd).map_err(StreamsError::Look)? {
            return Err(StreamsError::Output(name));
        }
    }
    Ok(streams)
}

fn is_pair(fd: &OwnedFd) -> Result<bool, Errno> {
    if kind(&rustix::fs::fstat(fd)?) != FileType::Socket {
        return Ok(false);
    }
    let packets = sockopt::socket_domain(fd)? == AddressFamily::UNIX
        && sockopt::socket_type(fd)? == SocketType::SEQPACKET;
    // One that has an address, or whose other end has, was connected: it leads somewhere.
    Ok(packets && is_nameless(fd, false)? && is_nameless(fd, true)?)
}

fn is_nameless(fd: &OwnedFd, peer: bool) -> Result<bool, Errno> {
    let address = match peer {
        true => match rustix::net::getpeername(fd) {
            Ok(Some(address)) => address,
            // Nobody has the other end any more, or it never had one.
            Ok(None) | Err(Errno::NOTCONN) => return Ok(false),
            Err(errno) => return Err(errno),
        },
        false => rustix::net::getsockname(fd)?,
    };
    // Nothing but its family (unix(7), "unnamed"). What rustix makes of it cannot be told
    // from the abstract name without a letter.
    Ok(usize::try_from(address.addr_len()) == Ok(size_of::<u16>()))
}

fn takes_output(fd: &OwnedFd) -> Result<bool, Errno> {
    let stat = rustix::fs::fstat(fd)?;
    let flags = rustix::fs::fcntl_getfl(fd)?;
    let device = (
        rustix::fs::major(stat.st_rdev),
        rustix::fs::minor(stat.st_rdev),
    );
    Ok(match kind(&stat) {
        FileType::Fifo => flags & OFlags::ACCMODE == OFlags::WRONLY,
        FileType::CharacterDevice => device == NULL && !flags.contains(OFlags::PATH),
        _ => false,
    })
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use lakekeep_sys::socket;
    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    fn good() -> Vec<OwnedFd> {
        let (_, worker) = socket::pair().unwrap();
        let (_, output) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let null = File::options().write(true).open("/dev/null").unwrap();
        vec![worker, output, null.into()]
    }

    fn with(index: usize, fd: impl Into<OwnedFd>) -> Result<[OwnedFd; 3], StreamsError> {
        let mut given = good();
        given[index] = fd.into();
        check(given)
    }

    #[test]
    fn an_engine_s_own_are_taken() {
        let (engine, worker) = socket::pair().unwrap();
        with(0, worker).unwrap();
        drop(engine);
    }

    #[test]
    fn how_many_there_are_matters() {
        assert!(matches!(check(Vec::new()), Err(StreamsError::Count(0))));
        let mut four = good();
        four.extend(good().pop());
        assert!(matches!(check(four), Err(StreamsError::Count(4))));
    }

    #[test]
    fn no_way_out_is_taken_for_a_session_s_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("service");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let ways: [OwnedFd; 5] = [
            File::open("/").unwrap().into(),
            File::open("/etc/passwd").unwrap().into(),
            UnixStream::pair().unwrap().0.into(),
            UnixStream::connect(&path).unwrap().into(),
            UnixDatagram::pair().unwrap().0.into(),
        ];
        for way in ways {
            let shown = format!("{way:?}");
            assert!(matches!(with(0, way), Err(StreamsError::Socket)), "{shown}");
        }
        drop(listener);
    }

    #[test]
    fn nor_a_packet_socket_that_was_connected_to_a_service() {
        use rustix::net::{SocketAddrUnix, SocketFlags, bind, connect, listen, socket_with};
        let packets = || {
            let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
            socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap()
        };
        let folder = tempfile::tempdir().unwrap();
        let path = SocketAddrUnix::new(folder.path().join("service")).unwrap();
        let name = format!("lakekeep-test-{}", std::process::id());
        let abstract_name = SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap();
        for address in [path, abstract_name] {
            let (service, client) = (packets(), packets());
            bind(&service, &address).unwrap();
            listen(&service, 1).unwrap();
            connect(&client, &address).unwrap();
            assert!(matches!(with(0, client), Err(StreamsError::Socket)));
        }
        assert!(matches!(with(0, packets()), Err(StreamsError::Socket)));
    }

    #[test]
    fn output_goes_where_it_can_only_be_written() {
        let (read, _write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        assert!(matches!(with(1, read), Err(StreamsError::Output("stdout"))));
        let folder = File::open("/").unwrap();
        assert!(matches!(
            with(2, folder),
            Err(StreamsError::Output("stderr"))
        ));
        let zero = File::open("/dev/zero").unwrap();
        assert!(matches!(with(2, zero), Err(StreamsError::Output("stderr"))));
    }
}

//! What a task executes, apart from how it is sealed: a task that was ready is given it
//! last.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use lakekeep_protocol::task::{TaskSpec, TaskStep};
use lakekeep_protocol::{Channel, ProtocolError};
use lakekeep_sys::Errno;
use serde::{Deserialize, Serialize};

use crate::prepare::{bytes, c_string};
use crate::report::{Failure, Setup};

/// A command, its variables and its place.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// Paths to try, in the order of `PATH`.
    pub candidates: Vec<CString>,
    pub arguments: Vec<CString>,
    pub environment: Vec<CString>,
    pub working_directory: CString,
}

/// The init's side of a waiting process's setup socket.
pub type Orders = Channel<Order, ()>;

impl Order {
    /// The part of `spec` that is not its seal.
    ///
    /// # Errors
    /// `EINVAL` for a NUL or no command.
    pub fn new(spec: &TaskSpec) -> Result<Self, Errno> {
        let name = spec.arguments.first().ok_or(Errno::INVAL)?;
        let path = spec
            .environment
            .iter()
            .find_map(|entry| entry.strip_prefix(b"PATH="));
        Ok(Self {
            candidates: candidates(name, path.unwrap_or(b"/usr/bin:/bin"))?,
            arguments: c_strings(&spec.arguments)?,
            environment: c_strings(&spec.environment)?,
            working_directory: c_string(&spec.working_directory)?,
        })
    }

    pub fn arguments(&self) -> Vec<&CStr> {
        self.arguments.iter().map(CString::as_c_str).collect()
    }

    pub fn environment(&self) -> Vec<&CStr> {
        self.environment.iter().map(CString::as_c_str).collect()
    }
}

/// A process's own side of its setup socket.
#[derive(Debug)]
pub struct Expected(Channel<(), Order>);

impl Expected {
    pub fn new(setup: OwnedFd) -> Self {
        Self(Channel::new(setup))
    }

    /// Says that this process is sealed, and waits for its order and its three streams.
    pub fn wait(&self) -> Result<(Order, [OwnedFd; 3]), Failure> {
        let failed = Failure::at(TaskStep::Order);
        Setup::Waiting.send(self).map_err(&failed)?;
        let (order, streams) = self
            .0
            .receive()
            .map_err(|error| failed(errno(&error)))?
            // The init wants it no more.
            .ok_or_else(|| failed(Errno::PIPE))?;
        let streams = streams.try_into().map_err(|_| failed(Errno::INVAL))?;
        Ok((order, streams))
    }
}

impl AsFd for Expected {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Gives a waiting process its order.
pub fn give(orders: &Orders, order: &Order, streams: &[OwnedFd; 3]) -> Result<(), Errno> {
    let streams: Vec<BorrowedFd<'_>> = streams.iter().map(AsFd::as_fd).collect();
    orders.send(order, &streams).map_err(|error| errno(&error))
}

fn errno(error: &ProtocolError) -> Errno {
    match error {
        ProtocolError::Socket { errno, .. } => *errno,
        ProtocolError::TooLarge(_) => Errno::TOOBIG,
        _ => Errno::BADMSG,
    }
}

/// The paths that execvp(3) would try.
fn candidates(name: &[u8], path: &[u8]) -> Result<Vec<CString>, Errno> {
    if name.is_empty() {
        return Err(Errno::NOENT);
    }
    if name.contains(&b'/') {
        return Ok(vec![bytes(name)?]);
    }
    let in_directory = |directory: &[u8]| {
        // An empty element means the working directory (execvp(3)): a classic
        // trap, so it is passed over.
        (!directory.is_empty()).then(|| bytes(&[directory, b"/", name].concat()))
    };
    path.split(|byte| *byte == b':')
        .filter_map(in_directory)
        .collect()
}

fn c_strings(texts: &[Vec<u8>]) -> Result<Vec<CString>, Errno> {
    texts.iter().map(|text| bytes(text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_looked_for_as_execvp_does_but_never_in_the_working_directory() {
        let paths = candidates(b"sh", b"/usr/bin::/bin:").unwrap();
        assert_eq!(paths, [c"/usr/bin/sh".to_owned(), c"/bin/sh".to_owned()]);
        assert_eq!(candidates(b"./a", b"/bin").unwrap(), [c"./a".to_owned()]);
        assert_eq!(candidates(b"", b"/bin").unwrap_err(), Errno::NOENT);
        assert_eq!(candidates(b"a\0b", b"/bin").unwrap_err(), Errno::INVAL);
    }
}

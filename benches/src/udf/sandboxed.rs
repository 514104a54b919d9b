//! `lakekeep-rust`: the Rust client's calls of a worker in a sandbox.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use arrow_array::RecordBatch;
use lakekeep_udf_client::{Broker, Code, Environment, Function, Kind, Options, Session};

use super::own::{Callee, Host, answered, given};
use crate::error::BenchError;

/// What all peers do; and, once, which sockets it has: by them its process is found.
const SOURCE: &str = "\
import os, stat
import pyarrow.compute as pc
for number in range(3, 128):
    try:
        status = os.fstat(number)
    except OSError:
        continue
    if stat.S_ISSOCK(status.st_mode):
        print(f'socket:[{status.st_ino}]')
def add(low, high):
    return pc.add(low, high)
";

/// A session, and its one call.
#[derive(Debug)]
pub struct Sandboxed {
    session: Session,
    arguments: RecordBatch,
    pid: u32,
}

impl Sandboxed {
    /// Opens a session.
    ///
    /// # Errors
    /// Of the client's; [`BenchError::NoGuest`]: the worker's process cannot be found.
    pub fn new(host: &mut Host, arguments: RecordBatch) -> Result<Self, BenchError> {
        let broker = match &mut host.broker {
            Some(broker) => broker,
            none => none.insert(Broker::start(&host.lakekeep)?),
        };
        let function = Function {
            name: "add".to_owned(),
            kind: Kind::Scalar,
            code: Code::Source {
                text: SOURCE.to_owned(),
                name: "add".to_owned(),
            },
            arguments: given(),
            returns: answered(),
        };
        let environment = Environment::of(&host.python);
        let mut session = broker.open(&environment, &function, Options::default())?;
        let sockets = session.output().lines().map(str::to_owned).collect();
        let pid = holder(&sockets).ok_or_else(|| BenchError::NoGuest {
            program: session.sandbox().to_owned(),
        })?;
        Ok(Self {
            session,
            arguments,
            pid,
        })
    }
}

impl Callee for Sandboxed {
    fn call(&mut self) -> Result<RecordBatch, BenchError> {
        Ok(self.session.call(&self.arguments)?)
    }

    fn pid(&self) -> u32 {
        self.pid
    }
}

/// A process that has one of these open, `socket:[inode]`.
fn holder(sockets: &HashSet<String>) -> Option<u32> {
    let mut processes = fs::read_dir("/proc").ok()?.flatten();
    processes.find_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        holds(&process.path().join("fd"), sockets).then_some(pid)
    })
}

/// It may end meanwhile, or be another user's: then it holds none.
fn holds(folder: &Path, sockets: &HashSet<String>) -> bool {
    let Ok(entries) = fs::read_dir(folder) else {
        return false;
    };
    entries.flatten().any(|entry| {
        fs::read_link(entry.path())
            .is_ok_and(|link| link.to_str().is_some_and(|link| sockets.contains(link)))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_process_that_has_a_socket_is_found() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let status = rustix::fs::fstat(&ours).unwrap();
        let name = format!("socket:[{}]", status.st_ino);
        assert_eq!(holder(&[name].into()), Some(std::process::id()));
        assert_eq!(holder(&["socket:[0]".to_owned()].into()), None);
    }
}

//! What a child tells the init before and after it runs: fixed records of a
//! few bytes, no text, nothing to allocate.

use std::os::fd::AsFd;

use lakekeep_protocol::facts::{EndFacts, UsageFacts};
use lakekeep_protocol::task::{TaskFailure, TaskStep};
use lakekeep_sys::process::{Ended, Reaped};
use lakekeep_sys::{Errno, socket};

const READY: u8 = 1;
const FAILED: u8 = 2;
const WAITING: u8 = 3;
const SETUP_LENGTH: usize = 8;
const END_LENGTH: usize = 32;

/// Where and how a child's setup failed.
#[derive(Debug, Clone, Copy)]
pub struct Failure {
    pub step: TaskStep,
    pub errno: Errno,
    pub index: u16,
}

impl Failure {
    pub fn at(step: TaskStep) -> impl Fn(Errno) -> Self {
        move |errno| Self {
            step,
            errno,
            index: 0,
        }
    }

    pub fn at_index(step: TaskStep, index: usize) -> impl Fn(Errno) -> Self {
        let index = u16::try_from(index).unwrap_or(u16::MAX);
        move |errno| Self { step, errno, index }
    }

    pub fn to_wire(self) -> TaskFailure {
        TaskFailure {
            step: self.step,
            errno: self.errno.raw_os_error(),
            index: self.index,
        }
    }
}

/// What a child says while it is being set up.
#[derive(Debug, Clone, Copy)]
pub enum Setup {
    /// Sealed but for its filter, and without a command.
    Waiting,
    /// Sealed. The number of its seccomp listener, or -1.
    Ready { listener: i32 },
    /// It is about to end.
    Failed(Failure),
}

impl Setup {
    /// Sends the record with write(2), which every filter allows.
    pub fn send(self, socket: impl AsFd) -> Result<(), Errno> {
        let (kind, step, index, number) = match self {
            Self::Waiting => (WAITING, 0, 0, 0),
            Self::Ready { listener } => (READY, 0, 0, listener),
            Self::Failed(failure) => (
                FAILED,
                failure.step as u8,
                failure.index,
                failure.errno.raw_os_error(),
            ),
        };
        let mut record = [0; SETUP_LENGTH];
        record[0] = kind;
        record[1] = step;
        record[2..4].copy_from_slice(&index.to_le_bytes());
        record[4..8].copy_from_slice(&number.to_le_bytes());
        rustix::io::write(socket, &record).map(drop)
    }

    /// Receives a record and its sender's pid; `None` when all senders are gone.
    pub fn receive(socket: impl AsFd) -> Result<Option<(Self, i32)>, Errno> {
        let mut record = [0; SETUP_LENGTH];
        let Some((length, pid)) = socket::receive_with_pid(socket, &mut record)? else {
            return Ok(None);
        };
        match Self::decode(&record) {
            Some(setup) if length == SETUP_LENGTH => Ok(Some((setup, pid))),
            _ => Err(Errno::BADMSG),
        }
    }

    fn decode(record: &[u8; SETUP_LENGTH]) -> Option<Self> {
        let index = u16::from_le_bytes([record[2], record[3]]);
        let number = i32::from_le_bytes([record[4], record[5], record[6], record[7]]);
        match record[0] {
            READY => Some(Self::Ready { listener: number }),
            WAITING => Some(Self::Waiting),
            FAILED => Some(Self::Failed(Failure {
                step: TaskStep::from_number(record[1])?,
                errno: Errno::from_raw_os_error(number),
                index,
            })),
            _ => None,
        }
    }
}

/// How the command of a task ended, as its stub saw it.
#[derive(Debug, Clone, Copy)]
pub struct End {
    pub ended: EndFacts,
    pub usage: UsageFacts,
}

impl End {
    pub fn new(reaped: &Reaped) -> Self {
        Self {
            ended: reaped.ended.into(),
            usage: reaped.usage.into(),
        }
    }

    /// For a stub that was killed before it could tell.
    pub fn of_stub(ended: Ended) -> Self {
        Self {
            ended: ended.into(),
            usage: UsageFacts::default(),
        }
    }

    pub fn send(self, socket: impl AsFd) -> Result<(), Errno> {
        let (kind, value) = match self.ended {
            EndFacts::Exited(code) => (0, code),
            EndFacts::Signaled(signal) => (1, signal),
        };
        let mut record = [0; END_LENGTH];
        record[0] = kind;
        record[4..8].copy_from_slice(&value.to_le_bytes());
        record[8..16].copy_from_slice(&self.usage.user_us.to_le_bytes());
        record[16..24].copy_from_slice(&self.usage.system_us.to_le_bytes());
        record[24..32].copy_from_slice(&self.usage.max_rss.to_le_bytes());
        rustix::io::write(socket, &record).map(drop)
    }

    /// Takes the record that a stub that has ended left; `None` if it left none.
    pub fn take(socket: impl AsFd) -> Option<Self> {
        let mut record = [0; END_LENGTH];
        let received = socket::receive(socket, &mut record).ok()?;
        let word = |at: usize| -> Option<u64> {
            Some(u64::from_le_bytes(record.get(at..at + 8)?.try_into().ok()?))
        };
        let value = i32::from_le_bytes([record[4], record[5], record[6], record[7]]);
        let ended = match (received.length, record[0]) {
            (END_LENGTH, 0) => EndFacts::Exited(value),
            (END_LENGTH, 1) => EndFacts::Signaled(value),
            _ => return None,
        };
        Some(Self {
            ended,
            usage: UsageFacts {
                user_us: word(8)?,
                system_us: word(16)?,
                max_rss: word(24)?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_arrives_as_it_was_sent() {
        let (left, right) = socket::pair().unwrap();
        socket::want_credentials(&right).unwrap();
        Setup::Failed(Failure::at_index(TaskStep::MaskProc, 7)(Errno::PERM))
            .send(&left)
            .unwrap();
        let (setup, pid) = Setup::receive(&right).unwrap().unwrap();
        assert_eq!(pid, std::process::id() as i32);
        let Setup::Failed(failure) = setup else {
            panic!("{setup:?}")
        };
        assert_eq!(
            failure.to_wire(),
            TaskFailure {
                step: TaskStep::MaskProc,
                errno: 1,
                index: 7
            }
        );
    }

    #[test]
    fn an_end_arrives_as_it_was_sent_and_none_is_none() {
        let (left, right) = socket::pair().unwrap();
        let end = End {
            ended: EndFacts::Signaled(9),
            usage: UsageFacts {
                user_us: 1,
                system_us: 2,
                max_rss: 3,
            },
        };
        end.send(&left).unwrap();
        drop(left);
        let got = End::take(&right).unwrap();
        assert_eq!((got.ended, got.usage), (end.ended, end.usage));
        assert!(End::take(&right).is_none());
    }
}

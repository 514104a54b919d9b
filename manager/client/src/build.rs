//! What sandboxes and tasks are asked for.

use std::time::Duration;

use lakekeep_api::v1;

use crate::RECONNECT_FOR;
use crate::backoff::chance;

/// A sandbox to be made or claimed. What is not said comes from the profile.
#[derive(Debug, Clone, Default)]
pub struct Create {
    request: v1::CreateRequest,
}

impl Create {
    /// Everything as the profile has it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The profile; the caller's only or personal one where none is said.
    #[must_use]
    pub fn profile(mut self, name: impl Into<String>) -> Self {
        self.request.profile = name.into();
        self
    }

    /// A policy document (TOML), laid over the profile's defaults. It narrows.
    #[must_use]
    pub fn policy(mut self, toml: impl Into<String>) -> Self {
        self.request.policy = toml.into();
        self
    }

    /// The project that identity rules are told; the profile's where none is said.
    #[must_use]
    pub fn project(mut self, name: impl Into<String>) -> Self {
        self.request.project = name.into();
        self
    }

    /// What becomes of it when the manager ends.
    #[must_use]
    pub fn kind(mut self, kind: v1::Kind) -> Self {
        self.request.kind = kind.into();
        self
    }

    /// A word to find it by.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.request.labels.insert(name.into(), value.into());
        self
    }

    /// Ended when no task has run for so long.
    #[must_use]
    pub fn idle_timeout(mut self, time: Duration) -> Self {
        self.request.idle_timeout = wire(time);
        self
    }

    /// Ended after so long, whatever it does.
    #[must_use]
    pub fn lifetime(mut self, time: Duration) -> Self {
        self.request.lifetime = wire(time);
        self
    }

    /// How long to wait for room under the quotas; not at all where none is said.
    #[must_use]
    pub fn deadline(mut self, time: Duration) -> Self {
        self.request.deadline = wire(time);
        self
    }

    /// Who wrote the code that will run; the caller where nobody is said.
    #[must_use]
    pub fn code_owner(mut self, user: impl Into<String>) -> Self {
        self.request.code_owner = user.into();
        self
    }

    /// A volume of the profile that does not attach by itself.
    #[must_use]
    pub fn volume(mut self, name: impl Into<String>) -> Self {
        self.request.volumes.push(name.into());
        self
    }

    /// An environment of the caller's, or one that the profile shares, by its digest.
    #[must_use]
    pub fn environment(mut self, digest: impl Into<String>) -> Self {
        self.request.environment = digest.into();
        self
    }

    /// The interpreter whose prefix is to be shown.
    #[must_use]
    pub fn interpreter(mut self, path: impl Into<String>) -> Self {
        self.request.interpreter = path.into();
        self
    }

    /// A word that makes the request one: the same word twice makes one sandbox. A
    /// random one where none is said. At most 64 bytes.
    #[must_use]
    pub fn request_id(mut self, word: impl Into<String>) -> Self {
        self.request.request_id = word.into();
        self
    }

    /// The message, which can be sent more than once.
    pub(crate) fn into_request(mut self) -> v1::CreateRequest {
        if self.request.request_id.is_empty() {
            self.request.request_id = word();
        }
        self.request
    }

    /// The message of a claim. It has no identifier: the same claim twice finds the same
    /// sandbox, or makes one.
    pub(crate) fn into_claim(self) -> v1::CreateRequest {
        self.request
    }
}

/// A command to be run in a sandbox.
#[derive(Debug, Clone)]
pub struct Command {
    pub(crate) start: v1::ExecStart,
    pub(crate) reconnect_for: Duration,
}

impl Command {
    /// The program and its arguments.
    pub fn new<A: Into<Vec<u8>>>(
        sandbox: impl Into<String>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        let start = v1::ExecStart {
            sandbox: sandbox.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            ..v1::ExecStart::default()
        };
        Self {
            start,
            reconnect_for: RECONNECT_FOR,
        }
    }

    /// A command in a sandbox that is made for it alone, and ends with it.
    pub fn once<A: Into<Vec<u8>>>(create: Create, arguments: impl IntoIterator<Item = A>) -> Self {
        let mut command = Self::new("", arguments);
        command.start.once = Some(create.into_request());
        command
    }

    /// A variable, over the policy's.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.start.environment.insert(name.into(), value.into());
        self
    }

    /// A secret to give to this task, by its name.
    #[must_use]
    pub fn secret(mut self, name: impl Into<String>) -> Self {
        self.start.secrets.push(name.into());
        self
    }

    /// The working directory, inside.
    #[must_use]
    pub fn working_directory(mut self, path: impl Into<String>) -> Self {
        self.start.working_directory = path.into();
        self
    }

    /// A terminal of this size; `term` is what TERM says.
    #[must_use]
    pub fn terminal(mut self, rows: u16, columns: u16, term: impl Into<String>) -> Self {
        self.start.terminal = Some(v1::Window {
            rows: rows.into(),
            columns: columns.into(),
        });
        self.start.term = term.into();
        self
    }

    /// Go on when nobody follows it.
    #[must_use]
    pub fn detach(mut self) -> Self {
        self.start.detach = true;
        self
    }

    /// How long an undetached task waits for its caller to come back; as long as the
    /// caller tries where nothing is said.
    #[must_use]
    pub fn linger(mut self, time: Duration) -> Self {
        self.start.linger = wire(time);
        self
    }

    /// How long a lost connection is tried again.
    #[must_use]
    pub fn reconnect_for(mut self, time: Duration) -> Self {
        self.reconnect_for = time;
        self
    }

    /// Say which system calls were refused.
    #[must_use]
    pub fn explain_syscalls(mut self) -> Self {
        self.start.explain_syscalls = true;
        self
    }

    /// A name for it in the audit log.
    #[must_use]
    pub fn query_id(mut self, word: impl Into<String>) -> Self {
        self.start.query_id = word.into();
        self
    }

    /// The same word twice, of one caller in one sandbox, starts one task. A random one
    /// where nothing is said.
    #[must_use]
    pub fn request_id(mut self, word: impl Into<String>) -> Self {
        self.start.request_id = word.into();
        self
    }

    /// The entrypoint of the sandbox's image before the arguments, or its own command where there
    /// are none.
    #[must_use]
    pub fn entrypoint(mut self) -> Self {
        self.start.entrypoint = true;
        self
    }

    /// Its standard input is empty.
    #[must_use]
    pub fn no_stdin(mut self) -> Self {
        self.start.no_stdin = true;
        self
    }

    pub(crate) fn into_start(mut self) -> v1::ExecStart {
        if self.start.linger.is_none() {
            self.start.linger = wire(self.reconnect_for);
        }
        if self.start.request_id.is_empty() {
            self.start.request_id = word();
        }
        self.start
    }
}

/// A word that no other request has.
fn word() -> String {
    format!("{:016x}{:016x}", chance(), chance())
}

/// A task whose streams are to be taken up.
#[derive(Debug, Clone)]
pub struct Attach {
    pub(crate) start: v1::AttachStart,
    pub(crate) reconnect_for: Duration,
}

impl Attach {
    /// Task `task` of a sandbox (0: its last), from the first byte on.
    pub fn new(sandbox: impl Into<String>, task: u32) -> Self {
        let start = v1::AttachStart {
            sandbox: sandbox.into(),
            task,
            ..v1::AttachStart::default()
        };
        Self {
            start,
            reconnect_for: RECONNECT_FOR,
        }
    }

    /// Only what comes after these bytes of output and of errors.
    #[must_use]
    pub fn after(mut self, stdout: u64, stderr: u64) -> Self {
        (self.start.stdout_offset, self.start.stderr_offset) = (stdout, stderr);
        self
    }

    /// How many bytes of input the task has from this caller.
    #[must_use]
    pub fn stdin_given(mut self, bytes: u64) -> Self {
        self.start.stdin_offset = bytes;
        self
    }

    /// Only read: asks for less of a right.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.start.read_only = true;
        self
    }

    /// What is there, and no more.
    #[must_use]
    pub fn no_follow(mut self) -> Self {
        self.start.no_follow = true;
        self
    }

    /// How long a lost connection is tried again.
    #[must_use]
    pub fn reconnect_for(mut self, time: Duration) -> Self {
        self.reconnect_for = time;
        self
    }
}

/// A span of time as a message has it: hundreds of years are as good as more.
pub(crate) fn wire(time: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_creation_has_a_word_of_its_own_and_a_claim_has_none() {
        let first = Create::new().into_request().request_id;
        let second = Create::new().into_request().request_id;
        assert_ne!(first, second);
        assert_eq!(first.len(), 32);
        assert_eq!(Create::new().request_id("x").into_request().request_id, "x");
        assert_eq!(Create::new().into_claim().request_id, "");
    }

    #[test]
    fn a_task_waits_as_long_as_its_caller_tries() {
        let command = Command::new("s", ["true"]).reconnect_for(Duration::from_secs(7));
        assert_eq!(command.into_start().linger, wire(Duration::from_secs(7)));
        let command = Command::new("s", ["true"]).linger(Duration::from_secs(1));
        assert_eq!(command.into_start().linger, wire(Duration::from_secs(1)));
    }
}

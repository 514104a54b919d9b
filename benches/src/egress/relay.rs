//! The relay that is measured: a process as the product starts it.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use lakekeep_protocol::relay::{RuleDocument, RuleLevel, ServeSpec};
use lakekeep_protocol::{Channel, RelayReply, RelayRequest};
use lakekeep_sys::net::Captured;

use crate::error::BenchError;

/// Everything that leads to the server, and as much of it as there is.
const RULES: &str = r#"{
    "version": 1,
    "rules": ["allow tcp 192.0.2.1"],
    "limits": { "connections": 65536, "new_per_second": 100000 }
}"#;

/// It answers sooner or not at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// Of CPU time in /proc (USER_HZ, proc_pid_stat(5)).
const TICK: Duration = Duration::from_millis(10);

type Link = Channel<RelayRequest, RelayReply>;

/// A relay; dropped, it is ended.
#[derive(Debug)]
pub struct Relay {
    link: Arc<Link>,
    process: Child,
    answers: Receiver<RelayReply>,
}

impl Relay {
    /// Starts the one beside this program, in the calling thread's network.
    pub fn start() -> Result<Self, BenchError> {
        let program = beside("lakekeep-relay");
        let (ours, theirs) = lakekeep_sys::socket::pair()
            .map_err(|errno| BenchError::io("make a socket pair")(errno.into()))?;
        let process = Command::new(&program)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| BenchError::Start {
                program: program.display().to_string(),
                error,
            })?;
        let link: Arc<Link> = Arc::new(Channel::new(ours).of_answers());
        let (say, answers) = channel();
        let heard = Arc::clone(&link);
        // A relay whose receipts nobody takes waits.
        thread::spawn(move || {
            while let Ok(Some((reply, _))) = heard.receive() {
                let is_answer = !matches!(reply, RelayReply::Flow(_));
                if is_answer && say.send(reply).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            link,
            process,
            answers,
        })
    }

    /// Has it serve a sandbox, and returns when it does.
    pub fn serve(&self, sandbox: &str, captured: &Captured) -> Result<(), BenchError> {
        let request = RelayRequest::Serve(Box::new(ServeSpec {
            sandbox: sandbox.to_owned(),
            profile: None,
            rules: vec![RuleDocument {
                level: RuleLevel::User,
                json: RULES.to_owned(),
            }],
        }));
        let sockets = [captured.tcp.as_fd(), captured.udp.as_fd()];
        let sent = self.link.send(&request, &sockets);
        sent.map_err(BenchError::plan)?;
        match self.answers.recv_timeout(PATIENCE) {
            Ok(RelayReply::Serving { .. }) => Ok(()),
            Ok(RelayReply::Refused { reason, .. }) => Err(BenchError::Failed {
                program: "lakekeep-relay".to_owned(),
                status: reason,
                words: String::new(),
            }),
            _ => Err(BenchError::OutOfTurn("the relay's answer")),
        }
    }

    /// Has it serve the sandbox no longer, and returns when it does not.
    pub fn stop(&self, sandbox: &str) -> Result<(), BenchError> {
        let request = RelayRequest::Stop {
            sandbox: sandbox.to_owned(),
        };
        let sent = self.link.send(&request, &[]);
        sent.map_err(BenchError::plan)?;
        match self.answers.recv_timeout(PATIENCE) {
            Ok(RelayReply::Stopped { .. }) => Ok(()),
            _ => Err(BenchError::OutOfTurn("the relay's answer")),
        }
    }

    /// Its resident memory, bytes.
    pub fn memory(&self) -> Result<u64, BenchError> {
        let text = self.proc("status")?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kilobytes.unwrap_or(0) << 10)
    }

    /// Its descriptors.
    pub fn descriptors(&self) -> Result<usize, BenchError> {
        let folder = PathBuf::from(format!("/proc/{}/fd", self.process.id()));
        let listed = std::fs::read_dir(&folder).map_err(BenchError::file("read", &folder))?;
        Ok(listed.count())
    }

    /// CPU time that it has used.
    pub fn cpu(&self) -> Result<Duration, BenchError> {
        let text = self.proc("stat")?;
        // What follows the name, which is in parentheses; user and system time are the 12th
        // and 13th of these.
        let fields = text.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let times = fields.split(' ').skip(11).take(2);
        let ticks: u32 = times.flat_map(str::parse::<u32>).sum();
        Ok(TICK * ticks)
    }

    fn proc(&self, file: &str) -> Result<String, BenchError> {
        let path = PathBuf::from(format!("/proc/{}/{file}", self.process.id()));
        std::fs::read_to_string(&path).map_err(BenchError::file("read", &path))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if self.process.kill().is_ok() {
            self.process.wait().ok();
        }
    }
}

/// A program that lies beside this one.
pub fn beside(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent().unwrap_or(Path::new("/")).join(name)
}

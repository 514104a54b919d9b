//! Docker's credential helpers: programs that are given a registry's name and answer with what it wants
//! (docker-credential-helpers' protocol, `get`).

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::Credentials;
use crate::error::CredentialsError;
use crate::wire::{Secret, shown};

/// How long a helper may take: it may ask somebody.
const TIME: Duration = Duration::from_secs(60);

/// Bytes of an answer.
const MAX_ANSWER: usize = 64 << 10;

/// What all helpers say where they know nothing (credentials.NewErrCredentialsNotFound).
const NOT_FOUND: &str = "credentials not found in native keychain";

/// A helper's answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HelperAnswer {
    username: String,
    secret: Secret,
}

impl HelperAnswer {
    /// The credentials in it; `None`: it is none.
    pub fn read(answer: &[u8]) -> Option<Credentials> {
        let answer: HelperAnswer = serde_json::from_slice(answer).ok()?;
        let known = !answer.username.is_empty();
        known.then(|| Credentials::of(answer.username, answer.secret.0))
    }
}

/// Asks `docker-credential-NAME` about `server`; `None`: it knows nothing.
pub(super) fn ask(name: &str, server: &str) -> Result<Option<Credentials>, CredentialsError> {
    let wrong = |why: String| CredentialsError::Helper {
        helper: name.to_owned(),
        why,
    };
    let mut child = Command::new(format!("docker-credential-{name}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| wrong(format!("cannot be started ({error})")))?;
    let talked = talk(&mut child, server);
    if talked.is_err() {
        // Ended already, or ends now: that it cannot be killed then is no failure of this.
        child.kill().ok();
    }
    let ended = child.wait();
    let (answer, ended) = match (talked, ended) {
        (Ok(answer), Ok(ended)) => (answer, ended),
        (Err(why), _) => return Err(wrong(why)),
        (_, Err(error)) => return Err(wrong(format!("cannot be waited for ({error})"))),
    };
    if !ended.success() {
        let text = String::from_utf8_lossy(&answer);
        return match text.trim() {
            NOT_FOUND => Ok(None),
            text => Err(wrong(format!("failed ({ended}): {}", shown(text)))),
        };
    }
    let credentials = HelperAnswer::read(&answer);
    credentials
        .map(Some)
        .ok_or_else(|| wrong("gave an answer that is not of its protocol".to_owned()))
}

/// Tells it the server, and reads until it has closed its output and ended.
fn talk(child: &mut Child, server: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let until = Instant::now() + TIME;
    let failed = |error: std::io::Error| format!("broke off ({error})");
    let mut input = child.stdin.take().ok_or("has no input")?;
    match input.write_all(format!("{server}\n").as_bytes()) {
        // It may know already that it will not answer.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        written => written.map_err(failed)?,
    }
    drop(input);
    let mut output = child.stdout.take().ok_or("has no output")?;
    let mut answer = Zeroizing::new(Vec::new());
    let mut buffer = Zeroizing::new([0; 4096]);
    loop {
        wait(&output, until)?;
        let count = output.read(buffer.as_mut_slice()).map_err(failed)?;
        if count == 0 {
            break;
        }
        if answer.len() + count > MAX_ANSWER {
            return Err("answers with more than 64 KiB".to_owned());
        }
        answer.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
    let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let process = process.ok_or("has no process number")?;
    // It is our child and not waited for: the number is still its own.
    let process = rustix::process::pidfd_open(process, PidfdFlags::empty())
        .map_err(|errno| format!("cannot be watched ({errno})"))?;
    wait(&process, until)?;
    Ok(answer)
}

/// Until there is something to read, or the end of it.
fn wait(file: &impl std::os::fd::AsFd, until: Instant) -> Result<(), String> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| "takes too long")?;
        let mut polled = [PollFd::new(file, PollFlags::IN)];
        match rustix::event::poll(&mut polled, Some(&left)) {
            Ok(0) => return Err(format!("has not answered within {} s", TIME.as_secs())),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(format!("cannot be watched ({errno})")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let answer = br#"{"ServerURL":"r","Username":"u","Secret":"p"}"#;
        let wanted = Credentials::of("u".to_owned(), "p".to_owned().into());
        assert_eq!(HelperAnswer::read(answer), Some(wanted));
        let token = br#"{"Username":"<token>","Secret":"t"}"#;
        let wanted = Credentials::Identity("t".to_owned().into());
        assert_eq!(HelperAnswer::read(token), Some(wanted));
        for bad in [&b"{}"[..], b"", br#"{"Username":"","Secret":"p"}"#] {
            assert_eq!(HelperAnswer::read(bad), None);
        }
    }

    #[test]
    fn a_helper_that_is_not_there_is_told() {
        let told = ask("of-nobody", "r").unwrap_err().to_string();
        assert!(
            told.contains("docker-credential-of-nobody cannot be started"),
            "{told}"
        );
    }
}

//! `--tty`: the command has a terminal of the size of the caller's.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use lakekeep_tests::{
    HostSnapshot, Place, Privilege, Run, Tracked, eventually, for_each_privilege,
};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

struct Session {
    child: Tracked,
    controller: OwnedFd,
    output: Receiver<Vec<u8>>,
    seen: String,
}

impl Session {
    /// `lakekeep run --tty` with a terminal of its own, as a shell would start it.
    fn start(place: &Place, privilege: Privilege, script: &str) -> Self {
        let run = Run::new(place, privilege).flags(["--tty"]).shell(script);
        Self::of(&run, privilege)
    }

    fn of(run: &Run, privilege: Privilege) -> Self {
        let controller =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        tcsetwinsize(&controller, size(33, 77)).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let path = std::path::PathBuf::from(name.to_str().unwrap());
        let terminal = File::options().read(true).write(true).open(&path).unwrap();
        std::os::unix::fs::chown(&path, Some(privilege.uid()), None).unwrap();
        let run = run.to_command();
        // setsid(1) makes the terminal the session's: without one no SIGWINCH comes.
        let mut command = Command::new("/usr/bin/setsid");
        command
            .arg("--ctty")
            .arg(run.get_program())
            .args(run.get_args())
            .env_clear();
        command.envs(
            run.get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        command
            .stdin(terminal.try_clone().unwrap())
            .stdout(terminal.try_clone().unwrap())
            .stderr(Stdio::from(terminal));
        privilege.apply(&mut command);
        let child = Tracked::spawn(&mut command);
        // The command holds copies of the terminal: what it holds must not stay here.
        drop(command);
        let output = follow(File::from(controller.try_clone().unwrap()));
        Self {
            child,
            controller,
            output,
            seen: String::new(),
        }
    }

    fn await_text(&mut self, text: &str) {
        eventually(&format!("{text:?} on the terminal"), || {
            while let Ok(bytes) = self.output.try_recv() {
                self.seen.push_str(&String::from_utf8_lossy(&bytes));
            }
            self.seen.contains(text).then_some(())
        });
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

fn follow(mut from: File) -> Receiver<Vec<u8>> {
    let (send, receive) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        // EIO is the terminal's way to say that nobody holds the other end.
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if send.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    receive
}

#[test]
fn all_three_streams_are_a_terminal_of_the_caller_s_size() {
    for_each_privilege("tty", |privilege| {
        let place = Place::new();
        let script = "test -t 0 && test -t 1 && test -t 2 && echo is-a-tty; stty size; tty";
        let mut session = Session::start(&place, privilege, script);
        session.await_text("is-a-tty");
        session.await_text("33 77");
        session.await_text("/dev/pts/");
    });
}

#[test]
fn a_new_window_size_reaches_the_command() {
    for_each_privilege("winsize", |privilege| {
        let place = Place::new();
        let script =
            "trap 'echo size $(stty size)' WINCH; echo ready; while :; do sleep 0.05; done";
        let mut session = Session::start(&place, privilege, script);
        session.await_text("ready");
        tcsetwinsize(&session.controller, size(40, 100)).unwrap();
        session.await_text("size 40 100");
    });
}

#[test]
fn control_c_interrupts_the_command() {
    for_each_privilege("control_c", |privilege| {
        let place = Place::new();
        let script =
            "trap 'echo interrupted; exit 0' INT; echo ready; while :; do sleep 0.05; done";
        let mut session = Session::start(&place, privilege, script);
        session.await_text("ready");
        rustix::io::write(&session.controller, b"\x03").unwrap();
        session.await_text("interrupted");
    });
}

/// The terminal tells all of the foreground, and the launcher is no part of it.
#[test]
fn control_c_reaches_a_command_that_has_no_terminal() {
    for_each_privilege("control_c_plain", |privilege| {
        let place = Place::new();
        let before = HostSnapshot::take(place.path());
        let script =
            "trap 'echo interrupted; exit 7' INT; echo ready; while :; do sleep 0.05; done";
        let mut session = Session::of(&Run::new(&place, privilege).shell(script), privilege);
        session.await_text("ready");
        rustix::io::write(&session.controller, b"\x03").unwrap();
        session.await_text("interrupted");
        let status = eventually("the end of the run", || session.child.try_wait().unwrap());
        assert_eq!(status.code(), Some(7));
        before.assert_unchanged();
    });
}

#[test]
fn a_terminal_that_goes_away_leaves_nothing() {
    for_each_privilege("hangup", |privilege| {
        for flags in [&["--tty"][..], &[]] {
            let place = Place::new();
            let before = HostSnapshot::take(place.path());
            let run = Run::new(&place, privilege).flags(flags);
            let run = run.shell("echo ready; while :; do sleep 0.05; done");
            let mut session = Session::of(&run, privilege);
            session.await_text("ready");
            // The end of the session's leader is the end of the line for all in the foreground.
            session.child.kill().unwrap();
            session.child.wait().unwrap();
            before.assert_unchanged();
        }
    });
}

#[test]
fn without_the_flag_there_is_no_terminal() {
    for_each_privilege("no_tty", |privilege| {
        let place = Place::new();
        let run = Run::new(&place, privilege)
            .shell("test -t 0 || test -t 1 || echo none; (: </dev/tty) 2>/dev/null || echo no-ctty")
            .finish();
        run.assert_code(0);
        assert_eq!(run.text(), "none\nno-ctty\n");
    });
}

//! Bytes, signals and window sizes between a console and a task, in one loop
//! that never waits for one of them alone: a reader that does not read delays
//! neither the time limit nor the other stream.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use lakekeep_protocol::task::Exited;
use lakekeep_protocol::{InitReply, InitRequest};
use lakekeep_sys::signal::{self, Signals};
use lakekeep_sys::{Errno, pty};
use rustix::event::{PollFd, PollFlags, poll};

use crate::error::SandboxError;
use crate::sandbox::{Sandbox, TASK};
use crate::task::Interference;

mod pump;

use pump::Pump;

const SIGWINCH: i32 = 28;
const SIGKILL: i32 = 9;

/// Passed on to the command: INT, TERM, HUP, QUIT, USR1, USR2, WINCH.
const FORWARDED: [i32; 7] = [2, 15, 1, 3, 10, 12, SIGWINCH];

/// The caller's side of a task's streams.
#[derive(Debug)]
pub struct Console {
    /// Read for the task's input: `(from, to)`.
    input: Option<(OwnedFd, OwnedFd)>,
    /// Written with the task's output: `(from, to)`.
    outputs: Vec<(OwnedFd, OwnedFd)>,
    /// The caller's terminal, whose size the task's follows.
    window: Option<OwnedFd>,
    signals: Option<Signals>,
    /// The task is ended when it becomes readable.
    end: Option<OwnedFd>,
}

/// What bounds a task from outside.
#[derive(Debug)]
pub struct Interaction {
    /// The task's terminal.
    pub controller: Option<OwnedFd>,
    /// How long it may go on.
    pub deadline: Option<Duration>,
    /// How much it may print, bytes.
    pub output: u64,
}

impl Console {
    /// Nobody looks: no bytes, no signals.
    ///
    /// # Errors
    /// None today.
    pub fn none() -> Result<Self, SandboxError> {
        Ok(Self {
            input: None,
            outputs: Vec::new(),
            window: None,
            signals: None,
            end: None,
        })
    }

    /// Carries `input` (from, to) and `outputs` (from, to), and forwards this
    /// process's signals from now on.
    ///
    /// # Errors
    /// When the signals cannot be blocked.
    pub fn streams(
        input: Option<(OwnedFd, OwnedFd)>,
        outputs: Vec<(OwnedFd, OwnedFd)>,
    ) -> Result<Self, SandboxError> {
        let signals = Signals::open(&FORWARDED).map_err(SandboxError::kernel("signalfd"))?;
        Ok(Self {
            input,
            outputs,
            window: None,
            signals: Some(signals),
            end: None,
        })
    }

    /// As [`Console::streams`], for a task with a terminal: `input` and
    /// `output` are the caller's, `window` is the caller's terminal.
    ///
    /// # Errors
    /// When the signals cannot be blocked or a descriptor not be copied.
    pub fn terminal(
        input: OwnedFd,
        output: OwnedFd,
        window: OwnedFd,
    ) -> Result<Self, SandboxError> {
        let copy = |fd: &OwnedFd| {
            fd.try_clone()
                .map_err(|_| SandboxError::kernel("dup")(Errno::MFILE))
        };
        // The task's side of both is the terminal, which is known once it started.
        let placeholder = copy(&window)?;
        let second = copy(&window)?;
        let mut console = Self::streams(Some((input, placeholder)), vec![(second, output)])?;
        console.window = Some(window);
        Ok(console)
    }

    /// The same, where the whole task is ended (SIGKILL) when `end` becomes readable or its other
    /// side is closed.
    #[must_use]
    pub fn ended_by(mut self, end: OwnedFd) -> Self {
        self.end = Some(end);
        self
    }

    /// Puts the task's terminal where only the task knew it.
    fn connect(&mut self, controller: &OwnedFd) -> Result<(), Errno> {
        let copy = || rustix::io::fcntl_dupfd_cloexec(controller, 0);
        if let Some((_, to)) = &mut self.input {
            *to = copy()?;
        }
        for (from, _) in &mut self.outputs {
            *from = copy()?;
        }
        Ok(())
    }
}

/// The loop's state.
struct Relay<'a> {
    sandbox: &'a mut Sandbox,
    input: Option<Pump>,
    outputs: Vec<Pump>,
    window: Option<(OwnedFd, OwnedFd)>,
    signals: Option<Signals>,
    timer: Option<OwnedFd>,
    end: Option<OwnedFd>,
    left: u64,
    exited: Option<Exited>,
    interference: Interference,
}

/// Attends a task to its end.
pub(crate) fn attend(
    sandbox: &mut Sandbox,
    mut console: Console,
    interaction: Interaction,
) -> Result<(Exited, Interference), SandboxError> {
    if let Some(controller) = &interaction.controller {
        console
            .connect(controller)
            .map_err(SandboxError::kernel("dup"))?;
    }
    let timer = interaction.deadline.map(signal::timer).transpose();
    let mut relay = Relay {
        sandbox,
        input: console.input.map(|(from, to)| Pump::new(from, to)),
        outputs: console
            .outputs
            .into_iter()
            .map(|(from, to)| Pump::new(from, to))
            .collect(),
        window: console.window.zip(interaction.controller),
        signals: console.signals,
        timer: timer.map_err(SandboxError::kernel("timerfd"))?,
        end: console.end,
        left: interaction.output,
        exited: None,
        interference: Interference::default(),
    };
    loop {
        relay.turn()?;
        // All processes of the task are gone, so its streams end by themselves.
        if let Some(exited) = relay.finished() {
            return Ok((exited, relay.interference));
        }
    }
}

/// What a descriptor in the poll set stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Init,
    Launcher,
    Signals,
    Timer,
    End,
    Input,
    Output(usize),
}

impl Relay<'_> {
    fn finished(&mut self) -> Option<Exited> {
        if self.exited.is_some() && self.outputs.iter().all(Pump::done) {
            return self.exited.take();
        }
        None
    }

    fn turn(&mut self) -> Result<(), SandboxError> {
        let ready = self.wait()?;
        for source in ready {
            match source {
                Source::Init => self.hear()?,
                Source::Launcher => return Err(self.sandbox.launcher.ended()),
                Source::Signals => self.forward()?,
                Source::Timer => {
                    self.timer = None;
                    self.interference.timed_out = true;
                    self.kill()?;
                }
                Source::End => {
                    self.end = None;
                    self.kill()?;
                }
                Source::Input => self.feed(),
                Source::Output(index) => self.print(index)?,
            }
        }
        Ok(())
    }

    /// Waits until something can be done without waiting.
    fn wait(&self) -> Result<Vec<Source>, SandboxError> {
        let mut sources: Vec<(Source, BorrowedFd<'_>, PollFlags)> = Vec::new();
        if self.exited.is_none() {
            sources.push((Source::Init, self.sandbox.init.as_fd(), PollFlags::IN));
            sources.push((
                Source::Launcher,
                self.sandbox.launcher.as_fd(),
                PollFlags::IN,
            ));
            let ends = [(Source::Timer, &self.timer), (Source::End, &self.end)];
            let ends = ends
                .into_iter()
                .filter_map(|(source, fd)| Some((source, fd.as_ref()?)));
            sources.extend(ends.map(|(source, fd)| (source, fd.as_fd(), PollFlags::IN)));
            let input = self.input.as_ref().and_then(Pump::waits_for);
            sources.extend(input.map(|(fd, flags)| (Source::Input, fd, flags)));
        }
        sources.extend(
            self.signals
                .iter()
                .map(|fd| (Source::Signals, fd.as_fd(), PollFlags::IN)),
        );
        for (index, pump) in self.outputs.iter().enumerate() {
            sources.extend(
                pump.waits_for()
                    .map(|(fd, flags)| (Source::Output(index), fd, flags)),
            );
        }
        let mut fds: Vec<PollFd<'_>> = sources
            .iter()
            .map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
            .collect();
        match poll(&mut fds, None) {
            Err(Errno::INTR) => return Ok(Vec::new()),
            other => other.map_err(SandboxError::kernel("poll"))?,
        };
        let ready = sources
            .iter()
            .zip(&fds)
            .filter(|(_, fd)| !fd.revents().is_empty());
        Ok(ready.map(|((source, ..), _)| *source).collect())
    }

    fn hear(&mut self) -> Result<(), SandboxError> {
        match self.sandbox.init.receive()? {
            Some((InitReply::Exited(exited), _)) if exited.task == TASK => {
                self.exited = Some(exited);
                Ok(())
            }
            Some(_) => Err(SandboxError::OutOfTurn { peer: "init" }),
            None => Err(SandboxError::SandboxEnded),
        }
    }

    fn forward(&mut self) -> Result<(), SandboxError> {
        let Some(signals) = &self.signals else {
            return Ok(());
        };
        while let Some(signal) = signals.next().map_err(SandboxError::kernel("signalfd"))? {
            if signal == SIGWINCH
                && let Some((window, controller)) = &self.window
            {
                let size = rustix::termios::tcgetwinsize(window)
                    .map_err(SandboxError::kernel("TIOCGWINSZ"))?;
                pty::resize(controller, size.ws_row, size.ws_col)
                    .map_err(SandboxError::kernel("TIOCSWINSZ"))?;
            } else if self.exited.is_none() {
                let request = InitRequest::Signal { task: TASK, signal };
                self.sandbox.init.send(&request, &[])?;
            }
        }
        Ok(())
    }

    fn kill(&mut self) -> Result<(), SandboxError> {
        let request = InitRequest::Signal {
            task: TASK,
            signal: SIGKILL,
        };
        Ok(self.sandbox.init.send(&request, &[])?)
    }

    fn feed(&mut self) {
        if let Some(pump) = &mut self.input {
            pump.turn(u64::MAX);
            if pump.done() {
                // Closing our end is the task's end of input.
                self.input = None;
            }
        }
    }

    fn print(&mut self, index: usize) -> Result<(), SandboxError> {
        let Some(pump) = self.outputs.get_mut(index) else {
            return Ok(());
        };
        let read = pump.turn(self.left);
        self.left -= read.min(self.left);
        if pump.over_limit() && !self.interference.too_much_output {
            self.interference.too_much_output = true;
            if self.exited.is_none() {
                return self.kill();
            }
        }
        Ok(())
    }
}

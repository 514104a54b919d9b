//! The init's only loop: the manager's frames, ended children, refused calls.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use lakekeep_protocol::task::{Exited, MAX_ENDS, TaskSpec};
use lakekeep_protocol::{Channel, InitReply, InitRequest, ProtocolError};
use lakekeep_sys::Errno;
use lakekeep_sys::mount;
use lakekeep_sys::process::{self, Reaped};
use lakekeep_sys::signal::Signals;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::nursling::Zygote;
use crate::ready::Ready;
use crate::report::Failure;
use crate::scratch::Shared;
use crate::shown::Shown;
use crate::task::{Spawned, Task};

const SIGCHLD: i32 = 17;

/// A task that has just started goes before the one that may be asked for next.
const AFTER_A_START: Duration = Duration::from_millis(5);

/// Why the init stops before its manager does.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The manager cannot be understood.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The kernel refused what the loop needs.
    #[error("the init's loop")]
    Kernel(#[from] Errno),
}

/// The state of PID 1.
#[derive(Debug)]
pub struct Supervisor {
    manager: Channel<InitReply, InitRequest>,
    children: Signals,
    tasks: Vec<Task>,
    /// Told, and not acknowledged: a manager may die between hearing and writing down.
    ends: VecDeque<Exited>,
    /// Of the tasks that share one.
    scratch: Option<Shared>,
    /// What tasks that are made ready are forked from, where they shall be.
    zygote: Option<Zygote>,
    /// For whoever asks next.
    ready: Option<Ready>,
    /// How the next one that is made ready is to be sealed, and not before when.
    wanted: Option<(Box<TaskSpec>, Instant)>,
}

/// What the loop listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Voice {
    Manager,
    Children,
    /// Of the task that is being made ready.
    Ready,
    /// A task's refused call, by the task's number.
    Refused(u32),
    /// A task's end.
    End(u32),
}

impl Supervisor {
    pub fn new(
        manager: Channel<InitReply, InitRequest>,
        zygote: Option<Zygote>,
    ) -> Result<Self, Failed> {
        let children = Signals::open(&[SIGCHLD])?;
        manager.send(&InitReply::Started, &[])?;
        Ok(Self {
            manager,
            children,
            tasks: Vec::new(),
            ends: VecDeque::new(),
            scratch: None,
            zygote,
            ready: None,
            wanted: None,
        })
    }

    /// Serves until the manager closes its end.
    pub fn serve(mut self) -> Result<(), Failed> {
        loop {
            let heard = self.wait()?;
            for voice in &heard {
                match voice {
                    Voice::Children => self.reap()?,
                    Voice::Ready => self.hear_ready()?,
                    Voice::Refused(task) => self.answer_refused(*task),
                    Voice::End(task) => self.end(*task)?,
                    Voice::Manager => {
                        if !self.hear()? {
                            return Ok(());
                        }
                    }
                }
            }
            if heard.is_empty() {
                self.make_ready();
            }
        }
    }

    /// Waits for somebody to say something; empty when there is time to make a task ready.
    fn wait(&self) -> Result<Vec<Voice>, Errno> {
        let (mut voices, mut fds) = (Vec::new(), Vec::new());
        let mut listen = |voice, fd| {
            voices.push(voice);
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        };
        // Ends before requests: whoever asks next finds room.
        listen(Voice::Children, self.children.as_fd());
        for task in &self.tasks {
            if let Some(voice) = task.voice() {
                listen(Voice::End(task.number()), voice.as_fd());
            }
            if let Some(listener) = task.listener() {
                listen(Voice::Refused(task.number()), listener.as_fd());
            }
        }
        if let Some(voice) = self.ready.as_ref().and_then(Ready::voice) {
            listen(Voice::Ready, voice);
        }
        listen(Voice::Manager, self.manager.as_fd());
        while let Err(errno) = poll(&mut fds, self.patience().as_ref()) {
            if errno != Errno::INTR {
                return Err(errno);
            }
        }
        let heard = voices.into_iter().zip(&fds);
        let heard = heard.filter(|(_, fd)| !fd.revents().is_empty());
        Ok(heard.map(|(voice, _)| voice).collect())
    }

    /// How long to listen before a task is made ready; `None`: none is wanted.
    fn patience(&self) -> Option<Timespec> {
        let (_, due) = self.wanted.as_ref()?;
        let left = due.saturating_duration_since(Instant::now());
        Some(Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(left.min(AFTER_A_START).subsec_nanos()),
        })
    }

    /// Makes what is wanted. Where that fails, the next task is made when it is asked for,
    /// and says what is wrong.
    fn make_ready(&mut self) {
        if let Some((spec, _)) = self.wanted.take() {
            let zygote = self.zygote.as_ref().filter(|_| spec.forked);
            self.ready = Ready::begin(&spec, &mut self.scratch, zygote).ok();
        }
    }

    fn hear_ready(&mut self) -> Result<(), Failed> {
        let Some(ready) = self.ready.as_mut() else {
            // It was asked for meanwhile.
            return Ok(());
        };
        let (heard, forked) = (ready.hear(), ready.is_forked());
        if heard.is_ok() {
            self.manager.send(&InitReply::Ready { forked }, &[])?;
        } else if let Some(spec) = self.discard_ready()
            && forked
        {
            self.make_ready_without_zygote(&spec);
        }
        Ok(())
    }

    /// For a zygote that has ended, or forks what cannot be believed.
    fn make_ready_without_zygote(&mut self, spec: &TaskSpec) {
        self.ready = Ready::begin(spec, &mut self.scratch, None).ok();
    }

    /// What was ready is of no use.
    fn discard_ready(&mut self) -> Option<TaskSpec> {
        let ready = self.ready.take()?;
        let spec = ready.spec().clone();
        if ready.discard().is_err() {
            // It has ended already.
        }
        Some(spec)
    }

    /// From `due` on, one that is sealed like `spec` shall be ready.
    fn want(&mut self, spec: Box<TaskSpec>, due: Instant) {
        let fits = self.ready.as_ref().is_some_and(|ready| ready.fits(&spec));
        // One that is never ready leaves what is, for others.
        if fits || !spec.can_be_ready() {
            return;
        }
        self.discard_ready();
        self.wanted = Some((spec, due));
    }

    /// Handles one frame; `false` when the manager has ended.
    fn hear(&mut self) -> Result<bool, Failed> {
        let Some((request, descriptors)) = self.manager.receive()? else {
            return Ok(false);
        };
        match request {
            InitRequest::Spawn { task, again, spec } => {
                let spawned = self.start(task, &spec, descriptors);
                self.answer_spawn(task, spawned)?;
                if again {
                    self.want(spec, Instant::now() + AFTER_A_START);
                }
            }
            InitRequest::Prepare { spec } => self.want(spec, Instant::now()),
            InitRequest::Signal { task, signal } => self.signal(task, signal)?,
            InitRequest::Place { target } => {
                // What is ready has a copy of the table as it was.
                if let Some(spec) = self.discard_ready() {
                    self.want(Box::new(spec), Instant::now());
                }
                let placed = place(&target, descriptors);
                let errno = placed.err().map_or(0, Errno::raw_os_error);
                self.manager.send(&InitReply::Placed { errno }, &[])?;
            }
            InitRequest::Show { targets } => {
                let shown = self.show(&targets, descriptors)?;
                let errno = shown.err().map_or(0, Errno::raw_os_error);
                self.manager.send(&InitReply::Placed { errno }, &[])?;
            }
            InitRequest::List { nonce } => self.list(nonce)?,
            InitRequest::Acknowledge { task } => self.ends.retain(|end| end.task != task),
        }
        Ok(true)
    }

    /// Mounts trees in the init's own table, and in that of a task that is ready; one in
    /// which they have no place, as below a scratch directory, is made anew.
    fn show(
        &mut self,
        targets: &[String],
        trees: Vec<OwnedFd>,
    ) -> Result<Result<(), Errno>, Errno> {
        let shown = match Shown::new(targets, trees) {
            Ok(shown) => shown,
            Err(errno) => return Ok(Err(errno)),
        };
        let copies = match shown.attach() {
            Ok(copies) => copies,
            Err(errno) => return Ok(Err(errno)),
        };
        let Some(ready) = &self.ready else {
            return Ok(Ok(()));
        };
        if ready.show(&copies)?.is_err()
            && let Some(spec) = self.discard_ready()
        {
            self.want(Box::new(spec), Instant::now());
        }
        Ok(Ok(()))
    }

    fn start(
        &mut self,
        number: u32,
        spec: &TaskSpec,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Spawned, Failure> {
        if spec.can_be_ready() {
            self.wanted = None;
        }
        if self.ready.as_ref().is_some_and(|ready| ready.fits(spec))
            && let Some(mut ready) = self.ready.take()
        {
            if ready.get_there().is_ok() {
                return ready.start(number, spec, descriptors);
            }
            // Made anew it may get there; if not, it says why.
            if ready.discard().is_err() {
                // It has ended already.
            }
        }
        Task::spawn(number, spec, descriptors, &mut self.scratch)
    }

    fn answer_spawn(
        &mut self,
        number: u32,
        spawned: Result<Spawned, Failure>,
    ) -> Result<(), Failed> {
        match spawned {
            Ok(Spawned {
                task,
                facts,
                controller,
            }) => {
                let reply = InitReply::Spawned {
                    task: number,
                    facts: Box::new(facts),
                };
                let descriptors: Vec<BorrowedFd<'_>> =
                    controller.iter().map(OwnedFd::as_fd).collect();
                self.tasks.push(task);
                self.manager.send(&reply, &descriptors)?;
            }
            Err(failure) => {
                let reply = InitReply::SpawnFailed {
                    task: number,
                    failure: failure.to_wire(),
                };
                self.manager.send(&reply, &[])?;
            }
        }
        Ok(())
    }

    fn list(&self, nonce: u64) -> Result<(), Failed> {
        let reply = InitReply::Tasks {
            nonce,
            running: self.tasks.iter().map(Task::number).collect(),
            ended: self.ends.iter().cloned().collect(),
        };
        Ok(self.manager.send(&reply, &[])?)
    }

    fn signal(&self, number: u32, signal: i32) -> Result<(), Errno> {
        // A task that has ended meanwhile is not an error: its Exited frame is
        // on the way to the manager that asked.
        match self.tasks.iter().find(|task| task.number() == number) {
            Some(task) => task.signal(signal),
            None => Ok(()),
        }
    }

    fn reap(&mut self) -> Result<(), Failed> {
        while self.children.next()?.is_some() {}
        while let Some(reaped) = process::reap()? {
            self.ended(&reaped)?;
        }
        Ok(())
    }

    fn ended(&mut self, reaped: &Reaped) -> Result<(), Failed> {
        if let Some(ready) = self.ready.take_if(|ready| ready.is(reaped.pid))
            && ready.is_forked()
            && !ready.is_sealed()
        {
            // Its end is heard before its reason.
            self.make_ready_without_zygote(ready.spec());
        }
        let is_stub = |task: &Task| task.stub().as_raw_nonzero().get() == reaped.pid;
        if let Some(index) = self.tasks.iter().position(is_stub) {
            let exited = self.tasks.swap_remove(index).into_exited(reaped.ended);
            self.tell_end(exited)?;
        }
        // A stub that has said its last word before was a task's no more.
        Ok(())
    }

    /// Tells a task's end when nothing is left of it but its stub; where the stub could not
    /// say that, its own end will.
    fn end(&mut self, number: u32) -> Result<(), Failed> {
        let is_it = |task: &Task| task.number() == number;
        let Some(index) = self.tasks.iter().position(is_it) else {
            return Ok(());
        };
        let Some(end) = self.tasks.get_mut(index).and_then(Task::hear) else {
            return Ok(());
        };
        let exited = self.tasks.swap_remove(index).concluded(end);
        self.tell_end(exited)
    }

    fn tell_end(&mut self, exited: Exited) -> Result<(), Failed> {
        if self.ends.len() == MAX_ENDS {
            self.ends.pop_front();
        }
        self.ends.push_back(exited.clone());
        self.manager.send(&InitReply::Exited(exited), &[])?;
        if let Some((_, due)) = &mut self.wanted {
            *due = Instant::now();
        }
        Ok(())
    }

    fn answer_refused(&mut self, number: u32) {
        let mut tasks = self.tasks.iter_mut();
        if let Some(task) = tasks.find(|task| task.number() == number) {
            task.answer_refused();
        }
    }
}

/// Mounts a tree in the init's own table, of which every later task has a copy.
fn place(target: &str, trees: Vec<OwnedFd>) -> Result<(), Errno> {
    let [tree]: [OwnedFd; 1] = trees.try_into().map_err(|_| Errno::INVAL)?;
    let relative = target.strip_prefix('/').ok_or(Errno::INVAL)?;
    let root = mount::host_place(Path::new("/"))?;
    mount::attach(tree, mount::beneath(root, Path::new(relative))?)
}

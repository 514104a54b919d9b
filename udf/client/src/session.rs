//! A session: one function in one sandbox, and the calls to it.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_schema::{ArrowError, SchemaRef};
use rustix::net::Shutdown;
use serde_json::{Value, json};

use crate::aside::Aside;
use crate::channel::{Broken, Incoming};
use crate::encode::{self, Encoder};
use crate::explain::explained;
use crate::function::{Code, Function, Kind, Options, bare};
use crate::link::{End, Lease};
use crate::look::Look;
use crate::outgoing::Outgoing;
use crate::output::Output;
use crate::wire::{Frame, PART_LIMIT, VERSION, kind};
use crate::{UdfError, check, told};

/// In which a worker that has closed its socket ends by itself.
const GRACE: Duration = Duration::from_secs(2);
/// In which the broker tells how a sandbox ended that it was asked to kill.
const VERDICT: Duration = Duration::from_secs(10);
/// In which what an ended function had printed arrives.
const SETTLE: Duration = Duration::from_millis(500);

/// What threads share of a session.
#[derive(Debug)]
pub(crate) struct Shared {
    socket: Arc<OwnedFd>,
    pub(crate) lease: Lease,
    pub(crate) cancelled: AtomicBool,
    /// Batches that were given to a stream: while some are, its function is not too slow.
    pub(crate) given: AtomicU64,
}

impl Shared {
    /// Ends whatever waits on the socket.
    pub(crate) fn shut(&self) {
        // It fails where the worker is gone already.
        rustix::net::shutdown(&*self.socket, Shutdown::Both).ok();
        self.lease.kill();
    }
}

/// Ends a session from any thread.
#[derive(Debug, Clone)]
pub struct Canceller(Arc<Shared>);

impl Canceller {
    /// Ends the session at once; a call that waits fails with [`UdfError::Cancelled`].
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        self.0.shut();
    }
}

/// One function in one sandbox; calls are answered in order.
///
/// A function's own exception leaves the session as it is; every other failure ends it, and
/// so does dropping it.
#[derive(Debug)]
pub struct Session {
    pub(crate) core: Core,
    pub(crate) feeder: Feeder,
}

/// What hears the worker.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    pub(crate) incoming: Incoming,
    name: String,
    kind: Kind,
    answers: SchemaRef,
    call_timeout: Option<Duration>,
    max_rows: u64,
    /// The last call's.
    call: u32,
    /// Of the last call, for an error that tells them.
    rows: u64,
    /// Why nothing can be called any more.
    failure: Option<String>,
}

/// What speaks to the worker.
#[derive(Debug)]
pub(crate) struct Feeder {
    pub(crate) outgoing: Outgoing,
    encoder: Encoder,
    arguments: SchemaRef,
}

/// A call that was sent and is not answered yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    call: u32,
    rows: u64,
}

impl Session {
    /// With a worker that has not heard of the function yet.
    pub(crate) fn of(
        (socket, output): (OwnedFd, Output),
        lease: Lease,
        function: &Function,
        options: &Options,
    ) -> Self {
        let socket = Arc::new(socket);
        let ahead = options.ahead.max(1);
        Self {
            core: Core {
                incoming: Incoming::new(
                    (socket.clone(), output),
                    (options.max_bytes, ahead),
                    Look::of(options.looking()),
                ),
                name: function.name.clone(),
                kind: function.kind,
                answers: bare(&function.returns),
                call_timeout: options.call_timeout,
                max_rows: options.max_rows,
                call: 0,
                rows: 0,
                failure: None,
                shared: Arc::new(Shared {
                    socket: socket.clone(),
                    lease,
                    cancelled: AtomicBool::new(false),
                    given: AtomicU64::new(0),
                }),
            },
            feeder: Feeder {
                outgoing: Outgoing::new(socket),
                encoder: Encoder::default(),
                arguments: bare(&function.arguments),
            },
        }
    }

    /// Has the worker make the function ready.
    pub(crate) fn introduce(
        &mut self,
        function: &Function,
        options: &Options,
    ) -> Result<(), Broken> {
        let input = |error| Broken::Error(UdfError::Input(error));
        let (format, attribute, content) = match &function.code {
            Code::Pickled(bytes) => ("pickle", None, bytes.clone()),
            Code::Source { text, name } => ("source", Some(name), text.clone().into_bytes()),
        };
        let opening = json!({
            "version": VERSION,
            "kind": function.kind.word(),
            "name": function.name,
            "format": format,
            "attribute": attribute,
            "max_bytes": options.max_bytes,
            "max_rows": options.max_rows,
            // Never: a descriptor of a worker's would have to be mapped, which is not safe
            // Rust, or read, which is no faster than parts.
            "memfd_from": 0,
            "part": PART_LIMIT,
            "look_us": microseconds(options.looking()),
            "skip_nulls": options.skip_nulls,
            "pandas": options.pandas,
            "source": Value::Null,
        });
        let given = encode::schema(&self.feeder.arguments).map_err(input)?;
        let answered = encode::schema(&self.core.answers).map_err(input)?;
        for (kind, content) in [
            (kind::OPEN, opening.to_string().into_bytes()),
            (kind::INPUT, given),
            (kind::OUTPUT, answered),
            (kind::FUNCTION, content),
        ] {
            let content = Buffer::from_vec(content);
            self.feeder.outgoing.queue(kind, 0, 0, vec![content]);
        }
        self.flush()?;
        let frame = self.core.incoming.receive()?;
        self.core.opened(&frame)
    }

    /// The record batch that answers a record batch.
    ///
    /// # Errors
    /// As [`UdfError`] says.
    pub fn call(&mut self, batch: &RecordBatch) -> Result<RecordBatch, UdfError> {
        let sent = self.send(batch)?;
        self.core.answer(sent)
    }

    /// Answers batches in order; [`Options::ahead`] of them are sent before the first is
    /// answered, and no more are taken from `batches` than that.
    pub fn map<I>(&mut self, batches: I) -> Map<'_, I::IntoIter>
    where
        I: IntoIterator<Item = Result<RecordBatch, ArrowError>>,
    {
        Map {
            session: self,
            batches: batches.into_iter().fuse(),
            waiting: VecDeque::new(),
        }
    }

    /// Ends the session from another thread.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        Canceller(self.core.shared.clone())
    }

    /// What the function has printed until now, at most 64 KiB of it.
    pub fn output(&mut self) -> String {
        self.core.incoming.output.take_in();
        told::text(&self.core.incoming.output.text(), usize::MAX)
    }

    /// The sandbox's identifier.
    #[must_use]
    pub fn sandbox(&self) -> &str {
        let made = self.core.shared.lease.made();
        made.map_or("", |made| &made.sandbox)
    }

    /// What the broker found not as it should be, and slows sessions down.
    #[must_use]
    pub fn warning(&self) -> Option<&str> {
        self.core.shared.lease.made()?.warning.as_deref()
    }

    /// Whether the next call can be sent; what came unasked ends the session.
    pub fn alive(&mut self) -> bool {
        if self.core.failure.is_none() && !self.core.incoming.idle() {
            self.core.end("it ended by itself, or spoke unasked");
        }
        self.core.failure.is_none()
    }

    /// Ends it, and tells how its sandbox ended; none where nobody could tell.
    pub fn end(mut self) -> Option<End> {
        if self.core.failure.is_none() {
            // A worker that waits for a call ends by itself when there is nobody to call.
            rustix::net::shutdown(&*self.core.shared.socket, Shutdown::Write).ok();
        }
        self.core.verdict()
    }

    pub(crate) fn send(&mut self, batch: &RecordBatch) -> Result<Sent, UdfError> {
        self.core.usable(false)?;
        let call = self.core.next_call();
        let rows = self.feeder.give(call, batch)?;
        self.core.rows = rows;
        self.core.set_deadline();
        self.flush().map_err(|broken| self.core.failed(broken))?;
        Ok(Sent { call, rows })
    }

    /// Waits until all is sent; what comes back meanwhile is taken in.
    pub(crate) fn flush(&mut self) -> Result<(), Broken> {
        while !self.feeder.outgoing.flush()? {
            self.core.incoming.wait_for_room()?;
        }
        Ok(())
    }
}

impl Feeder {
    /// Queues a batch; its rows.
    pub(crate) fn give(&mut self, call: u32, batch: &RecordBatch) -> Result<u64, UdfError> {
        self.expect(batch).map_err(UdfError::Input)?;
        let pieces = self.encoder.batch(batch).map_err(UdfError::Input)?;
        let rows = batch.num_rows() as u64;
        self.outgoing.queue(kind::CALL, call, rows, pieces);
        Ok(rows)
    }

    pub(crate) fn end(&mut self, call: u32) {
        self.outgoing.queue(kind::END, call, 0, Vec::new());
    }

    /// Columns are told by their position and type; their names are the engine's.
    fn expect(&self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let (found, wanted) = (batch.columns(), self.arguments.fields());
        if found.len() != wanted.len() {
            let (found, wanted) = (found.len(), wanted.len());
            let text = format!("{found} columns for a function of {wanted} arguments");
            return Err(ArrowError::SchemaError(text));
        }
        for (column, field) in found.iter().zip(wanted) {
            if !column.data_type().equals_datatype(field.data_type()) {
                let (name, wanted) = (field.name(), field.data_type());
                let found = column.data_type();
                let text = format!("argument {name} is a column of {found}, not of {wanted}");
                return Err(ArrowError::SchemaError(text));
            }
        }
        Ok(())
    }
}

impl Core {
    fn opened(&mut self, frame: &Frame) -> Result<(), Broken> {
        let name = &self.name;
        match (frame.kind, frame.call) {
            (kind::OPENED, 0) => {}
            (kind::CRASHED, _) => return Err(crashed(frame)),
            (kind::ERROR, 0) => {
                let error = told::failure(&frame.content);
                let text = format!("{name} cannot be had in the sandbox: {error}");
                return Err(UdfError::BadFunction(text).into());
            }
            _ => return Err(violation("no answer to its opening").into()),
        }
        let told = told::document(&frame.content)?;
        self.incoming.aside = Aside::of(told::numbers(&told, "processors"));
        match told.get("version").and_then(Value::as_u64) {
            Some(VERSION) => Ok(()),
            _ => Err(violation("another version of the protocol").into()),
        }
    }

    /// Whether the session can be called, and in this way.
    pub(crate) fn usable(&self, as_stream: bool) -> Result<(), UdfError> {
        if let Some(why) = &self.failure {
            return Err(UdfError::Closed(why.clone()));
        }
        if self.kind.streams() == as_stream {
            return Ok(());
        }
        let (name, kind) = (&self.name, self.kind.word());
        let how = match as_stream {
            true => "call or map",
            false => "stream or duplex",
        };
        Err(UdfError::BadFunction(format!(
            "{name}: a function of kind {kind} is called with {how}"
        )))
    }

    pub(crate) fn next_call(&mut self) -> u32 {
        self.call = self.call.wrapping_add(1);
        self.call
    }

    pub(crate) fn set_deadline(&mut self) {
        let timeout = self.call_timeout;
        self.incoming.deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    }

    fn answer(&mut self, sent: Sent) -> Result<RecordBatch, UdfError> {
        self.usable(false)?;
        let answered = self.incoming.receive().and_then(|frame| {
            let rows = match self.kind {
                Kind::Grouped => frame.rows.min(self.max_rows),
                Kind::Aggregate => 1,
                _ => sent.rows,
            };
            self.checked(frame, sent.call, rows)
        });
        answered.map_err(|broken| self.failed(broken))
    }

    /// A batch of a stream.
    pub(crate) fn streamed(&self, frame: Frame, call: u32) -> Result<RecordBatch, Broken> {
        let rows = frame.rows;
        if rows > self.max_rows {
            return Err(violation(&format!("a batch of {rows} rows, too many")).into());
        }
        self.checked(frame, call, rows)
    }

    fn checked(&self, frame: Frame, call: u32, rows: u64) -> Result<RecordBatch, Broken> {
        if frame.kind == kind::CRASHED {
            return Err(crashed(&frame));
        }
        if frame.call != call {
            let other = frame.call;
            return Err(violation(&format!("an answer to call {other} instead of {call}")).into());
        }
        match frame.kind {
            kind::ERROR => Err(told::failure(&frame.content).into()),
            kind::RESULT => Ok(check::result(&frame.content, &self.answers, rows)?),
            other => Err(violation(&format!("a frame of kind {other} instead of a result")).into()),
        }
    }

    /// What is to be told; ends the session unless only the user's code failed.
    pub(crate) fn failed(&mut self, broken: Broken) -> UdfError {
        let mut error = match broken {
            Broken::Error(error) if error.survived() => return self.with_output(error),
            _ if self.shared.cancelled.load(Ordering::SeqCst) => UdfError::Cancelled,
            Broken::Error(error) => error,
            Broken::Expired => self.timed_out(),
            Broken::Ended => self.gone(),
        };
        self.end(&error.to_string());
        self.settle(SETTLE);
        if let UdfError::Crashed(crash) = &mut error
            && crash.stack.is_empty()
        {
            crash.stack = told::fatal_stack(&self.incoming.output.text());
        }
        self.with_output(error)
    }

    fn with_output(&mut self, mut error: UdfError) -> UdfError {
        self.incoming.output.take_in();
        let output = told::text(&self.incoming.output.text(), usize::MAX);
        match &mut error {
            UdfError::Raised(raised) => raised.output = output,
            UdfError::Crashed(crash) => crash.output = output,
            _ => {}
        }
        error
    }

    fn timed_out(&self) -> UdfError {
        let within = self.call_timeout.map(|it| format!(" within {it:?}"));
        UdfError::TimedOut {
            name: self.name.clone(),
            what: format!(
                "gave no answer{}; its session was ended",
                within.unwrap_or_default()
            ),
        }
    }

    /// Why the worker is gone: by its own last word, and by what was seen from outside.
    fn gone(&mut self) -> UdfError {
        let frames = self.incoming.last_frames();
        let crash = frames
            .iter()
            .find(|frame| frame.kind == kind::CRASHED)
            .and_then(|frame| told::crash(&frame.content).ok());
        let end = self.verdict();
        explained(&self.name, end, crash, self.rows)
    }

    /// How the sandbox ended; it is made to, if it has closed its socket and lives on.
    fn verdict(&mut self) -> Option<End> {
        let until = Instant::now() + GRACE;
        self.settle(GRACE);
        let left = until.saturating_duration_since(Instant::now());
        self.shared.lease.ended(left).or_else(|| {
            self.shared.lease.kill();
            self.shared.lease.ended(VERDICT)
        })
    }

    /// Takes in what is printed until that ends.
    fn settle(&mut self, patience: Duration) {
        self.incoming.output.settle(patience);
    }

    pub(crate) fn end(&mut self, why: &str) {
        if self.failure.is_none() {
            self.failure = Some(why.to_owned());
        }
        self.shared.shut();
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.shared.shut();
    }
}

/// Bounded by a second, which is far from any number's end.
fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(0)
}

fn violation(rule: &str) -> UdfError {
    UdfError::Protocol(rule.to_owned())
}

fn crashed(frame: &Frame) -> Broken {
    match told::crash(&frame.content) {
        Ok(crash) => UdfError::Crashed(Box::new(crash)).into(),
        Err(error) => error.into(),
    }
}

/// The answers to batches, in order; see [`Session::map`].
#[derive(Debug)]
pub struct Map<'a, I: Iterator> {
    session: &'a mut Session,
    batches: std::iter::Fuse<I>,
    waiting: VecDeque<Sent>,
}

impl<I> Iterator for Map<'_, I>
where
    I: Iterator<Item = Result<RecordBatch, ArrowError>>,
{
    type Item = Result<RecordBatch, UdfError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.waiting.len() < self.session.core.incoming.ahead() {
            match self.batches.next() {
                None => break,
                Some(Err(error)) => return Some(Err(UdfError::Input(error))),
                Some(Ok(batch)) => match self.session.send(&batch) {
                    Ok(sent) => self.waiting.push_back(sent),
                    Err(error) => return Some(Err(error)),
                },
            }
        }
        let sent = self.waiting.pop_front()?;
        self.session.core.set_deadline();
        Some(self.session.core.answer(sent))
    }
}

impl<I: Iterator> Drop for Map<'_, I> {
    fn drop(&mut self) {
        if !self.waiting.is_empty() {
            // The answers to what was sent ahead are nobody's now.
            self.session.core.end("its answers were not taken");
        }
    }
}

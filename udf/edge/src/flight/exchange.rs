//! One call: batches come as the engine sends them, answers go as it takes them. A thread
//! has the session, for that blocks; a client that goes ends it at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow_array::{ArrayRef, Int32Array, RecordBatch, StructArray};
use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_schema::{ArrowError, SchemaRef};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use lakekeep_udf_client::{Canceller, Kind, Session, UdfError};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::columns::fit;
use crate::flight::service::answers;
use crate::functions::Declared;
use crate::report::told;
use crate::sessions::{Pool, TakeError};

/// Most characters of an error: it travels in a header, of which C++ clients take 8 KiB.
const LONGEST: usize = 2000;

/// Batches that wait between the network and the session, each way.
const WAITING: usize = 1;

type Batches = Receiver<Result<RecordBatch, FlightError>>;
type Answers = Sender<Result<RecordBatch, FlightError>>;

/// The client has gone, or all is answered; whichever is first.
#[derive(Debug, Default)]
enum Call {
    /// It has no session yet.
    #[default]
    Waiting,
    /// This ends it.
    Running(Canceller),
    /// The client has gone.
    Gone,
    /// The session is another call's from now on.
    Over,
}

/// What the answer's stream and the session's thread have in common.
#[derive(Debug, Default)]
struct Shared(Mutex<Call>);

impl Shared {
    fn change<T>(&self, change: impl FnOnce(&mut Call) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Cancels the call when the stream of its answers is dropped before its end.
struct Hangup(Arc<Shared>);

impl Drop for Hangup {
    fn drop(&mut self) {
        self.0.change(|call| match call {
            Call::Running(canceller) => canceller.cancel(),
            Call::Waiting => *call = Call::Gone,
            Call::Gone | Call::Over => {}
        });
    }
}

/// Answers what comes.
pub fn start(
    pool: Arc<Pool>,
    patience: Duration,
    permit: OwnedSemaphorePermit,
    incoming: BoxStream<'static, Result<FlightData, Status>>,
) -> BoxStream<'static, Result<FlightData, Status>> {
    let (give, given) = channel(WAITING);
    let (answer, answered) = channel(WAITING);
    let shared = Arc::new(Shared::default());
    let hangup = Hangup(shared.clone());
    let schema = answers(&pool.declared);
    tokio::spawn(feed(incoming, give));
    tokio::task::spawn_blocking(move || {
        run(&pool, patience, &shared, given, &answer);
        drop(permit);
    });
    let answered = ReceiverStream::new(answered).inspect(move |_| {
        // It lives as long as the stream does.
        let _: &Hangup = &hangup;
    });
    FlightDataEncoderBuilder::new()
        .with_schema(schema)
        // One batch is answered by one: an engine counts its rows.
        .with_max_flight_data_size(usize::MAX)
        .build(answered)
        .map_err(Status::from)
        .boxed()
}

/// Decodes the client's batches, one ahead of the session.
async fn feed(
    incoming: BoxStream<'static, Result<FlightData, Status>>,
    give: Sender<Result<RecordBatch, FlightError>>,
) {
    // The C++ client sends messages without a header of Arrow's, which are no batch.
    let messages = incoming
        .try_filter(|data| std::future::ready(!data.data_header.is_empty()))
        .map_err(FlightError::from);
    let mut batches = FlightRecordBatchStream::new_from_flight_data(messages);
    while let Some(batch) = batches.next().await {
        // The session may be over already.
        if give.send(batch).await.is_err() {
            return;
        }
    }
}

fn run(pool: &Arc<Pool>, patience: Duration, shared: &Shared, given: Batches, answer: &Answers) {
    let mut leased = match pool.take(patience) {
        Ok(leased) => leased,
        Err(error) => return tell(answer, not_taken(&error)),
    };
    let Some((session, declared)) = leased.parts() else {
        return;
    };
    let canceller = session.canceller();
    let gone = shared.change(|call| match call {
        Call::Gone => true,
        _ => {
            *call = Call::Running(canceller);
            false
        }
    });
    if gone {
        return;
    }
    let done = serve(session, declared, given, answer);
    // Before the session is given back: a client that goes now cancels another's call.
    shared.change(|call| *call = Call::Over);
    if let Err(status) = done {
        tell(answer, status);
    }
}

/// Whoever asked may be gone.
fn tell(answer: &Answers, status: Status) {
    answer.blocking_send(Err(status.into())).ok();
}

fn serve(
    session: &mut Session,
    declared: &Declared,
    mut given: Batches,
    answer: &Answers,
) -> Result<(), Status> {
    let schema = answers(declared);
    while let Some(batch) = given.blocking_recv() {
        let batch = fit(&batch?, &declared.function.arguments).map_err(misfit)?;
        match declared.function.kind {
            Kind::Table => rows(session, &schema, &batch, answer)?,
            _ => {
                let answered = session.call(&batch).map_err(|error| failed(&error))?;
                send(answer, answered)?;
            }
        }
    }
    Ok(())
}

/// A table function is called for each row; what it answers is told with that row.
fn rows(
    session: &mut Session,
    schema: &SchemaRef,
    batch: &RecordBatch,
    answer: &Answers,
) -> Result<(), Status> {
    for row in 0..batch.num_rows() {
        for answered in session.stream([Ok(batch.slice(row, 1))]) {
            let answered = answered.map_err(|error| failed(&error))?;
            send(answer, of_row(schema, row, answered).map_err(misfit)?)?;
        }
    }
    Ok(())
}

fn of_row(
    schema: &SchemaRef,
    row: usize,
    answered: RecordBatch,
) -> Result<RecordBatch, ArrowError> {
    let row = i32::try_from(row).map_err(|_| ArrowError::ComputeError("too many rows".into()))?;
    let rows: ArrayRef = Arc::new(Int32Array::from(vec![row; answered.num_rows()]));
    let value: ArrayRef = match answered.columns() {
        [one] => one.clone(),
        _ => Arc::new(StructArray::from(answered)),
    };
    RecordBatch::try_new(schema.clone(), vec![rows, value])
}

fn send(answer: &Answers, batch: RecordBatch) -> Result<(), Status> {
    let sent = answer.blocking_send(Ok(batch));
    sent.map_err(|_| Status::cancelled("the client has gone"))
}

fn misfit(error: ArrowError) -> Status {
    Status::invalid_argument(error.to_string())
}

fn not_taken(error: &TakeError) -> Status {
    match error {
        TakeError::Busy { .. } => Status::resource_exhausted(error.to_string()),
        TakeError::Udf { error, .. } => failed(error),
    }
}

/// An error as the engine shows it: its beginning, and the end of what is longer.
fn failed(error: &UdfError) -> Status {
    let text = shortened(&format!("{}: {}", error.reason(), told(error)));
    match error {
        UdfError::OutOfMemory { .. } => Status::resource_exhausted(text),
        UdfError::TimedOut { .. } => Status::deadline_exceeded(text),
        UdfError::Cancelled => Status::cancelled(text),
        UdfError::Closed(_) | UdfError::Unavailable { .. } => Status::unavailable(text),
        UdfError::Crashed(_) | UdfError::Protocol(_) => Status::internal(text),
        _ => Status::invalid_argument(text),
    }
}

fn shortened(text: &str) -> String {
    let count = text.chars().count();
    if count <= LONGEST {
        return text.to_owned();
    }
    let (head, tail) = (LONGEST / 2, LONGEST / 2);
    let begin: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(count - tail).collect();
    format!("{begin}\n[...]\n{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_error_keeps_its_beginning_and_its_end() {
        let text = format!("first {} last", "é".repeat(9000));
        let short = shortened(&text);
        assert!(short.starts_with("first") && short.ends_with("last"));
        assert!(short.chars().count() < LONGEST + 10);
        assert_eq!(shortened("short"), "short");
    }
}

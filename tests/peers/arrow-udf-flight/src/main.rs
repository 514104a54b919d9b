//! Calls user functions with RisingWave's own client, for tests in another language:
//!
//! ```text
//! arrow-udf-flight-peer ADDRESS list               names, a line each
//! arrow-udf-flight-peer ADDRESS get NAME           the arguments, a line, the results
//! arrow-udf-flight-peer ADDRESS call NAME          a stream of Arrow in, one batch out
//! arrow-udf-flight-peer ADDRESS table NAME         the same, with a batch for each answer
//! ```
//!
//! Batches come and go as Arrow streams on standard input and output. What fails is told on
//! standard error, and ends with code 1; what was asked wrongly, with 2.

use std::io::{BufReader, BufWriter, Write};
use std::pin::pin;
use std::process::ExitCode;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, Schema};
use arrow_udf_flight::Client;
use futures_util::TryStreamExt;

const USAGE: &str = "arrow-udf-flight-peer ADDRESS list | get NAME | call NAME | table NAME";

#[derive(Debug, thiserror::Error)]
enum PeerError {
    #[error("usage: {USAGE}")]
    Usage,
    #[error("the client failed: {0}")]
    Client(#[from] arrow_udf_flight::Error),
    #[error("a stream of Arrow: {0}")]
    Arrow(#[from] ArrowError),
    #[error("standard output: {0}")]
    Output(#[from] std::io::Error),
    #[error("standard input has no batch")]
    NoInput,
    #[error("the function answered no batch")]
    NoAnswer,
}

/// What is asked of a server.
enum Wanted {
    List,
    Get(String),
    Call(String),
    Table(String),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(if matches!(error, PeerError::Usage) {
                2
            } else {
                1
            })
        }
    }
}

fn run() -> Result<(), PeerError> {
    let (address, wanted) = asked(std::env::args().skip(1))?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build()?;
    runtime.block_on(async {
        let client = Client::connect(address).await?;
        match wanted {
            Wanted::List => list(&client).await,
            Wanted::Get(name) => get(&client, &name).await,
            Wanted::Call(name) => answer(&[client.call(&name, &given()?).await?]),
            Wanted::Table(name) => answer(&table(&client, &name).await?),
        }
    })
}

fn asked(mut words: impl Iterator<Item = String>) -> Result<(String, Wanted), PeerError> {
    let mut word = || words.next().ok_or(PeerError::Usage);
    let address = word()?;
    let wanted = match word()?.as_str() {
        "list" => Wanted::List,
        "get" => Wanted::Get(word()?),
        "call" => Wanted::Call(word()?),
        "table" => Wanted::Table(word()?),
        _ => return Err(PeerError::Usage),
    };
    match words.next() {
        None => Ok((address, wanted)),
        Some(_) => Err(PeerError::Usage),
    }
}

async fn list(client: &Client) -> Result<(), PeerError> {
    for function in client.list().await? {
        writeln!(std::io::stdout(), "{}", function.name)?;
    }
    Ok(())
}

async fn get(client: &Client, name: &str) -> Result<(), PeerError> {
    let version = client.protocol_version();
    let function = client.get(name).await?;
    let mut out = std::io::stdout();
    writeln!(out, "version {version}")?;
    writeln!(out, "arguments {}", told(&function.args))?;
    Ok(writeln!(out, "results {}", told(&function.returns))?)
}

fn told(schema: &Schema) -> String {
    let columns = schema.fields().iter();
    let columns = columns.map(|field| format!("{} {}", field.name(), field.data_type()));
    columns.collect::<Vec<_>>().join(", ")
}

async fn table(client: &Client, name: &str) -> Result<Vec<RecordBatch>, PeerError> {
    let input = given()?;
    let batches = pin!(client.call_table_function(name, &input).await?);
    Ok(batches.try_collect().await?)
}

/// The one batch that comes on standard input.
fn given() -> Result<RecordBatch, PeerError> {
    let mut batches = StreamReader::try_new(BufReader::new(std::io::stdin()), None)?;
    Ok(batches.next().ok_or(PeerError::NoInput)??)
}

fn answer(batches: &[RecordBatch]) -> Result<(), PeerError> {
    let schema = batches.first().ok_or(PeerError::NoAnswer)?.schema();
    let mut out = StreamWriter::try_new(BufWriter::new(std::io::stdout()), &schema)?;
    for batch in batches {
        out.write(batch)?;
    }
    out.finish()?;
    Ok(out.into_inner()?.flush()?)
}

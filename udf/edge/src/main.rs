//! `lakekeep-udf`: user functions in sandboxes, for engines that call them over protocols of
//! their own. A program of its own, beside `lakekeep`, which becomes it.

mod columns;
mod flight;
mod functions;
mod report;
mod sessions;
mod spark;
mod stdio;
mod types;

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use lakekeep_udf_client::{Broker, Kind};

use crate::flight::Listen;
use crate::sessions::Sessions;

/// As `lakekeep` exits when it fails itself.
const OWN_FAILURE: u8 = 125;

/// Call user functions in sandboxes, from engines with protocols of their own.
#[derive(Debug, Parser)]
#[command(name = "lakekeep-udf", version, about)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// For whom.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Answer blocks of ClickHouse's on standard input: one function, until that ends.
    Stdio(StdioArgs),
    /// Serve Arrow Flight to RisingWave and Databend, until told to end.
    Flight(FlightArgs),
    /// Be a worker of Spark's: it starts this program, and ends it.
    Spark(spark::SparkArgs),
}

/// What every edge needs.
#[derive(Debug, Args)]
struct Common {
    /// The functions (TOML).
    #[arg(long, value_name = "FILE")]
    functions: PathBuf,
    /// The program that makes the sandboxes; the one beside this program if left out.
    #[arg(long, value_name = "PROGRAM")]
    lakekeep: Option<PathBuf>,
}

/// Arguments of `stdio`.
#[derive(Debug, Args)]
struct StdioArgs {
    #[command(flatten)]
    common: Common,
    /// Which of the functions.
    #[arg(long, value_name = "NAME")]
    function: String,
    /// A line with the count of rows comes before each block (send_chunk_header).
    #[arg(long)]
    chunk_header: bool,
}

/// Arguments of `flight`.
#[derive(Debug, Args)]
struct FlightArgs {
    #[command(flatten)]
    common: Common,
    /// Where.
    #[arg(long, value_name = "ADDRESS:PORT|unix:PATH")]
    listen: Listen,
    /// Listen where other machines reach it; nobody is asked who they are.
    #[arg(long)]
    allow_remote: bool,
    /// Calls that are answered at once.
    #[arg(long, value_name = "N", default_value_t = 64)]
    calls: usize,
    /// Only read the functions and say what is wrong with them.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Stdio(arguments) => stdio(&arguments),
        Verb::Flight(arguments) => flight(&arguments),
        Verb::Spark(arguments) => spark::run(arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lakekeep-udf: error: {}", report::told(error.as_ref()));
            ExitCode::from(OWN_FAILURE)
        }
    }
}

impl Common {
    fn broker(&self) -> Result<Broker, Box<dyn Error>> {
        let program = match (&self.lakekeep, std::env::var_os("LAKEKEEP_SOCKET")) {
            (Some(program), _) => program.clone(),
            // A manager's: functions have their socket beside its API's.
            (None, Some(mut socket)) => {
                socket.push(".udf");
                return Ok(Broker::connect(socket)?);
            }
            (None, None) => std::env::current_exe()?.with_file_name("lakekeep"),
        };
        Ok(Broker::start(program)?)
    }
}

fn stdio(arguments: &StdioArgs) -> Result<(), Box<dyn Error>> {
    let declared = functions::read(&arguments.common.functions)?;
    let name = &arguments.function;
    let mut found = declared.into_iter().filter(|it| it.function.name == *name);
    let Some(found) = found.next() else {
        let file = arguments.common.functions.display();
        return Err(format!("{file} has no function {name:?}").into());
    };
    if found.function.kind == Kind::Table {
        return Err(format!("{name}: a block is answered by as many rows; no tables").into());
    }
    let sessions = Sessions::new(arguments.common.broker()?, vec![found]);
    if let Some(pool) = sessions.get(name) {
        let (input, output) = (io::stdin().lock(), io::stdout().lock());
        stdio::serve(pool, input, output, arguments.chunk_header)?;
    }
    Ok(())
}

fn flight(arguments: &FlightArgs) -> Result<(), Box<dyn Error>> {
    let declared = functions::read(&arguments.common.functions)?;
    if arguments.check {
        return Ok(());
    }
    let sessions = Sessions::new(arguments.common.broker()?, declared);
    let calls = arguments.calls.max(1);
    flight::serve(&arguments.listen, arguments.allow_remote, sessions, calls)?;
    Ok(())
}

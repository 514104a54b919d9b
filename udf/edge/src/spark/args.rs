//! What `lakekeep udf-worker` is told: by whoever sets the engine up, and by the engine.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use lakekeep_policy::{Bytes, Cpus, parse_duration};
use lakekeep_udf_client::{Environment, Limits, Options};

use super::serve::{Settings, serve};

/// Arguments of `spark`. Spark appends `--id` and `--connection` to what its worker
/// specification says.
#[derive(Debug, Args)]
pub struct SparkArgs {
    /// The engine's name of this worker, for the audit log.
    #[arg(long, value_name = "ID")]
    id: String,
    /// Where to listen: the path of a Unix socket that there is not yet, at most 107 bytes.
    #[arg(long, value_name = "PATH")]
    connection: PathBuf,
    /// The functions' Python: absolute; it has pyarrow and cloudpickle.
    #[arg(long, value_name = "PATH", default_value = "/usr/bin/python3")]
    interpreter: PathBuf,
    /// Import this before any function arrives; pyarrow is imported anyway.
    #[arg(long, value_name = "NAME")]
    module: Vec<String>,
    /// The program that makes the sandboxes; the one beside this program if left out.
    #[arg(long, value_name = "PROGRAM")]
    lakekeep: Option<PathBuf>,
    /// Memory of each function, such as 512M.
    #[arg(long, value_name = "BYTES")]
    memory: Option<Bytes>,
    /// Processors of each function, such as 0.5.
    #[arg(long, value_name = "N")]
    cpus: Option<Cpus>,
    /// Longest that a function may take for one batch, such as 30s.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// Longest that a function may live, such as 1h.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    session_timeout: Option<Duration>,
    /// Longest that a function may take to be ready; Spark waits for 30 s.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "25s")]
    open_timeout: Duration,
    /// For whom the functions run.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The profile whose policy holds.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Who wrote the functions, where that is not the user.
    #[arg(long, value_name = "NAME")]
    code_owner: Option<String>,
    /// Functions that run at once, 1 to 1024.
    #[arg(long, value_name = "N", default_value_t = 64)]
    max_sessions: usize,
    /// Most of a serialised function.
    #[arg(long, value_name = "BYTES", default_value = "64M")]
    max_payload: Bytes,
}

/// Works until the engine has it end.
///
/// # Errors
/// What keeps it from working, and what to do about it.
pub fn run(arguments: SparkArgs) -> Result<(), Box<dyn Error>> {
    Ok(serve(arguments.settings()?)?)
}

impl SparkArgs {
    fn settings(self) -> Result<Settings, Box<dyn Error>> {
        if !self.interpreter.is_absolute() {
            let path = self.interpreter.display();
            return Err(format!("--interpreter {path}: give an absolute path").into());
        }
        let program = match self.lakekeep {
            Some(program) => program,
            None => std::env::current_exe()?.with_file_name("lakekeep"),
        };
        let mut environment = Environment::of(self.interpreter);
        environment.modules.extend(self.module);
        let limits = Limits {
            memory: self.memory.map(|bytes| bytes.0),
            cpu: self.cpus.map(|cpus| f64::from(cpus.millis()) / 1000.0),
            wall_time_ms: self
                .session_timeout
                .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        };
        Ok(Settings {
            id: self.id,
            connection: self.connection,
            program,
            environment,
            options: Options {
                limits,
                user: self.user,
                profile: self.profile,
                code_owner: self.code_owner,
                open_timeout: self.open_timeout,
                call_timeout: self.timeout,
                ..Options::default()
            },
            max_sessions: self.max_sessions,
            max_payload: self.max_payload.0,
        })
    }
}

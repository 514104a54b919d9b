//! The same of a manager: what an environment adds to a claim that a client asks for.

use std::process::{Command, Stdio};

use crate::args::{AttachArgs, Ready};
use crate::error::BenchError;
use crate::ground::Ground;
use crate::managed::{self, Managed, Server};
use crate::measure::Sample;
use crate::peers::find;

/// One of each shape is ready at a time.
const READY: usize = 1;

/// The manager's own, and that of sandboxes on the host's image.
const SHAPES: usize = 2;

/// A manager that has the environment, and sandboxes ready that have not.
pub struct Stock {
    // Dropped first: connections end before the manager.
    manager: Managed,
    environment: String,
    clock: String,
    _server: Server,
}

impl Stock {
    /// Starts it, sends it the environment, and has it learn what to make ahead.
    pub fn fill(ground: &Ground, arguments: &AttachArgs) -> Result<Self, BenchError> {
        let server = Server::start(&find::lakekeep(&arguments.programs)?, ground, READY)?;
        let ready = Ready {
            parked: SHAPES * READY,
            ..Ready::default()
        };
        let manager = Managed::connect(ground, server.folder(), &ready)?;
        let stock = Self {
            environment: push(&manager, arguments)?,
            manager,
            clock: format!("{}{}", managed::GUESTS, Ground::clock()),
            _server: server,
        };
        stock.claim(false)?;
        Ok(stock)
    }

    /// From the request until the program inside says the time, of a stock that is full.
    pub fn claim(&self, dressed: bool) -> Result<Sample, BenchError> {
        let mut create = managed::create(managed::HOST);
        if dressed {
            create = create.environment(&self.environment);
        }
        let sample = self.manager.claim_of(create, &self.clock)?;
        self.manager.settle()?;
        Ok(sample)
    }
}

/// Sends the environment from its store; its digest there.
fn push(manager: &Managed, arguments: &AttachArgs) -> Result<String, BenchError> {
    let program = find::lakekeep(&arguments.programs)?;
    let output = Command::new(&program)
        .args(["env", "push"])
        .arg(arguments.environment.to_string())
        .env("LAKEKEEP_STORE", &arguments.store)
        .env("LAKEKEEP_SOCKET", manager.socket())
        .stdin(Stdio::null())
        .output()
        .map_err(BenchError::file("execute", &program))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if !output.status.success() {
        return Err(BenchError::Failed {
            program: "lakekeep env push".to_owned(),
            status: output.status.to_string(),
            words: said(&output.stderr),
        });
    }
    Ok(said(&output.stdout))
}

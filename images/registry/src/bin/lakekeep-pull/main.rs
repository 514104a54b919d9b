//! `lakekeep-pull`: images from registries. A program of its own, beside `lakekeep`, which becomes it: it alone
//! speaks to strangers over the network, and it gives up all its capabilities before.

mod args;
mod bars;

use std::error::Error;
use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;

use clap::Parser;
use lakekeep_images::{ImageError, Library};
use lakekeep_registry::{
    Credentials, Keychain, Options, Progress, PullError, Pulled, Settings, SettingsError, pull,
};
use lakekeep_unpack::Limits;
use rustix::io::Errno;
use serde_json::json;
use zeroize::Zeroizing;

use crate::args::Cli;
use crate::bars::{Bars, Silent};

/// As `lakekeep` exits when it fails itself.
const OWN_FAILURE: u8 = 125;

/// Bytes of a password.
const MAX_PASSWORD: u64 = 64 << 10;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("this process cannot give up its rights before it asks a registry")]
    Rights(#[source] Errno),
    #[error("there is no place for the image store: HOME is not set; name one with --store DIR")]
    NoPlace,
    #[error("the password cannot be read from standard input")]
    Password(#[source] std::io::Error),
    #[error("the password on standard input has more than 64 KiB, or is not UTF-8")]
    NoPassword,
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Pull(#[from] PullError),
    #[error("standard output cannot be written to")]
    Output(#[source] std::io::Error),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Where it cannot be printed either, the code alone tells.
            error.print().ok();
            return match error.use_stderr() {
                true => ExitCode::from(OWN_FAILURE),
                false => ExitCode::SUCCESS,
            };
        }
    };
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&cli, "error", &chain(&error));
            ExitCode::from(OWN_FAILURE)
        }
    }
}

fn run(cli: &Cli) -> Result<(), Failure> {
    // There is one thread, and nothing of a stranger's was read yet.
    lakekeep_images::give_up_rights().map_err(Failure::Rights)?;
    let options = options(cli)?;
    let place = lakekeep_images::store_place(cli.store.as_deref()).ok_or(Failure::NoPlace)?;
    let library = Library::open(&place, Limits::default())?;
    if options.plain_http {
        let warning = "warning: --plain-http: everybody on the way can read what is sent, credentials among it";
        say(cli, "warning", warning);
    }
    let bars = (!cli.quiet && !cli.json && std::io::stderr().is_terminal()).then(Bars::new);
    let progress: &dyn Progress = match &bars {
        Some(bars) => bars,
        None => &Silent,
    };
    let pulled = pull(&library, &cli.image, &options, progress)?;
    drop(bars);
    print(cli, &pulled)
}

fn options(cli: &Cli) -> Result<Options, Failure> {
    let settings = match cli.config_file() {
        Some(file) => Settings::open(&file)?,
        None => Settings::default(),
    };
    let mut keychain = Keychain::new(cli.docker_config_file());
    if let Some(user) = &cli.username {
        let credentials = Credentials::Password {
            user: user.clone(),
            password: password()?,
        };
        keychain.give(&lakekeep_registry::key_of(&cli.image)?, credentials);
    }
    Ok(Options {
        settings,
        mirrors: cli.mirrors.clone(),
        ca_file: cli.ca_file.clone(),
        plain_http: cli.plain_http,
        keychain,
        limits: cli.limits(),
    })
}

fn password() -> Result<Zeroizing<String>, Failure> {
    let mut bytes = Zeroizing::new(Vec::new());
    std::io::stdin()
        .lock()
        .take(MAX_PASSWORD + 1)
        .read_to_end(&mut bytes)
        .map_err(Failure::Password)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Failure::NoPassword)?;
    if bytes.len() as u64 > MAX_PASSWORD {
        return Err(Failure::NoPassword);
    }
    Ok(Zeroizing::new(
        text.trim_end_matches(['\n', '\r']).to_owned(),
    ))
}

fn print(cli: &Cli, pulled: &Pulled) -> Result<(), Failure> {
    let text = if cli.json {
        json!({
            "name": pulled.name,
            "digest": pulled.digest.to_string(),
            "layers": pulled.layers,
            "fetched_layers": pulled.fetched_layers,
            "fetched_bytes": pulled.fetched_bytes,
        })
        .to_string()
    } else {
        format!("{}\t{}", pulled.name, pulled.digest)
    };
    writeln!(std::io::stdout(), "{text}").map_err(Failure::Output)
}

/// One message on standard error. Words of strangers in it were cleaned where they were read; here once more.
fn say(cli: &Cli, level: &str, text: &str) {
    let line = if cli.json {
        json!({ "level": level, "message": text }).to_string()
    } else {
        let lines: Vec<String> = text.lines().map(visible).collect();
        format!("lakekeep: {}", lines.join("\n"))
    };
    // There is nobody else to tell.
    writeln!(std::io::stderr(), "{line}").ok();
}

fn visible(line: &str) -> String {
    line.chars().filter(|letter| !letter.is_control()).collect()
}

/// An error and its causes.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        // A transparent error is its cause.
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        next = error.source();
    }
    text
}

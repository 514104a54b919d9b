//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use lakekeep_registry::{Endpoint, Limits};

/// Bytes of a MiB.
const MIB: u64 = 1 << 20;

/// Get an image from a registry.
///
/// Only what is not there yet is fetched, and what was interrupted is gone on with. Every byte is
/// proven by the digest that the image's manifest has for it, whoever it comes from.
#[derive(Debug, Parser)]
#[command(name = "lakekeep-pull", bin_name = "lakekeep image pull", version)]
pub struct Cli {
    /// The image: [REGISTRY/]REPOSITORY[:TAG], or REPOSITORY@sha256:…
    #[arg(value_name = "NAME")]
    pub image: String,

    /// The folder of the image store. Without it: LAKEKEEP_STORE, else
    /// /var/lib/lakekeep/store for root and ~/.local/share/lakekeep/store for others.
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,

    /// Log in to the image's registry as this user, for this once.
    #[arg(long, value_name = "NAME", requires = "password_stdin")]
    pub username: Option<String>,

    /// Read the user's password, or a token in its place, from standard input.
    #[arg(long, requires = "username")]
    pub password_stdin: bool,

    /// Docker's configuration, with logins and credential helpers. Without it:
    /// $DOCKER_CONFIG/config.json, else ~/.docker/config.json.
    #[arg(long, value_name = "FILE")]
    pub docker_config: Option<PathBuf>,

    /// Ask this mirror before the registry (repeat for several, the first one first).
    #[arg(long = "mirror", value_name = "[https://]HOST[:PORT][/PREFIX]")]
    pub mirrors: Vec<Endpoint>,

    /// Certificate authorities of the registry, besides the system's (PEM).
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// Speak HTTP without TLS to the registry: everybody on the way can read what is sent.
    #[arg(long)]
    pub plain_http: bool,

    /// Mirrors and authorities of this host (TOML). Without it: LAKEKEEP_REGISTRIES, else
    /// ~/.config/lakekeep/registries.toml, else /etc/lakekeep/registries.toml.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Layers that are fetched at the same time.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub parallel: u8,

    /// Give up when one thing was asked for so often without progress.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub attempts: u32,

    /// Take no image whose layers have more than this together, compressed, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 65_536, value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    pub max_size: u64,

    /// How long all of it may take.
    #[arg(long, value_name = "TIME", default_value = "6h", value_parser = time)]
    pub timeout: Duration,

    /// How long a connection may take.
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = time)]
    pub connect_timeout: Duration,

    /// How long nothing may come.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub idle_timeout: Duration,

    /// Show no progress.
    #[arg(long, short)]
    pub quiet: bool,

    /// Write the answer and messages as JSON.
    #[arg(long)]
    pub json: bool,
}

impl Cli {
    pub fn limits(&self) -> Limits {
        Limits {
            connect: self.connect_timeout,
            idle: self.idle_timeout,
            time: self.timeout,
            bytes: self.max_size.saturating_mul(MIB),
            parallel: usize::from(self.parallel),
            attempts: self.attempts,
        }
    }

    /// The first of them that is there; one that is named must be.
    pub fn config_file(&self) -> Option<PathBuf> {
        let named = self.config.clone();
        let named = named.or_else(|| variable("LAKEKEEP_REGISTRIES").map(PathBuf::from));
        let folders = [
            variable("XDG_CONFIG_HOME").map(PathBuf::from),
            variable("HOME").map(|home| PathBuf::from(home).join(".config")),
            Some(PathBuf::from("/etc")),
        ];
        let files = folders
            .into_iter()
            .flatten()
            .map(|folder| folder.join("lakekeep/registries.toml"));
        named.or_else(|| files.into_iter().find(|file| file.exists()))
    }

    pub fn docker_config_file(&self) -> Option<PathBuf> {
        let named = self.docker_config.clone();
        let folder = variable("DOCKER_CONFIG").map(PathBuf::from);
        let home = || variable("HOME").map(|home| PathBuf::from(home).join(".docker"));
        named.or_else(|| {
            folder
                .or_else(home)
                .map(|folder| folder.join("config.json"))
        })
    }
}

fn variable(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    // Longer ones cannot be added to a moment.
    let most = Duration::from_secs(30 * 24 * 60 * 60);
    if time.is_zero() || time > most {
        return Err("write a time above 0 and up to 30d, such as 30s".to_owned());
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_table_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_help() {
        for argument in Cli::command().get_arguments() {
            assert!(argument.get_help().is_some(), "{}", argument.get_id());
        }
    }
}

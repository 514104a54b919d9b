//! `lakekeep image` and `lakekeep store`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use lakekeep_policy::Bytes;

use super::Format;

/// Where images are.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// The folder of the image store. Without it: LAKEKEEP_STORE, else
    /// /var/lib/lakekeep/store for root and ~/.local/share/lakekeep/store for others.
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
}

/// What to do with images.
#[derive(Debug, Subcommand)]
pub enum ImageVerb {
    /// Load the images of an OCI layout folder, or of an archive that `docker save` wrote.
    Load(LoadArgs),
    /// Get an image from a registry.
    ///
    /// `lakekeep image pull --help` tells more. Needs lakekeep-pull beside this program.
    #[command(disable_help_flag = true)]
    Pull {
        /// Arguments of lakekeep-pull.
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARG"
        )]
        arguments: Vec<OsString>,
    },
    /// List the images of the store.
    Ls(ListArgs),
    /// Show what an image is made of and how it wants to be run.
    Inspect(ImageArgs),
    /// Forget an image's name; `gc` then frees its space.
    Rm(RemoveArgs),
    /// Remove images that were not used for some time, and what nothing leads to.
    Prune(PruneArgs),
    /// Remove what nothing leads to, and images until the rest fits into a size.
    Gc(GcArgs),
}

/// `lakekeep image load`
#[derive(Debug, Args)]
pub struct LoadArgs {
    #[command(flatten)]
    pub store: StoreArgs,

    /// The name to give to the one image that is loaded.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// An OCI layout folder, or an archive: plain, gzip or zstd.
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
}

/// `lakekeep image ls`
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub store: StoreArgs,

    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// `lakekeep image inspect`
#[derive(Debug, Args)]
pub struct ImageArgs {
    #[command(flatten)]
    pub store: StoreArgs,

    /// The image.
    #[arg(value_name = "NAME|DIGEST")]
    pub image: String,
}

/// `lakekeep image rm`
#[derive(Debug, Args)]
pub struct RemoveArgs {
    #[command(flatten)]
    pub store: StoreArgs,

    /// The images.
    #[arg(value_name = "NAME", required = true)]
    pub images: Vec<String>,
}

/// `lakekeep image prune`
#[derive(Debug, Args)]
pub struct PruneArgs {
    #[command(flatten)]
    pub store: StoreArgs,

    /// Keep images that were loaded or run within this time, such as 720h.
    #[arg(long, value_name = "TIME", value_parser = super::time)]
    pub unused_for: Duration,
}

/// `lakekeep image gc`
#[derive(Debug, Args)]
pub struct GcArgs {
    #[command(flatten)]
    pub store: StoreArgs,

    /// Keep at most this much; of more, the images that were used longest ago go.
    #[arg(long, value_name = "BYTES")]
    pub keep: Option<Bytes>,
}

/// What to do with the store itself.
#[derive(Debug, Subcommand)]
pub enum StoreVerb {
    /// Read everything through, images and environments, and set aside what is damaged.
    Fsck(StoreArgs),
    /// Remove what no image needs; and, where it is said how much may stay, the images and
    /// environments that were not used for longest. What is in use stays.
    Gc(StoreGcArgs),
}

/// `lakekeep store gc`
#[derive(Debug, Args)]
pub struct StoreGcArgs {
    #[command(flatten)]
    pub store: StoreArgs,

    /// What images may keep.
    #[arg(long, value_name = "BYTES")]
    pub images: Option<Bytes>,

    /// What environments may keep, each content counted once.
    #[arg(long, value_name = "BYTES")]
    pub environments: Option<Bytes>,
}

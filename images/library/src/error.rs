//! What can go wrong with images.

use lakekeep_content::{ContentError, Digest};
use lakekeep_oci::{DocumentError, NotAReference};
use lakekeep_unpack::{MergeError, UnpackError};
use rustix::io::Errno;

/// An image could not be loaded, found or removed. Of what could not be loaded nothing has a name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The store says no.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A document of the image is wrong.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A layer was refused.
    #[error("layer {number} of the image ({digest}) was not unpacked")]
    Layer {
        /// Which one, from 1, the lowest first.
        number: usize,
        /// Its digest.
        digest: Digest,
        /// Why not.
        #[source]
        error: Box<UnpackError>,
    },
    /// The layers could not be laid over each other.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// The file is no archive of images.
    #[error("{path} was not read as an archive of images")]
    Archive {
        /// Which file.
        path: String,
        /// Why not.
        #[source]
        error: Box<UnpackError>,
    },
    /// It cannot be opened.
    #[error(
        "cannot open {path}; name an OCI layout folder, or an archive that `docker save` wrote"
    )]
    Open {
        /// What was to be opened.
        path: String,
        /// Why not.
        #[source]
        errno: Errno,
    },
    /// It holds no images, or not what it says.
    #[error("{path} {why}; name an OCI layout folder, or an archive that `docker save` wrote")]
    NotImages {
        /// Which file or folder.
        path: String,
        /// A sentence without its subject.
        why: String,
    },
    /// Indexes lead to indexes, and to no image.
    #[error("its index leads to an index, and so on, more than {most} times; it was built wrongly")]
    Nested {
        /// How often is followed.
        most: usize,
    },
    /// It has another length than it should.
    #[error("{digest} has {found} bytes, and {wanted} were said; get the image again")]
    Size {
        /// What it is.
        digest: Digest,
        /// What its descriptor says.
        wanted: u64,
        /// What it has.
        found: u64,
    },
    /// Nothing in it runs on this machine.
    #[error("the image is for {found}, and this machine runs {wanted}; get the one for {wanted}")]
    Platform {
        /// What it is for.
        found: String,
        /// What is needed.
        wanted: String,
    },
    /// Its configuration has another number of layers than its manifest.
    #[error(
        "the image's configuration names {named} layers and its manifest {listed}; it was built wrongly"
    )]
    Layers {
        /// Diff IDs.
        named: usize,
        /// Layers.
        listed: usize,
    },
    /// An image comes without a name.
    #[error("the image in {path} has no name; give one with --name NAME")]
    NoName {
        /// Where it is.
        path: String,
    },
    /// One name for several images.
    #[error("{path} holds {count} images; load them without --name, or one at a time")]
    Several {
        /// Where they are.
        path: String,
        /// How many.
        count: usize,
    },
    /// A text is no name.
    #[error("{text:?}: {source}")]
    Name {
        /// The text.
        text: String,
        /// Why not.
        source: NotAReference,
    },
    /// There is no such image.
    #[error(
        "there is no image {name}; get it (`lakekeep image pull {name}`, or `lakekeep image load` from a \
         file), or see `lakekeep image ls`"
    )]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// It could not be had from where it is.
    #[error(transparent)]
    Source(Box<dyn std::error::Error + Send + Sync>),
    /// A sandbox runs on it.
    #[error("{name} is in use by a sandbox; end that first")]
    InUse {
        /// Which image.
        name: String,
    },
}

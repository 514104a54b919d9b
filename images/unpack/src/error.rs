//! Why a layer is refused.

use std::io;

use lakekeep_content::Digest;
use rustix::io::Errno;

/// A layer was not unpacked. What was made of it is in the folder that it was unpacked to, and
/// must be dropped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The archive has something in it that is not taken.
    #[error("the layer's entry {number}, {entry:?}, {why}; use an image from another builder")]
    Refused {
        /// Which entry, from 1.
        number: u64,
        /// Its name, as far as it is known.
        entry: String,
        /// Why not.
        why: Refusal,
    },
    /// The layer does not decompress.
    #[error("the layer cannot be decompressed as {format}; get it again")]
    Compression {
        /// `gzip` or `zstd`.
        format: &'static str,
        /// What the decompressor says.
        #[source]
        error: io::Error,
    },
    /// The layer cannot be read.
    #[error("the layer cannot be read")]
    Source(#[source] io::Error),
    /// More comes out than is taken.
    #[error(
        "the layer has more than {most} bytes when it is decompressed; raise the limit if it may"
    )]
    TooLarge {
        /// Bytes that are allowed.
        most: u64,
    },
    /// It is a bomb.
    #[error(
        "the layer grows to more than {ratio} times its compressed size; raise the limit if it may"
    )]
    Ratio {
        /// Bytes out of one that are allowed.
        ratio: u64,
    },
    /// The content is not what the image's configuration says.
    #[error(
        "the layer's content has the digest {found}, and the image's configuration says {wanted}"
    )]
    WrongDiffId {
        /// What the configuration says.
        wanted: Digest,
        /// What was unpacked.
        found: Digest,
    },
    /// A call to the kernel failed.
    #[error(
        "cannot {operation} the layer's entry {entry:?}; check space and permissions of the store"
    )]
    Kernel {
        /// What was tried, such as `make`.
        operation: &'static str,
        /// On which entry.
        entry: String,
        /// Why not.
        #[source]
        errno: Errno,
    },
}

/// Layers could not be laid over each other.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path:?} of the image; check space and permissions of the store")]
pub struct MergeError {
    /// What was tried.
    pub operation: &'static str,
    /// On what: a path below the image's root.
    pub path: String,
    /// Why not.
    #[source]
    pub errno: Errno,
}

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The archive ends within it.
    #[error("is cut off")]
    Truncated,
    /// There is something behind the archive's end.
    #[error("is followed by something that is no part of the archive")]
    TrailingGarbage,
    /// A field of the header cannot be read.
    #[error("has a header whose {field} is {found}")]
    BadField {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        found: &'static str,
    },
    /// An extended header is none.
    #[error("has an extended header in which {0}")]
    BadPax(&'static str),
    /// Two headers say different things, or the same one twice.
    #[error("says its {0} twice")]
    Twice(&'static str),
    /// Headers that apply to an entry are followed by none.
    #[error("is an extended header for no entry")]
    HeaderForNothing,
    /// A global header changes how all entries are read.
    #[error("is a global header that sets {0:?} for all entries")]
    GlobalHeader(String),
    /// It is a file with holes.
    #[error("is a sparse file, in a form that has several readings")]
    Sparse,
    /// A kind that is not known.
    #[error("is of the unknown kind {0:?}")]
    UnknownKind(char),
    /// A device.
    #[error("is a device")]
    Device,
    /// A pipe.
    #[error("is a pipe, which no image needs")]
    Pipe,
    /// Content where there can be none.
    #[error("has content, and is no file")]
    Content,
    /// It is named nothing.
    #[error("has no name")]
    NoName,
    /// It is named from the root on.
    #[error("has an absolute name")]
    Absolute,
    /// `..`
    #[error("has a name that leads upwards")]
    Upwards,
    /// A name that no file can have.
    #[error("has a name with a NUL in it")]
    Nul,
    /// A name that is too long.
    #[error("has a name longer than {0} bytes")]
    LongName(usize),
    /// Folders in folders.
    #[error("lies deeper than {0} folders")]
    Deep(usize),
    /// A file that is named like a folder.
    #[error("is no folder, and its name ends with a slash")]
    FolderName,
    /// Its parent is a link, or a file.
    #[error("lies below {0:?}, which is not a folder in this layer")]
    ParentNotFolder(String),
    /// It is there already.
    #[error("is in the layer twice")]
    Duplicate,
    /// A link without a target.
    #[error("is a link to nothing")]
    NoTarget,
    /// A hard link that leads out, upwards or through a link.
    #[error("is a hard link to {target:?}, which {why}")]
    BadTarget {
        /// Where it leads.
        target: String,
        /// What is wrong with that: a sentence without its subject.
        why: Box<Refusal>,
    },
    /// A hard link to what the layer does not have before it.
    #[error("is not in this layer before it")]
    NotBefore,
    /// A hard link to a folder.
    #[error("is a folder")]
    Folder,
    /// `.wh.` with something that cannot be removed, or of another kind than an empty file.
    #[error("is a malformed whiteout")]
    Whiteout,
    /// An extended attribute that would change how the layer is mounted.
    #[error("has the extended attribute {0:?}, which images must not set")]
    Attribute(String),
    /// Too many extended attributes.
    #[error("has more than {0} bytes of extended attributes")]
    Attributes(usize),
    /// A file that is too large.
    #[error("has more than {0} bytes")]
    LargeFile(u64),
    /// Too many entries.
    #[error("is more than the {0} entries that are allowed")]
    Entries(u64),
    /// Headers without end.
    #[error("has an extended header of more than {0} bytes")]
    LongHeader(u64),
}

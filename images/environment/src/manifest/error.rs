//! Why a manifest is refused.

use std::fmt;

use lakekeep_policy::{GuestPathError, printable};

use super::{MAX_ENTRIES, MAX_MANIFEST_BYTES, MAX_TOTAL_BYTES, MAX_TREES};

/// Most bytes of a refused line that are repeated to the reader.
const SHOWN: usize = 160;

/// A rule of the manifest that a line breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    pub(crate) line: usize,
    pub(crate) subject: String,
    pub(crate) rejection: Rejection,
}

/// The rules of a manifest, as what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// Longer than [`MAX_MANIFEST_BYTES`].
    #[error("the manifest is longer than {MAX_MANIFEST_BYTES} bytes")]
    TooLong,
    /// Not UTF-8.
    #[error("the manifest is not UTF-8 text")]
    NotText,
    /// The last line has no line feed.
    #[error("the manifest ends within a line")]
    Truncated,
    /// Another format, or a version that this program does not know.
    #[error("this is not an environment manifest of version 1")]
    Header,
    /// A line that has no place here: of a later or an unknown kind.
    #[error("a line of another kind is needed here: {0}")]
    Kind(&'static str),
    /// Too few or too many fields.
    #[error("the line has not the fields of its kind: {0}")]
    Fields(&'static str),
    /// A path's form.
    #[error(transparent)]
    Path(#[from] GuestPathError),
    /// A path within a tree starts with a slash.
    #[error("a path within a tree starts with \"/\"")]
    Absolute,
    /// A name, version or other word that is empty, too long, or holds control characters.
    #[error("the field {0} is empty, longer than 255 bytes, or holds a control character")]
    Word(&'static str),
    /// A digest's form.
    #[error("the digest is not 64 lower-case hexadecimal digits")]
    Digest,
    /// A size's form, or its amount.
    #[error("the size is not a number without leading zeros, of at most {MAX_TOTAL_BYTES}")]
    Size,
    /// Not after the line before it.
    #[error("the line does not come after the one before it in the order of the manifest")]
    Order,
    /// A folder that has no line.
    #[error("the entry's folder is not a folder of the tree")]
    NoParent,
    /// A place that belongs to the system inside.
    #[error("{0}, which no environment may provide")]
    Place(&'static str),
    /// A tree or file within another.
    #[error("the place is within another tree or file of the environment")]
    Nested,
    /// A link that leads out of the environment.
    #[error("the link leads out of the environment")]
    LinkOut,
    /// The interpreter is not among the files.
    #[error("the interpreter is not a file or link of the environment")]
    NoInterpreter,
    /// More entries than [`MAX_ENTRIES`].
    #[error("there are more than {MAX_ENTRIES} entries")]
    TooMany,
    /// More trees and files than [`MAX_TREES`].
    #[error("there are more than {MAX_TREES} trees and files")]
    TooManyTrees,
    /// More bytes than [`MAX_TOTAL_BYTES`].
    #[error("the files hold more than {MAX_TOTAL_BYTES} bytes together")]
    TooLarge,
}

impl Rejection {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Rejection::Header => "capture it with a lakekeep of this version",
            Rejection::TooLong
            | Rejection::TooMany
            | Rejection::TooManyTrees
            | Rejection::TooLarge => {
                "capture a smaller environment: one virtual environment for one purpose"
            }
            Rejection::Place(_) => "install the packages into a virtual environment",
            Rejection::LinkOut => "replace the link by what it leads to",
            Rejection::Path(error) => error.remedy(),
            _ => "capture the environment again: this manifest was changed or is damaged",
        }
    }
}

impl ManifestError {
    /// A line counted from one; 0 where the whole is meant.
    pub(crate) fn at(line: usize, subject: &str, rejection: Rejection) -> ManifestError {
        let mut end = subject.len().min(SHOWN);
        while !subject.is_char_boundary(end) {
            end -= 1;
        }
        ManifestError {
            line,
            subject: printable(&subject[..end]),
            rejection,
        }
    }

    /// The line, counted from one; 0 where no single line is wrong.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The line's text, safe to show, cut where it stops being helpful.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// What is wrong.
    pub fn rejection(&self) -> &Rejection {
        &self.rejection
    }
}

impl std::error::Error for ManifestError {}

/// `environment manifest, line 12, "d\u{9}../x": the path holds ".."; write …`
impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "environment manifest")?;
        if self.line > 0 {
            write!(f, ", line {}, \"{}\"", self.line, self.subject)?;
        }
        write!(f, ": {}; {}", self.rejection, self.rejection.remedy())
    }
}

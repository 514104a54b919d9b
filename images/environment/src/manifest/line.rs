//! Fields of one line.

use lakekeep_policy::GuestPath;

use super::{FileNode, MAX_TOTAL_BYTES, Rejection};
use crate::digest::{Digest, from_hex};

/// Longest word, in bytes: a name of the file system, which bounds those of distributions.
const MAX_WORD: usize = 255;

/// Exactly `N` fields after the kind.
pub(super) fn fields<'a, const N: usize>(
    rest: &'a str,
    what: &'static str,
) -> Result<[&'a str; N], Rejection> {
    let mut parts = rest.split('\t');
    let mut fields = [""; N];
    for field in &mut fields {
        *field = parts.next().ok_or(Rejection::Fields(what))?;
    }
    match parts.next() {
        None => Ok(fields),
        Some(_) => Err(Rejection::Fields(what)),
    }
}

/// A name, a version or the like.
pub(super) fn word(text: &str, what: &'static str) -> Result<String, Rejection> {
    let plain = !text.is_empty() && text.len() <= MAX_WORD && !text.contains(char::is_control);
    match plain {
        true => Ok(text.to_owned()),
        false => Err(Rejection::Word(what)),
    }
}

pub(super) fn path(text: &str) -> Result<GuestPath, Rejection> {
    Ok(GuestPath::new(text)?)
}

/// A path within a tree, as the whole path that it will be.
pub(super) fn beneath(root: &GuestPath, path: &str) -> Result<GuestPath, Rejection> {
    if path.starts_with('/') {
        return Err(Rejection::Absolute);
    }
    Ok(GuestPath::new(format!("{root}/{path}"))?)
}

pub(super) fn file(kind: &str, digest: &str, size: &str) -> Result<FileNode, Rejection> {
    Ok(FileNode {
        digest: self::digest(digest)?,
        size: self::size(size)?,
        executable: kind == "x",
    })
}

fn digest(text: &str) -> Result<Digest, Rejection> {
    from_hex(text).map_err(|_| Rejection::Digest)
}

/// A number has one spelling.
fn size(text: &str) -> Result<u64, Rejection> {
    let digits = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    let plain = digits && (text == "0" || !text.starts_with('0'));
    let number = text.parse().ok().filter(|size| *size <= MAX_TOTAL_BYTES);
    number.filter(|_| plain).ok_or(Rejection::Size)
}

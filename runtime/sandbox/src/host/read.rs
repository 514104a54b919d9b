//! Bounded reads of kernel files and of small files in /etc.

use std::str::FromStr;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::ProbeError;

/// A sysctl, an id map, a list of words.
pub(crate) const LINE: usize = 16 << 10;
/// A list of mounts, /etc/passwd, /etc/subuid.
pub(super) const LONG: usize = 16 << 20;

/// The whole text of a file; `None` where it does not exist.
pub(crate) fn read(path: &str, limit: usize) -> Result<Option<String>, ProbeError> {
    match bytes(path, limit) {
        Ok(Some(bytes)) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Ok(None) => Err(ProbeError::TooLong {
            path: path.to_owned(),
            limit,
        }),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(failed(path, errno)),
    }
}

/// Like [`read`], where the file's absence is an error.
pub(super) fn require(path: &str, limit: usize) -> Result<String, ProbeError> {
    read(path, limit)?.ok_or_else(|| failed(path, Errno::NOENT))
}

/// A file that holds one number.
pub(super) fn number<T: FromStr>(path: &str) -> Result<T, ProbeError> {
    optional_number(path)?.ok_or_else(|| failed(path, Errno::NOENT))
}

/// A file that holds one number; `None` where it does not exist.
pub(super) fn optional_number<T: FromStr>(path: &str) -> Result<Option<T>, ProbeError> {
    let Some(text) = read(path, LINE)? else {
        return Ok(None);
    };
    match text.trim().parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(malformed(path, &text, "a number")),
    }
}

pub(super) fn malformed(path: &str, found: &str, expected: &'static str) -> ProbeError {
    ProbeError::Malformed {
        path: path.to_owned(),
        found: found.chars().take(80).collect(),
        expected,
    }
}

/// The remedy, as the end of a sentence.
pub(super) fn remedy(path: &str, errno: Errno) -> &'static str {
    match errno {
        Errno::NOENT if path.starts_with("/proc/self/") => {
            "; mount /proc: mount -t proc proc /proc"
        }
        Errno::ACCESS | Errno::PERM => "; the caller must be allowed to read it",
        _ => "",
    }
}

fn failed(path: &str, errno: Errno) -> ProbeError {
    ProbeError::Read {
        path: path.to_owned(),
        errno,
    }
}

/// `None` if there is more than `limit`.
fn bytes(path: &str, limit: usize) -> Result<Option<Vec<u8>>, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::io::retry_on_intr(|| openat(CWD, path, flags, Mode::empty()))?;
    let mut bytes = vec![0; 4096];
    let mut length = 0;
    loop {
        if length == bytes.len() {
            if length > limit {
                return Ok(None);
            }
            bytes.resize(length * 2, 0);
        }
        let free = &mut bytes[length..];
        match rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut *free))? {
            0 => break,
            count => length += count,
        }
    }
    bytes.truncate(length);
    Ok((length <= limit).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn absence_is_none_or_an_error_with_the_path() {
        assert!(read("/proc/no-such-file", LINE).unwrap().is_none());
        let error = require("/proc/self/no-such-file", LINE).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("/proc/self/no-such-file; mount /proc")
        );
        assert!(error.source().is_some());
    }

    #[test]
    fn an_endless_file_is_refused() {
        let error = read("/dev/zero", LINE).unwrap_err();
        assert!(matches!(error, ProbeError::TooLong { limit: LINE, .. }));
    }

    #[test]
    fn a_text_is_no_number() {
        let error = number::<u32>("/proc/sys/kernel/ostype").unwrap_err();
        assert!(error.to_string().contains("Linux"));
    }
}

//! What several targets check. A property that does not hold is a panic, which
//! the fuzzing engine reports as a crash.

pub mod identity;
pub mod policy;
pub mod seccomp;

/// The two halves of an input at its first NUL byte; the second may be empty.
pub fn halves(data: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(data).ok()?;
    Some(text.split_once('\0').unwrap_or((text, "")))
}

//! The forms in which control files hold values.

use std::path::Path;

use super::{CgroupError, Limit};

/// Version 1 writes "no limit" as the largest page-aligned number; the page size
/// decides its low bits, so anything this close to the top of an i64 is one.
const V1_UNLIMITED: u64 = 0x7fff_ffff_ffff_0000;

/// A single number.
pub(super) fn number(path: &Path, text: &str) -> Result<u64, CgroupError> {
    text.trim()
        .parse()
        .map_err(|_| malformed(path, text, "a number"))
}

/// A number, or `max`, or a number or `-1` that stands for no limit on version 1.
pub(super) fn limit(path: &Path, text: &str) -> Result<Limit, CgroupError> {
    match text.trim() {
        "max" | "-1" => Ok(Limit::Unlimited),
        digits => match digits.parse() {
            Ok(value) if value >= V1_UNLIMITED => Ok(Limit::Unlimited),
            Ok(value) => Ok(Limit::Value(value)),
            Err(_) => Err(malformed(path, text, "a number or \"max\"")),
        },
    }
}

/// `cpu.max` of version 2: quota, or `max`, and period, in microseconds.
pub(super) fn bandwidth(path: &Path, text: &str) -> Result<(Limit, u64), CgroupError> {
    let (quota, period) = text
        .trim()
        .split_once(' ')
        .ok_or_else(|| malformed(path, text, "a quota and a period"))?;
    Ok((limit(path, quota)?, number(path, period)?))
}

/// The value of one key in lines of `key value`; `None` if the key is absent.
pub(super) fn keyed(path: &Path, text: &str, key: &str) -> Result<Option<u64>, CgroupError> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .map(|(_, value)| number(path, value))
        .transpose()
}

pub(super) fn malformed(path: &Path, found: &str, expected: &'static str) -> CgroupError {
    CgroupError::Malformed {
        path: path.to_owned(),
        found: found.chars().take(80).collect(),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> &'static Path {
        Path::new("/fixture")
    }

    #[test]
    fn every_spelling_of_no_limit_is_unlimited() {
        for text in [
            "max\n",
            "-1\n",
            "9223372036854771712\n",
            "9223372036854710272\n",
        ] {
            assert_eq!(limit(at(), text).unwrap(), Limit::Unlimited, "{text}");
        }
        assert_eq!(
            limit(at(), "268435456\n").unwrap(),
            Limit::Value(268_435_456)
        );
        assert!(limit(at(), "lots").is_err());
    }

    #[test]
    fn bandwidth_has_a_quota_and_a_period() {
        let half = bandwidth(at(), "50000 100000\n").unwrap();
        assert_eq!(half, (Limit::Value(50_000), 100_000));
        let none = bandwidth(at(), "max 100000\n").unwrap();
        assert_eq!(none, (Limit::Unlimited, 100_000));
        assert!(bandwidth(at(), "max").is_err());
    }

    #[test]
    fn a_key_is_matched_whole() {
        let events = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(keyed(at(), events, "oom").unwrap(), Some(3));
        assert_eq!(keyed(at(), events, "oom_kill").unwrap(), Some(2));
        assert_eq!(keyed(at(), events, "nothing").unwrap(), None);
    }

    #[test]
    fn a_refused_text_is_shown_shortened() {
        let error = number(at(), &"x".repeat(500)).unwrap_err();
        assert!(error.to_string().len() < 200);
    }
}

//! Who asks, and what the ids mean.

use lakekeep_plan::host::{Caller, IdExtent};

use super::ProbeError;
use super::read::{self, LINE};

pub(super) fn facts() -> Result<Caller, ProbeError> {
    let uid_map = id_map("/proc/self/uid_map")?;
    let gid_map = id_map("/proc/self/gid_map")?;
    Ok(Caller {
        euid: rustix::process::geteuid().as_raw(),
        egid: rustix::process::getegid().as_raw(),
        in_user_namespace: !is_identity(&uid_map),
        uid_map,
        gid_map,
    })
}

/// A kernel without user namespaces has no such file: every id stands for itself.
fn id_map(path: &str) -> Result<Vec<IdExtent>, ProbeError> {
    match read::read(path, LINE)? {
        None => Ok(vec![IDENTITY]),
        Some(text) => parse(&text).ok_or_else(|| read::malformed(path, &text, "an id map")),
    }
}

/// What the initial user namespace shows: every id but the last, which is "no id".
const IDENTITY: IdExtent = IdExtent {
    inside: 0,
    outside: 0,
    count: u32::MAX,
};

fn is_identity(map: &[IdExtent]) -> bool {
    map == [IDENTITY]
}

fn parse(text: &str) -> Option<Vec<IdExtent>> {
    text.lines().map(extent).collect()
}

fn extent(line: &str) -> Option<IdExtent> {
    let mut fields = line.split_whitespace().map(str::parse);
    Some(IdExtent {
        inside: fields.next()?.ok()?,
        outside: fields.next()?.ok()?,
        count: fields.next()?.ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_initial_namespace_is_the_identity() {
        let map = parse("         0          0 4294967295\n").unwrap();
        assert!(is_identity(&map));
    }

    #[test]
    fn any_other_map_is_a_user_namespace() {
        let map = parse("         0       1000          1\n         1     100000      65536\n");
        let map = map.unwrap();
        assert!(!is_identity(&map));
        assert_eq!(
            (map[1].inside, map[1].outside, map[1].count),
            (1, 100_000, 65_536)
        );
        assert!(!is_identity(&parse("").unwrap()));
        assert!(parse("0 0\n").is_none());
    }
}

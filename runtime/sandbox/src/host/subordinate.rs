//! The id ranges that an ordinary user may map, and the helpers that map them.

use std::path::PathBuf;

use lakekeep_plan::host::{Caller, SubordinateIds};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::ProbeError;
use super::read::{self, LONG};

/// Where distributions install the helpers. Not searched on PATH: what writes id maps
/// with privilege is not for the environment to choose.
const HELPER_DIRS: [&str; 3] = ["/usr/bin", "/bin", "/usr/local/bin"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    start: u32,
    count: u32,
}

/// `None` for root, who needs no grant, and where either range is missing.
pub(super) fn facts(caller: &Caller) -> Result<Option<SubordinateIds>, ProbeError> {
    if caller.euid == 0 {
        return Ok(None);
    }
    let name = user_name(&read("/etc/passwd")?, caller.euid);
    let uids = largest(&read("/etc/subuid")?, name.as_deref(), caller.euid);
    let gids = largest(&read("/etc/subgid")?, name.as_deref(), caller.euid);
    Ok(uids.zip(gids).map(|(uids, gids)| SubordinateIds {
        uid_start: uids.start,
        uid_count: uids.count,
        gid_start: gids.start,
        gid_count: gids.count,
        newuidmap: helper("newuidmap"),
        newgidmap: helper("newgidmap"),
    }))
}

fn read(path: &str) -> Result<String, ProbeError> {
    Ok(read::read(path, LONG)?.unwrap_or_default())
}

/// passwd(5). A user of a directory service is not there, and is then known by number.
fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number: u32 = fields.nth(1)?.parse().ok()?;
        (number == uid).then(|| name.to_owned())
    })
}

/// subuid(5): `name or number:first:count`. Of several grants the largest is used: a
/// sandbox's range must be contiguous.
fn largest(text: &str, name: Option<&str>, uid: u32) -> Option<Range> {
    let number = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let (owner, range) = line.split_once(':')?;
            let (start, count) = range.split_once(':')?;
            let granted = owner == number || Some(owner) == name;
            granted.then_some(Range {
                start: start.trim().parse().ok()?,
                count: count.trim().parse().ok()?,
            })
        })
        .max_by_key(|range| range.count)
        .filter(|range| range.count > 0)
}

/// That it is there and may be run. Whether it has its privilege (set-user-id on some
/// distributions, a file capability on others) only running it would tell.
fn helper(name: &str) -> Option<PathBuf> {
    HELPER_DIRS
        .iter()
        .map(|dir| PathBuf::from(dir).join(name))
        .find(|path| accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";

    #[test]
    fn the_name_is_the_one_with_the_number() {
        assert_eq!(user_name(PASSWD, 1000).as_deref(), Some("ann"));
        assert_eq!(user_name(PASSWD, 1001), None);
        assert_eq!(user_name("garbage\n:::\n", 0), None);
    }

    #[test]
    fn a_grant_is_by_name_or_number_and_the_largest_counts() {
        let text = "bob:100000:65536\nann:300000:100\n1000:400000:65536\nann:bad\n";
        let range = |start, count| Some(Range { start, count });
        assert_eq!(largest(text, Some("ann"), 1000), range(400_000, 65_536));
        assert_eq!(largest(text, Some("ann"), 7), range(300_000, 100));
        assert_eq!(largest(text, None, 7), None);
        assert_eq!(largest("ann:1:0\n", Some("ann"), 7), None);
    }
}

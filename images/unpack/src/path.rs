//! Names of entries: checked once, and then paths below a root.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::Refusal;
use crate::limits::Limits;

/// Begins the name of what removes a lower layer's file (image-spec, "Whiteouts").
pub const WHITEOUT: &[u8] = b".wh.";

/// Removes all that lower layers have in a folder (image-spec, "Opaque Whiteout").
pub const OPAQUE: &[u8] = b".wh..wh..opq";

/// A path below a root: components that are neither empty nor `.` nor `..`, each of at most 255 bytes,
/// none with a NUL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryPath {
    /// The components with a slash between them; empty for the root itself.
    plain: Vec<u8>,
    ends_with_slash: bool,
}

impl EntryPath {
    /// Checks a name as it stands in an archive. `./` at its beginning and doubled slashes
    /// mean nothing; all else that is not a plain name is refused.
    ///
    /// # Errors
    /// Which rule it breaks.
    pub fn check(name: &[u8], depth: usize) -> Result<EntryPath, Refusal> {
        if name.is_empty() {
            return Err(Refusal::NoName);
        }
        if name.starts_with(b"/") {
            return Err(Refusal::Absolute);
        }
        if name.contains(&0) {
            return Err(Refusal::Nul);
        }
        if name.len() > Limits::PATH {
            return Err(Refusal::LongName(Limits::PATH));
        }
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in name.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err(Refusal::Upwards),
                part if part.len() > Limits::NAME => return Err(Refusal::LongName(Limits::NAME)),
                part => parts.push(part),
            }
        }
        if parts.len() > depth {
            return Err(Refusal::Deep(depth));
        }
        Ok(EntryPath {
            plain: parts.join(&b'/'),
            ends_with_slash: name.ends_with(b"/"),
        })
    }

    /// Whether it is the root.
    pub fn is_root(&self) -> bool {
        self.plain.is_empty()
    }

    /// Whether the archive wrote it as folders are written.
    pub fn ends_with_slash(&self) -> bool {
        self.ends_with_slash
    }

    /// What it is in its folder; empty for the root.
    pub fn name(&self) -> &OsStr {
        OsStr::from_bytes(
            self.plain
                .rsplit(|byte| *byte == b'/')
                .next()
                .unwrap_or_default(),
        )
    }

    /// The folder it is in; empty for the root.
    pub fn parent(&self) -> &Path {
        self.as_path().parent().unwrap_or(Path::new(""))
    }

    /// All of it; relative.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.plain))
    }

    /// What of a whiteout's rules it breaks; `None`: nothing, it may be one or not.
    ///
    /// Only the last component may begin with `.wh.`, and something must come behind it; other names
    /// of AUFS's own (`.wh..wh.`) are refused.
    pub(crate) fn bad_whiteout(&self) -> Option<Refusal> {
        let mut parts = self.plain.rsplit(|byte| *byte == b'/');
        let last = parts.next().unwrap_or_default();
        let hides = last.strip_prefix(WHITEOUT);
        let bad = match hides {
            None => false,
            Some(_) if last == OPAQUE => false,
            Some(b"" | b"." | b"..") => true,
            Some(hidden) => hidden.starts_with(WHITEOUT),
        };
        (bad || parts.any(|part| part.starts_with(WHITEOUT))).then_some(Refusal::Whiteout)
    }

    /// Whether it is a whiteout.
    pub fn is_whiteout(&self) -> bool {
        self.name().as_bytes().starts_with(WHITEOUT)
    }
}

/// As text, for people; the bytes are anybody's.
pub fn shown(name: &[u8]) -> String {
    const SHOWN: usize = 200;
    let text = String::from_utf8_lossy(name);
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.into_owned(),
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.plain))
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&shown(&self.plain), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str) -> Result<String, Refusal> {
        EntryPath::check(name.as_bytes(), 4).map(|path| path.to_string())
    }

    #[test]
    fn plain_names_are_taken() {
        for (name, wanted) in [
            ("a", "a"),
            ("./a/b", "a/b"),
            ("a//b/", "a/b"),
            (".", ""),
            ("./", ""),
            ("...", "..."),
            ("a/.hidden", "a/.hidden"),
        ] {
            assert_eq!(check(name).as_deref(), Ok(wanted), "{name}");
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for (name, why) in [
            ("", Refusal::NoName),
            ("/", Refusal::Absolute),
            ("/etc/passwd", Refusal::Absolute),
            ("..", Refusal::Upwards),
            ("a/../b", Refusal::Upwards),
            ("a/..", Refusal::Upwards),
            ("./..", Refusal::Upwards),
            ("a\0b", Refusal::Nul),
            ("a/b/c/d/e", Refusal::Deep(4)),
            (&"n".repeat(256), Refusal::LongName(255)),
            (&"n/".repeat(2100), Refusal::LongName(4095)),
        ] {
            assert_eq!(check(name), Err(why), "{name}");
        }
    }

    #[test]
    fn whiteouts_are_the_last_part_of_a_name() {
        let bad = |name: &str| {
            let path = EntryPath::check(name.as_bytes(), 9).unwrap();
            path.bad_whiteout().is_some()
        };
        for name in [
            "a/.wh.b",
            ".wh.x",
            "a/.wh..wh..opq",
            ".whx",
            "a.wh.b",
            ".wh....",
            "a/b",
        ] {
            assert!(!bad(name), "{name}");
        }
        for name in [
            ".wh.",
            "a/.wh..",
            "a/.wh...",
            ".wh.a/b",
            "a/.wh..wh.plnk",
            ".wh..wh..opq/x",
        ] {
            assert!(bad(name), "{name}");
        }
    }
}

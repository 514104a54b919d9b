//! The lines of /proc/self/mountinfo.

use std::borrow::Cow;

/// One mount, as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountLine<'a> {
    /// This mount's id.
    pub id: u32,
    /// The id of the mount that it sits on.
    pub parent: u32,
    /// `major:minor` of the filesystem instance.
    pub device: &'a str,
    /// The part of the filesystem that is mounted.
    pub root: Cow<'a, str>,
    /// Where it is mounted.
    pub point: Cow<'a, str>,
    /// Options of this mount, separated by commas.
    pub options: &'a str,
    /// Type of the filesystem.
    pub fstype: &'a str,
    /// Options of the filesystem instance, separated by commas.
    pub super_options: &'a str,
}

/// Each line of the file that has the documented form; the kernel writes no other.
pub fn lines(text: &str) -> impl Iterator<Item = MountLine<'_>> {
    text.lines().filter_map(line)
}

impl MountLine<'_> {
    /// One of the mount's own options, such as `ro`.
    #[must_use]
    pub fn has_option(&self, name: &str) -> bool {
        self.options.split(',').any(|option| option == name)
    }
}

/// proc(5): `id parent major:minor root point options [optional]… - type source super`.
fn line(text: &str) -> Option<MountLine<'_>> {
    let (left, right) = text.split_once(" - ")?;
    let mut fields = left.split(' ');
    let mut tail = right.split(' ');
    Some(MountLine {
        id: fields.next()?.parse().ok()?,
        parent: fields.next()?.parse().ok()?,
        device: fields.next()?,
        root: unescape(fields.next()?),
        point: unescape(fields.next()?),
        options: fields.next()?,
        fstype: tail.next()?,
        super_options: tail.nth(1)?,
    })
}

/// Space, tab, newline and backslash are written as a backslash and three octal digits.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4);
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if byte.is_ascii() => {
                plain.push(char::from(byte));
                rest = &rest[at + 4..];
            }
            _ => {
                plain.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_fields_are_skipped() {
        let text = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n";
        let mount = lines(text).next().unwrap();
        assert_eq!((mount.id, mount.parent), (36, 35));
        assert_eq!(mount.root, "/mnt1");
        assert_eq!(mount.point, "/mnt2");
        assert_eq!(mount.fstype, "ext3");
        assert_eq!(mount.super_options, "rw,errors=continue");
        assert!(mount.has_option("noatime"));
        assert!(!mount.has_option("ro"));
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(unescape(r"/a\040b\134c"), r"/a b\c");
        assert_eq!(unescape(r"/a\9"), r"/a\9");
        assert_eq!(unescape("/é\\"), "/é\\");
    }

    #[test]
    fn what_is_not_a_mount_is_not_listed() {
        assert_eq!(lines("\nnonsense\n1 2 - \n").count(), 0);
    }
}

//! Extended headers: `LENGTH KEY=VALUE\n`, each length counting itself (POSIX.1-2017, pax, "pax Extended
//! Header").

use crate::error::Refusal;

/// Keys that say how a sparse file's content is laid out.
const SPARSE: &[u8] = b"GNU.sparse.";

/// Before the name of an extended attribute.
const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";

/// What an extended header says, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pax {
    pub path: Option<Vec<u8>>,
    pub target: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub mtime: Option<i64>,
    /// Names and values.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Pax {
    /// Reads all records of an entry's header.
    pub fn read(content: &[u8]) -> Result<Pax, Refusal> {
        let mut pax = Pax::default();
        for record in records(content)? {
            pax.take(record)?;
        }
        Ok(pax)
    }

    fn take(&mut self, (key, value): (&[u8], &[u8])) -> Result<(), Refusal> {
        match key {
            b"path" => once(&mut self.path, nonempty(value)?, "name"),
            b"linkpath" => once(&mut self.target, nonempty(value)?, "link's target"),
            b"size" => once(&mut self.size, decimal(value)?, "size"),
            b"mtime" => {
                self.mtime = seconds(value);
                Ok(())
            }
            key if key.starts_with(SPARSE) => Err(Refusal::Sparse),
            key => {
                if let Some(name) = key.strip_prefix(ATTRIBUTE) {
                    return self.attribute(name, value);
                }
                // Owners, other times, comments: nothing that is kept here.
                Ok(())
            }
        }
    }

    fn attribute(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        if name.is_empty() || name.contains(&0) {
            return Err(Refusal::BadPax("an extended attribute has no name"));
        }
        if self.attributes.iter().any(|(known, _)| known == name) {
            return Err(Refusal::Twice("extended attribute"));
        }
        self.attributes.push((name.to_vec(), value.to_vec()));
        Ok(())
    }
}

/// A global header may hold comments, as `git archive` writes them.
pub fn check_global(content: &[u8]) -> Result<(), Refusal> {
    match records(content)?.iter().find(|(key, _)| *key != b"comment") {
        None => Ok(()),
        Some((key, _)) => Err(Refusal::GlobalHeader(crate::path::shown(key))),
    }
}

type Record<'a> = (&'a [u8], &'a [u8]);

fn records(mut rest: &[u8]) -> Result<Vec<Record<'_>>, Refusal> {
    let mut found: Vec<Record<'_>> = Vec::new();
    while !rest.is_empty() {
        let (record, after) = record(rest)?;
        found.push(record);
        rest = after;
    }
    Ok(found)
}

fn record(rest: &[u8]) -> Result<(Record<'_>, &[u8]), Refusal> {
    const LENGTH: Refusal = Refusal::BadPax("a record has no proper length");
    let space = rest
        .iter()
        .take(8)
        .position(|byte| *byte == b' ')
        .ok_or(LENGTH)?;
    let digits = rest.get(..space).unwrap_or_default();
    let length = usize::try_from(decimal(digits)?).map_err(|_| LENGTH)?;
    if length <= space + 1 || length > rest.len() {
        return Err(LENGTH);
    }
    let (record, after) = rest.split_at(length);
    let line = record.get(space + 1..).unwrap_or_default();
    let line = line
        .strip_suffix(b"\n")
        .ok_or(Refusal::BadPax("a record does not end its line"))?;
    let equals = line
        .iter()
        .position(|byte| *byte == b'=')
        .ok_or(Refusal::BadPax("a record has no value"))?;
    let (key, value) = line.split_at(equals);
    if key.is_empty() {
        return Err(Refusal::BadPax("a record has no key"));
    }
    Ok(((key, value.get(1..).unwrap_or_default()), after))
}

/// One record of each key: of two, readers take the first or the last.
fn once<T>(place: &mut Option<T>, value: T, what: &'static str) -> Result<(), Refusal> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Refusal::Twice(what)),
    }
}

/// An empty value takes a global header's away, and there is none: other readers may differ.
fn nonempty(value: &[u8]) -> Result<Vec<u8>, Refusal> {
    match value {
        b"" => Err(Refusal::BadPax("a name is empty")),
        value if value.contains(&0) => Err(Refusal::Nul),
        value => Ok(value.to_vec()),
    }
}

/// Digits alone; no sign, no space, no second way to write the same number.
fn decimal(value: &[u8]) -> Result<u64, Refusal> {
    const WRONG: Refusal = Refusal::BadPax("a number is none");
    if value.is_empty() || (value.len() > 1 && value.starts_with(b"0")) {
        return Err(WRONG);
    }
    value.iter().try_fold(0u64, |sum, digit| match digit {
        b'0'..=b'9' => sum
            .checked_mul(10)
            .and_then(|sum| sum.checked_add(u64::from(digit - b'0')))
            .filter(|sum| i64::try_from(*sum).is_ok())
            .ok_or(WRONG),
        _ => Err(WRONG),
    })
}

/// Whole seconds of a decimal time; what cannot be read counts as none.
fn seconds(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    text.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_strictly() {
        let pax = Pax::read(b"11 path=ab\n12 size=123\n25 SCHILY.xattr.user.a=b\n").unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"ab"[..]));
        assert_eq!(pax.size, Some(123));
        assert_eq!(pax.attributes, [(b"user.a".to_vec(), b"b".to_vec())]);
        for bad in [
            &b"11 path=a\n"[..],
            b"10 path=ab\n",
            b"011 path=ab\n",
            b"+11 path=ab\n",
            b" 11 path=ab\n",
            b"11 path=ab",
            b"9 pathab\n",
            b"5 =a\n",
            b"8 path=\n",
            b"11 path=a\0\n",
            b"11 path=ab\n11 path=ab\n",
            b"11 size=1x\n",
            b"11 size=-1\n",
            b"11 size=01\n",
            b"29 size=99999999999999999999\n",
            b"99999999999999999999 path=a\n",
            b"0 \n",
            b"\n",
            b"24 GNU.sparse.major=1.0\n",
        ] {
            assert!(
                Pax::read(bad).is_err(),
                "{:?}",
                String::from_utf8_lossy(bad)
            );
        }
    }

    #[test]
    fn global_headers_may_comment() {
        assert_eq!(check_global(b"13 comment=a\n"), Ok(()));
        assert!(check_global(b"11 path=ab\n").is_err());
    }
}

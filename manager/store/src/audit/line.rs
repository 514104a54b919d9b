//! One line of the log: an event with its place in the chain.
//!
//! `{"seq":7,"time":…,…,"prev":"<hash of line 6>","hash":"<hash of line 7>"}`
//!
//! The hash covers the bytes of the line before `,"hash":`, so that checking a
//! line needs no agreement on how JSON is written, only the line.

use super::event::Event;
use super::key::AuditKey;
use super::wire::Wire;
use crate::Digest;

/// Longest line in bytes, without its line feed. Every field is bounded, and a
/// byte becomes at most six (`\u0000`): no event reaches it.
pub const LONGEST_LINE: usize = 512 << 10;

const HASH_FIELD: &str = ",\"hash\":\"";
const HASH_END: &str = "\"}";
const HEX: usize = 64;
const DOMAIN: &[u8] = b"lakekeep audit line v1\0";

/// How the hash of a line is checked.
#[derive(Clone, Copy, Debug)]
pub enum Check<'a> {
    /// BLAKE3.
    Plain,
    /// BLAKE3 with a key.
    Keyed(&'a AuditKey),
    /// Not at all: the line has a key that the reader has not.
    Skip,
}

impl<'a> Check<'a> {
    pub(super) fn of(key: Option<&'a AuditKey>) -> Check<'a> {
        key.map_or(Check::Plain, Check::Keyed)
    }

    /// The hash of `covered`; `None` if it cannot be computed.
    fn hash(self, covered: &[u8]) -> Option<Digest> {
        match self {
            Check::Plain => {
                let mut hasher = blake3::Hasher::new();
                hasher.update(DOMAIN).update(covered);
                Some(Digest::from_bytes(*hasher.finalize().as_bytes()))
            }
            Check::Keyed(key) => Some(key.hash(covered)),
            Check::Skip => None,
        }
    }
}

/// An event with its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub(super) seq: u64,
    pub(super) event: Event,
    pub(super) prev: Digest,
    pub(super) hash: Digest,
}

impl Record {
    /// Its number, from 1, without gaps.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// What happened.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// The hash of the line before; zero for the first.
    pub fn prev(&self) -> Digest {
        self.prev
    }

    /// The hash of this line.
    pub fn hash(&self) -> Digest {
        self.hash
    }
}

/// Why bytes are not a line of the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It is longer than any event.
    #[error("longer than {LONGEST_LINE} bytes")]
    TooLong,
    /// It does not end with a hash.
    #[error("it does not end with a hash")]
    NoHash,
    /// It is not an event in JSON.
    #[error("not an event: {why}")]
    Syntax {
        /// What the parser says.
        why: String,
    },
    /// Its hash is not that of its bytes.
    #[error("its hash is not that of its bytes")]
    HashMismatch,
}

/// Appends the line of an event, with its line feed, and returns its hash.
pub(super) fn write_line(
    buffer: &mut Vec<u8>,
    (seq, prev): (u64, Digest),
    event: &Event,
    check: Check<'_>,
) -> Result<Digest, serde_json::Error> {
    let start = buffer.len();
    let wire = Wire::of(seq, event, prev);
    if let Err(error) = serde_json::to_writer(&mut *buffer, &wire) {
        buffer.truncate(start);
        return Err(error);
    }
    // The closing brace comes after the hash.
    buffer.pop();
    let hash = check.hash(buffer.get(start..).unwrap_or_default());
    let hash = hash.unwrap_or(Digest::ZERO);
    buffer.extend_from_slice(HASH_FIELD.as_bytes());
    buffer.extend_from_slice(hash.to_string().as_bytes());
    buffer.extend_from_slice(HASH_END.as_bytes());
    buffer.push(b'\n');
    Ok(hash)
}

/// Reads one line, given without its line feed, and checks its hash. Pure.
///
/// # Errors
/// [`LineError`] says what is wrong.
pub fn parse_line(line: &[u8], check: Check<'_>) -> Result<Record, LineError> {
    if line.len() > LONGEST_LINE {
        return Err(LineError::TooLong);
    }
    let (covered, hash) = split_hash(line).ok_or(LineError::NoHash)?;
    // The hash first: whatever it covers was written here, or by nobody.
    if check.hash(covered).is_some_and(|computed| computed != hash) {
        return Err(LineError::HashMismatch);
    }
    let wire: Wire<'_> = serde_json::from_slice(line).map_err(|error| LineError::Syntax {
        why: printable(&error),
    })?;
    Ok(wire.into_record(hash))
}

/// What the parser says. It quotes what it read, which may hold characters that steer a
/// terminal.
pub(super) fn printable(error: &serde_json::Error) -> String {
    let mut shown = String::new();
    for letter in error.to_string().chars() {
        match letter.is_control() {
            true => shown.extend(letter.escape_default()),
            false => shown.push(letter),
        }
    }
    shown
}

/// What a hash covers, and the hash.
fn split_hash(line: &[u8]) -> Option<(&[u8], Digest)> {
    let rest = line.strip_suffix(HASH_END.as_bytes())?;
    let (rest, hex) = rest.split_at_checked(rest.len().checked_sub(HEX)?)?;
    let covered = rest.strip_suffix(HASH_FIELD.as_bytes())?;
    let hash = std::str::from_utf8(hex).ok()?.parse().ok()?;
    Some((covered, hash))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_001);

    #[test]
    fn what_is_quoted_of_a_line_steers_no_terminal() {
        let hash = "0".repeat(64);
        let line = format!("{{\"acti\u{7f}\u{9b}n\":1,\"hash\":\"{hash}\"}}");
        let error = parse_line(line.as_bytes(), Check::Skip).unwrap_err();
        let shown = error.to_string();
        assert!(shown.contains("\\u{7f}"), "{shown}");
        assert!(!shown.contains(char::is_control), "{shown:?}");
    }

    fn full() -> Event {
        Event::denied(NOW, "uid:1000", "sandbox.exec", "not yours")
            .with_as_whom("alice")
            .with_on_behalf_of("bob")
            .with_actor("spark")
            .with_profile("research")
            .with_sandbox("s-1")
            .with_task(3)
            .with_image("i")
            .with_environment("e")
            .with_policy("p")
            .with_verdict("exited with code 1")
            .with_request("r")
            .with_query("q")
            .with_extra("k", "v")
    }

    fn line_of(event: &Event, check: Check<'_>) -> Vec<u8> {
        let mut line = Vec::new();
        write_line(&mut line, (7, Digest::ZERO), event, check).unwrap();
        assert_eq!(line.pop(), Some(b'\n'));
        line
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let key = AuditKey::from_bytes([1; 32]);
        for check in [Check::Plain, Check::Keyed(&key)] {
            for event in [full(), Event::allowed(NOW, "", "")] {
                let record = parse_line(&line_of(&event, check), check).unwrap();
                assert_eq!((record.seq(), record.event()), (7, &event));
            }
        }
    }

    #[test]
    fn the_line_is_what_the_documentation_says() {
        let line = String::from_utf8(line_of(&full(), Check::Plain)).unwrap();
        let (fields, hash) = line.split_at(line.len() - 75);
        let zero = "0".repeat(64);
        let expected = format!(
            "{{\"seq\":7,\"time\":\"2027-01-15T08:00:00.000001Z\",\"who\":\"uid:1000\",\
             \"as_whom\":\"alice\",\"on_behalf_of\":\"bob\",\"actor\":\"spark\",\
             \"action\":\"sandbox.exec\",\"profile\":\"research\",\"sandbox\":\"s-1\",\"task\":3,\
             \"image\":\"i\",\"environment\":\"e\",\"policy\":\"p\",\"outcome\":\"denied\",\
             \"reason\":\"not yours\",\"verdict\":\"exited with code 1\",\"request\":\"r\",\
             \"query\":\"q\",\"extra\":{{\"k\":\"v\"}},\"prev\":\"{zero}\""
        );
        assert_eq!(fields, expected);
        assert!(hash.starts_with(HASH_FIELD));
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let line = line_of(&full(), Check::Plain);
        for byte in 0..line.len() {
            let mut changed = line.clone();
            changed[byte] ^= 1;
            assert!(parse_line(&changed, Check::Plain).is_err(), "byte {byte}");
        }
    }

    #[test]
    fn every_beginning_is_refused() {
        let line = line_of(&full(), Check::Plain);
        for end in 0..line.len() {
            assert!(parse_line(&line[..end], Check::Plain).is_err());
            assert!(parse_line(&line[..end], Check::Skip).is_err());
        }
    }

    #[test]
    fn without_the_key_no_line_can_be_made() {
        let (ours, theirs) = (AuditKey::from_bytes([1; 32]), AuditKey::from_bytes([2; 32]));
        for forged in [Check::Plain, Check::Keyed(&theirs)] {
            let line = line_of(&full(), forged);
            let error = parse_line(&line, Check::Keyed(&ours)).unwrap_err();
            assert_eq!(error, LineError::HashMismatch);
        }
    }

    #[test]
    fn hostile_texts_stay_in_their_line() {
        let hostile = "a\n{\"seq\":8}\r\n\u{2028}\u{0}\"\\\u{1b}[2J";
        let event = Event::denied(NOW, hostile, hostile, hostile).with_extra(hostile, hostile);
        let line = line_of(&event, Check::Plain);
        assert!(!line.contains(&b'\n') && !line.contains(&0x1b));
        let record = parse_line(&line, Check::Plain).unwrap();
        assert_eq!(record.event(), &event);
    }

    #[test]
    fn the_longest_event_fits() {
        let nul = "\0".repeat(2_000);
        let mut event = Event::denied(NOW, &nul, &nul, &nul)
            .with_as_whom(&nul)
            .with_on_behalf_of(&nul)
            .with_actor(&nul)
            .with_profile(&nul)
            .with_sandbox(&nul)
            .with_image(&nul)
            .with_environment(&nul)
            .with_policy(&nul)
            .with_verdict(&nul)
            .with_request(&nul)
            .with_query(&nul);
        for number in 0..40_u8 {
            event = event.with_extra(&format!("{}{nul}", char::from(number)), &nul);
        }
        let line = line_of(&event, Check::Plain);
        assert!(line.len() < LONGEST_LINE, "{}", line.len());
        assert!(parse_line(&line, Check::Plain).is_ok());
    }

    #[test]
    fn unknown_and_doubled_fields_are_refused() {
        let line = String::from_utf8(line_of(&full(), Check::Plain)).unwrap();
        for (from, to) in [
            ("\"seq\":7", "\"seq\":7,\"more\":1"),
            ("\"seq\":7", "\"seq\":7,\"seq\":8"),
            ("\"seq\":7", "\"seq\":-7"),
            ("denied", "perhaps"),
        ] {
            let changed = line.replace(from, to);
            let error = parse_line(changed.as_bytes(), Check::Skip).unwrap_err();
            assert!(matches!(error, LineError::Syntax { .. }), "{to}");
        }
    }
}

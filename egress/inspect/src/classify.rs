//! What a stream is, by its first bytes: as a lenient server would take it, so that none
//! passes as "something else" and is understood after all.

use crate::refusal::Refusal;

/// What a stream begins as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tls,
    Http,
    Other,
}

/// Longest first line of text; longer request lines are not taken by servers either.
const MAX_LINE: usize = 8 << 10;
/// Methods by which a line is a request even without a version (HTTP/0.9).
const METHODS: &[&str] = &[
    "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PRI",
];

/// `None` if more bytes are needed. `ended` says that there will be none.
///
/// Text is HTTP if its first line has a version of HTTP or begins with a known method. A
/// byte that is in no line of text, before the line's end, makes it something else.
pub(crate) fn classify(bytes: &[u8], ended: bool) -> Result<Option<Kind>, Refusal> {
    match bytes {
        [] => return Ok(None),
        [0x16, 0x03, ..] => return Ok(Some(Kind::Tls)),
        [0x16] => return Ok(ended.then_some(Kind::Other)),
        [0x14 | 0x15 | 0x17, 0x03, ..] => {
            return Err(Refusal::Tls("it does not begin with a client hello"));
        }
        // A hello of version 2 (RFC 5246, E.2), which has no room for a server name.
        [0x80..=0xff, _, 1, 3, ..] => return Err(Refusal::NoServerName),
        [0x14 | 0x15 | 0x17 | 0x80..=0xff, rest @ ..] if rest.len() < 3 && !ended => {
            return Ok(None);
        }
        _ => {}
    }
    // Servers skip empty lines before a request (RFC 9112, 2.2).
    let blank = |byte: &u8| matches!(byte, b'\r' | b'\n') || is_space(*byte);
    let start = bytes.iter().take_while(|byte| blank(byte)).count();
    let line = bytes.get(start..).unwrap_or_default();
    let end = line.iter().position(|byte| !is_text(*byte));
    if start > MAX_LINE || end.unwrap_or(line.len()) > MAX_LINE {
        return Err(Refusal::TooLong(bytes.len()));
    }
    match end.and_then(|end| line.get(..end).zip(line.get(end))) {
        Some((line, b'\n' | b'\r')) => Ok(Some(if is_request(line) {
            Kind::Http
        } else {
            Kind::Other
        })),
        Some((line, _)) if begins_with_method(line) => {
            Err(Refusal::Http("a byte that is in no request line"))
        }
        Some(_) => Ok(Some(Kind::Other)),
        None if ended => Ok(Some(if begins_with_method(line) {
            Kind::Http
        } else {
            Kind::Other
        })),
        None => Ok(None),
    }
}

/// Bytes of a line of text; beyond ASCII too, which some servers take.
fn is_text(byte: u8) -> bool {
    is_space(byte) || (0x21..=0x7e).contains(&byte) || byte >= 0x80
}

/// What some server divides a request line at: also what Python and Java call white space.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c | 0x1c..=0x1f | 0x85 | 0xa0)
}

fn is_request(line: &[u8]) -> bool {
    let has_version = line
        .windows(5)
        .any(|five| five.eq_ignore_ascii_case(b"HTTP/"));
    has_version || begins_with_method(line)
}

/// A method and a path. Other protocols have commands of these names, and no paths.
fn begins_with_method(line: &[u8]) -> bool {
    let end = line
        .iter()
        .position(|byte| is_space(*byte))
        .unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    let target = rest.iter().find(|byte| !is_space(**byte));
    METHODS.iter().any(|method| method.as_bytes() == word)
        && matches!(target, None | Some(b'/' | b'*' | b'h'))
}

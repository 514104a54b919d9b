//! The server name of a TLS client hello (RFC 8446, RFC 6066), over any number of records
//! and segments.

mod reader;

use lakekeep_egress_rules::HostName;

use crate::refusal::Refusal;
use reader::Reader;

/// Longest content of one record (RFC 8446, 5.1).
const MAX_RECORD: usize = 1 << 14;
/// Longest client hello: well beyond those with post-quantum key shares.
const MAX_HELLO: usize = 32 << 10;
const HANDSHAKE: u8 = 0x16;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
/// Encrypted Client Hello, its drafts, and the encrypted server name before it.
const ENCRYPTED: &[u16] = &[0xfe0d, 0xfe08, 0xfe09, 0xfe0a, 0xfe0b, 0xfe0c, 0xffce];

/// Reads the server name once the whole hello is there; `None` until then.
pub(crate) fn server_name(stream: &[u8]) -> Result<Option<String>, Refusal> {
    match hello(stream)? {
        Some(hello) => name_in(&hello).map(Some),
        None => Ok(None),
    }
}

/// Whether the client said the connection's name.
pub(crate) fn agrees(said: &str, name: &HostName) -> Result<(), Refusal> {
    // RFC 6066, 3: without a dot at the end. Some servers take it for another name.
    let parsed = HostName::parse(said).ok().filter(|_| !said.ends_with('.'));
    if parsed.as_ref() == Some(name) {
        return Ok(());
    }
    let said = said
        .chars()
        .take(255)
        .flat_map(char::escape_debug)
        .collect();
    Err(Refusal::ServerName {
        said,
        name: name.to_string(),
    })
}

/// The hello's body, out of its records.
fn hello(stream: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
    let mut message = Vec::new();
    let mut rest = stream;
    loop {
        let Some((content, after)) = record(rest)? else {
            return begun(&message).map(|_| None);
        };
        message.extend_from_slice(content);
        rest = after;
        let Some(length) = begun(&message)? else {
            continue;
        };
        match message.len().checked_sub(4 + length) {
            None => {}
            Some(0) => return Ok(Some(message.split_off(4))),
            Some(_) => {
                return Err(Refusal::Tls(
                    "something follows the client hello in its record",
                ));
            }
        }
    }
}

/// A record's content, and what follows it.
type Record<'a> = (&'a [u8], &'a [u8]);

/// The first record, once it is whole.
fn record(stream: &[u8]) -> Result<Option<Record<'_>>, Refusal> {
    if stream.first().is_some_and(|kind| *kind != HANDSHAKE) {
        return Err(Refusal::Tls("another record within the client hello"));
    }
    if stream.get(1).is_some_and(|major| *major != 3) {
        return Err(Refusal::Tls("a record of an unknown version"));
    }
    let [_, _, _, high, low, rest @ ..] = stream else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length == 0 || length > MAX_RECORD {
        return Err(Refusal::Tls("a record of no bytes, or of too many"));
    }
    Ok(rest.split_at_checked(length))
}

/// The length of the message's body, once its head is there.
fn begun(message: &[u8]) -> Result<Option<usize>, Refusal> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(Refusal::Tls("it does not begin with a client hello"));
    }
    let [_, high, middle, low, ..] = message else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
    if length > MAX_HELLO {
        return Err(Refusal::Tls("a client hello of more than 32 KiB"));
    }
    Ok(Some(length))
}

/// Reads the whole hello, so that nothing hides behind a length that lies.
fn name_in(body: &[u8]) -> Result<String, Refusal> {
    let mut reader = Reader(body);
    reader.take(2 + 32)?;
    if reader.vector8()?.len() > 32 {
        return Err(Refusal::Tls("a session id of more than 32 bytes"));
    }
    let suites = reader.vector16()?;
    let compressions = reader.vector8()?;
    if suites.is_empty() || suites.len() % 2 != 0 || compressions.is_empty() {
        return Err(Refusal::Tls("a client hello without cipher suites"));
    }
    if reader.is_empty() {
        return Err(Refusal::NoServerName);
    }
    let mut extensions = Reader(reader.vector16()?);
    reader.end()?;
    let mut seen = Vec::new();
    let mut names = None;
    while !extensions.is_empty() {
        let kind = extensions.number16()?;
        let content = extensions.vector16()?;
        if seen.contains(&kind) {
            return Err(Refusal::Tls("an extension stands twice"));
        }
        seen.push(kind);
        if kind == SERVER_NAME {
            names = Some(content);
        }
    }
    if seen.iter().any(|kind| ENCRYPTED.contains(kind)) {
        return Err(Refusal::EncryptedHello);
    }
    only_name(names.ok_or(Refusal::NoServerName)?)
}

/// The list's one name, of the one kind that there is.
fn only_name(extension: &[u8]) -> Result<String, Refusal> {
    let mut reader = Reader(extension);
    let mut list = Reader(reader.vector16()?);
    reader.end()?;
    if list.take(1)? != [0] {
        return Err(Refusal::Tls("a server name of an unknown kind"));
    }
    let name = list.vector16()?;
    if !list.is_empty() {
        return Err(Refusal::Tls("several server names"));
    }
    match std::str::from_utf8(name) {
        Ok(name) if name.is_ascii() && !name.is_empty() => Ok(name.to_owned()),
        _ => Err(Refusal::Tls("a server name that is not ASCII")),
    }
}

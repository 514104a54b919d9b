//! The head of one request: its host, and where its body ends.

use httparse::{EMPTY_HEADER, Header, Request, Status};
use lakekeep_egress_rules::HostName;

use crate::refusal::Refusal;

/// Longest head, in bytes.
pub(super) const MAX_HEAD: usize = 32 << 10;
/// Most fields of one head.
const MAX_FIELDS: usize = 128;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// Where the body ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    /// None, and the answer decides what follows.
    Upgrade,
}

/// The length of the head at the start of `held`, its empty line included. Lines that end
/// in any other way than CR LF are refused, for servers disagree on them.
pub(super) fn length(held: &[u8]) -> Result<Option<usize>, Refusal> {
    if held.starts_with(PREFACE) {
        return Err(Refusal::PriorKnowledge);
    }
    let end = held
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map(|at| at + 4);
    let head = held
        .get(..end.unwrap_or(held.len()).min(MAX_HEAD + 4))
        .unwrap_or_default();
    if matches!(head.first(), Some(b'\r' | b'\n' | b' ' | b'\t')) {
        return Err(Refusal::Http("an empty line or a space before a request"));
    }
    for (at, byte) in head.iter().enumerate() {
        let after = head.get(at + 1);
        match byte {
            0 => return Err(Refusal::Http("a NUL byte in a head")),
            b'\r' if after.is_some_and(|after| *after != b'\n') => {
                return Err(Refusal::Http("a carriage return that ends no line"));
            }
            b'\n' if at == 0 || head.get(at - 1) != Some(&b'\r') => {
                return Err(Refusal::Http("a line that ends without a carriage return"));
            }
            b'\n' if matches!(after, Some(b' ' | b'\t')) => {
                return Err(Refusal::Http("a field that goes on in the next line"));
            }
            _ => {}
        }
    }
    if end.is_some_and(|end| end > MAX_HEAD) {
        return Err(Refusal::Http("a head of more than 32 KiB"));
    }
    Ok(end)
}

/// Reads a whole head; it must be for `name`.
pub(super) fn check(head: &[u8], name: &HostName) -> Result<Framing, Refusal> {
    let mut fields = [EMPTY_HEADER; MAX_FIELDS];
    let mut request = Request::new(&mut fields);
    match request.parse(head) {
        Ok(Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(Refusal::Http("a head that ends twice")),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::Http("more than 128 fields")),
        Err(_) => return Err(Refusal::Http("a head that is none")),
    }
    let method = request.method.unwrap_or_default();
    if method.eq_ignore_ascii_case("CONNECT") {
        return Err(Refusal::Connect);
    }
    check_target(method, request.path.unwrap_or_default(), name)?;
    check_host(request.headers, name)?;
    check_connection(request.headers)?;
    framing(request.headers, request.version == Some(1))
}

/// The values of a field.
fn values<'a>(fields: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
    fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name))
        .map(|field| field.value)
}

/// The only value of a field, without the spaces around it.
fn only<'a>(
    fields: &'a [Header<'a>],
    name: &'a str,
    twice: &'static str,
) -> Result<Option<&'a str>, Refusal> {
    let mut all = values(fields, name);
    let first = all.next();
    if all.next().is_some() {
        return Err(Refusal::Http(twice));
    }
    let Some(value) = first else {
        return Ok(None);
    };
    let text =
        std::str::from_utf8(value).map_err(|_| Refusal::Http("a field that is not ASCII"))?;
    Ok(Some(text.trim_matches([' ', '\t'])))
}

/// The forms of RFC 9112, 3.2; a proxy's form must say the same host, for servers go by it
/// rather than by `Host`.
fn check_target(method: &str, target: &str, name: &HostName) -> Result<(), Refusal> {
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(());
    }
    let scheme = |scheme: &str| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let Some(rest) = scheme("http://").or_else(|| scheme("https://")) else {
        return Err(Refusal::Http("a target that is no path"));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    agrees(authority, name)
}

fn check_host(fields: &[Header<'_>], name: &HostName) -> Result<(), Refusal> {
    let host = only(fields, "host", "Host stands twice")?.ok_or(Refusal::NoHost)?;
    if host.is_empty() {
        return Err(Refusal::NoHost);
    }
    agrees(host, name)
}

/// `NAME` or `NAME:PORT`, of the connection's name.
fn agrees(authority: &str, name: &HostName) -> Result<(), Refusal> {
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    let number = port.is_empty()
        || port
            .parse::<u16>()
            .is_ok_and(|_| port.bytes().all(|b| b.is_ascii_digit()));
    let same = HostName::parse(host).is_ok_and(|host| host == *name);
    if same && number {
        return Ok(());
    }
    let said = authority
        .chars()
        .take(255)
        .flat_map(char::escape_debug)
        .collect();
    Err(Refusal::Host {
        said,
        name: name.to_string(),
    })
}

/// A field that `Connection` names is dropped by the first proxy; those on which all of
/// this rests must not be.
fn check_connection(fields: &[Header<'_>]) -> Result<(), Refusal> {
    const KEPT: &[&[u8]] = &[b"host", b"content-length", b"transfer-encoding"];
    let mut options = values(fields, "connection")
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(|option| option.trim_ascii());
    if options.any(|option| KEPT.iter().any(|kept| kept.eq_ignore_ascii_case(option))) {
        return Err(Refusal::Http(
            "Connection drops a field that says for whom the request is",
        ));
    }
    Ok(())
}

fn framing(fields: &[Header<'_>], is_1_1: bool) -> Result<Framing, Refusal> {
    let coding = only(
        fields,
        "transfer-encoding",
        "Transfer-Encoding stands twice",
    )?;
    let length = only(fields, "content-length", "Content-Length stands twice")?;
    let upgrade = only(fields, "upgrade", "Upgrade stands twice")?;
    let body = match (coding, length) {
        (Some(_), Some(_)) => return Err(Refusal::Http("Content-Length beside Transfer-Encoding")),
        (Some(coding), None) if is_1_1 && coding.eq_ignore_ascii_case("chunked") => {
            Framing::Chunked
        }
        (Some(_), None) => return Err(Refusal::Http("a Transfer-Encoding other than chunked")),
        (None, Some(length)) => Framing::Length(decimal(length)?),
        (None, None) => Framing::Length(0),
    };
    match upgrade {
        None => Ok(body),
        Some(protocol) if !protocol.eq_ignore_ascii_case("websocket") => Err(Refusal::Upgrade),
        Some(_) if body != Framing::Length(0) => Err(Refusal::Http("an upgrade with a body")),
        Some(_) => Ok(Framing::Upgrade),
    }
}

/// Digits and nothing else, of a number that no server cuts off.
fn decimal(text: &str) -> Result<u64, Refusal> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text
        .parse()
        .ok()
        .filter(|number| plain && *number <= i64::MAX as u64);
    number.ok_or(Refusal::Http("a Content-Length that is no number"))
}

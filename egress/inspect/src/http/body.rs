//! A chunked body (RFC 9112, 7.1), read as strictly as any server could.

use crate::refusal::Refusal;

/// Longest line of a chunk's size, its extensions included.
const MAX_SIZE_LINE: usize = 256;
/// Longest trailer section.
const MAX_TRAILER: usize = 8 << 10;

/// Where in the body the client is.
#[derive(Debug, Default)]
pub(super) enum Chunks {
    /// Before a chunk's size.
    #[default]
    Size,
    /// So many bytes of a chunk are left, its CR LF included.
    Data(u64),
    /// After the last chunk.
    Trailer(usize),
}

/// How many bytes may go on.
pub(super) enum Step {
    /// And the body goes on; 0 if more bytes are needed.
    More(usize),
    /// And the body ends with them.
    End(usize),
}

impl Chunks {
    pub(super) fn advance(&mut self, held: &[u8]) -> Result<Step, Refusal> {
        match self {
            Chunks::Size => {
                let Some(line) = line(held, MAX_SIZE_LINE)? else {
                    return Ok(Step::More(0));
                };
                let size = size(line)?;
                *self = if size == 0 {
                    Chunks::Trailer(0)
                } else {
                    Chunks::Data(size + 2)
                };
                Ok(Step::More(line.len() + 2))
            }
            Chunks::Data(left) => {
                let taken = data(*left, held)?;
                *left -= taken as u64;
                if *left == 0 {
                    *self = Chunks::Size;
                }
                Ok(Step::More(taken))
            }
            Chunks::Trailer(so_far) => {
                let Some(line) = line(held, MAX_TRAILER - *so_far)? else {
                    return Ok(Step::More(0));
                };
                *so_far += line.len().min(MAX_TRAILER - *so_far);
                trailer(line)?;
                let taken = line.len() + 2;
                Ok(if line.is_empty() {
                    Step::End(taken)
                } else {
                    Step::More(taken)
                })
            }
        }
    }
}

/// What may go on of a chunk of which `left` bytes are left: its last two are CR LF, and
/// nothing else.
fn data(left: u64, held: &[u8]) -> Result<usize, Refusal> {
    let taken = left.min(held.len() as u64) as usize;
    let now = held.get(..taken).unwrap_or_default();
    for (at, byte) in now.iter().enumerate().skip(taken.saturating_sub(2)) {
        let expected = match left - at as u64 {
            2 => b'\r',
            1 => b'\n',
            _ => continue,
        };
        if *byte != expected {
            return Err(Refusal::Http("a chunk that does not end where it says"));
        }
    }
    Ok(taken)
}

/// The line at the start, without its CR LF; `None` if it has not ended.
fn line(held: &[u8], most: usize) -> Result<Option<&[u8]>, Refusal> {
    let end = held.iter().take(most + 2).position(|byte| *byte == b'\n');
    let Some(end) = end else {
        if held.len() >= most + 2 {
            return Err(Refusal::Http("a line of a chunked body that is too long"));
        }
        return Ok(None);
    };
    let line = held.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let clean = line.filter(|line| {
        line.iter()
            .all(|byte| *byte == b'\t' || (0x20..0x7f).contains(byte))
    });
    clean
        .map(Some)
        .ok_or(Refusal::Http("a line of a chunked body with a stray byte"))
}

/// Hexadecimal digits, then nothing or an extension.
fn size(line: &[u8]) -> Result<u64, Refusal> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let text = std::str::from_utf8(digits).unwrap_or_default();
    let plain = (1..=15).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let size = u64::from_str_radix(text, 16).ok().filter(|_| plain);
    size.ok_or(Refusal::Http("a chunk's size that is no number"))
}

/// No trailer may say what a head says (RFC 9110, 6.5.1).
fn trailer(line: &[u8]) -> Result<(), Refusal> {
    const HEAD_ONLY: &[&[u8]] = &[
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"upgrade",
        b"connection",
    ];
    if line.is_empty() {
        return Ok(());
    }
    let colon = line.iter().position(|byte| *byte == b':');
    let name = colon.and_then(|at| line.get(..at)).unwrap_or_default();
    let token = !name.is_empty()
        && name
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if !token
        || HEAD_ONLY
            .iter()
            .any(|field| field.eq_ignore_ascii_case(name))
    {
        return Err(Refusal::Http("a trailer that no body may have"));
    }
    Ok(())
}

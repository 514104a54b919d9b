//! What is behind the host: one port, at which a client's first bytes say what it wants.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use crate::error::BenchError;

/// Where it listens.
pub const PORT: u16 = 5201;

/// Bytes that are written or read at once in a transfer.
pub const CHUNK: usize = 256 << 10;

/// Of a connection's thread: thousands of them wait at once.
const STACK: usize = CHUNK + (64 << 10);

/// What a client wants of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Want {
    /// So many bytes from the server.
    Download = b'd',
    /// To send so many bytes; one answers them all.
    Upload = b'u',
    /// Every byte back.
    Echo = b'e',
    /// Every two bytes, sent by two writes, answered by two writes.
    Parts = b'p',
}

/// Says at the connection's beginning what it is for.
pub fn ask(stream: &mut TcpStream, want: Want, bytes: u64) -> io::Result<()> {
    let mut words = vec![want as u8];
    words.extend(bytes.to_le_bytes());
    stream.write_all(&words)
}

/// Listens in the calling thread's network, for as long as this process lives.
pub fn start() -> Result<(), BenchError> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT));
    let listener = listener.map_err(BenchError::io("listen"))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let one = thread::Builder::new().stack_size(STACK);
            // A connection that has no thread is closed, and its client fails.
            one.spawn(move || drop(answer(stream))).ok();
        }
    });
    Ok(())
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut want, mut bytes) = ([0], [0; 8]);
    stream.read_exact(&mut want)?;
    stream.read_exact(&mut bytes)?;
    let bytes = u64::from_le_bytes(bytes);
    match want {
        [want] if want == Want::Download as u8 => send(&mut stream, bytes),
        [want] if want == Want::Upload as u8 => {
            receive(&mut stream, bytes)?;
            stream.write_all(&[0])
        }
        [want] if want == Want::Parts as u8 => parts(&mut stream),
        _ => echo(&mut stream),
    }
}

/// Sends so many bytes.
pub fn send(stream: &mut TcpStream, mut left: u64) -> io::Result<()> {
    let buffer = vec![7; CHUNK];
    while left > 0 {
        let now = buffer.get(..usize::try_from(left).unwrap_or(CHUNK).min(CHUNK));
        let now = now.unwrap_or_default();
        stream.write_all(now)?;
        left -= now.len() as u64;
    }
    Ok(())
}

/// Receives so many bytes.
pub fn receive(stream: &mut TcpStream, mut left: u64) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    while left > 0 {
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => left = left.saturating_sub(read as u64),
        }
    }
    Ok(())
}

fn echo(stream: &mut TcpStream) -> io::Result<()> {
    let mut buffer = [0; 64];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => stream.write_all(buffer.get(..read).unwrap_or_default())?,
        }
    }
}

fn parts(stream: &mut TcpStream) -> io::Result<()> {
    let mut two = [0; 2];
    loop {
        stream.read_exact(&mut two)?;
        for one in two {
            stream.write_all(&[one])?;
        }
    }
}

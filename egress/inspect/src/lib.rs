//! For whom a TCP stream is: the first bytes of TLS, every request of HTTP/1.
//!
//! The relay knows the name of a connection before a byte is sent, from the answer that
//! the sandbox's resolver gave. Servers that share an address go by what is *said*: by the
//! TLS server name, by the `Host` of each request. An [`Inspector`] lets a client's bytes
//! go on when they say the same name, and not one byte of what says another.
//!
//! ```
//! use lakekeep_egress_inspect::{Inspector, Progress};
//! use lakekeep_egress_rules::Streams;
//!
//! let mut inspector = Inspector::new("pypi.example".parse()?, Streams::HELD);
//! let mut onward = Vec::new();
//! let said = b"GET / HTTP/1.1\r\nHost: pypi.example\r\n\r\n";
//! assert_eq!(inspector.client(said, &mut onward)?, Progress::Inspect);
//! assert_eq!(onward, said);
//!
//! let other = b"GET / HTTP/1.1\r\nHost: index.example\r\n\r\n";
//! onward.clear();
//! assert!(inspector.client(other, &mut onward).is_err());
//! assert!(onward.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Pure: bytes in, bytes and an answer out, at most [`MAX_HELD_BYTES`] kept between.

mod classify;
mod http;
mod inspector;
mod refusal;
mod tls;

pub use inspector::{Inspector, MAX_HELD_BYTES, Progress};
pub use refusal::Refusal;

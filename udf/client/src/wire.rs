//! Frames: the header of each packet, and what may follow it. docs/udf-wire.md is the contract.

use arrow_buffer::Buffer;

/// Version of the protocol.
pub(crate) const VERSION: u64 = 1;
/// Bytes of a header.
pub(crate) const HEADER: usize = 24;
/// Most content of one packet, bytes; what is larger follows in parts.
pub(crate) const PIECE: usize = 128 * 1024;
/// Most content of a part, bytes: each packet has its price, but the kernel may lack so much
/// memory in one piece for it, and then less is sent.
pub(crate) const PART_LIMIT: usize = 256 * 1024;
/// Least content of every part but the last, bytes.
pub(crate) const PART_LEAST: usize = 64 * 1024;
/// Most bytes of a worker's JSON.
pub(crate) const JSON_LIMIT: usize = 64 * 1024;

/// Kinds of frames, as docs/udf-wire.md has them.
pub(crate) mod kind {
    pub(crate) const OPEN: u8 = 1;
    pub(crate) const INPUT: u8 = 2;
    pub(crate) const OUTPUT: u8 = 3;
    pub(crate) const FUNCTION: u8 = 4;
    pub(crate) const CALL: u8 = 5;
    pub(crate) const END: u8 = 6;
    pub(crate) const OPENED: u8 = 16;
    pub(crate) const RESULT: u8 = 17;
    pub(crate) const DONE: u8 = 18;
    pub(crate) const ERROR: u8 = 19;
    pub(crate) const CRASHED: u8 = 20;
    pub(crate) const PART: u8 = 21;
}

/// Where a frame's content is.
pub(crate) mod place {
    pub(crate) const INLINE: u8 = 0;
    pub(crate) const PARTS: u8 = 1;
}

/// The first 24 bytes of a packet. Little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: u8,
    pub(crate) place: u8,
    pub(crate) reserved: u16,
    pub(crate) call: u32,
    /// Bytes of content, wherever it is.
    pub(crate) length: u64,
    pub(crate) rows: u64,
}

impl Header {
    pub(crate) fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0] = self.kind;
        bytes[1] = self.place;
        bytes[2..4].copy_from_slice(&self.reserved.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.call.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.length.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.rows.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; HEADER]) -> Self {
        let [kind, place, r0, r1, c0, c1, c2, c3, rest @ ..] = *bytes;
        let [l0, l1, l2, l3, l4, l5, l6, l7, rows @ ..] = rest;
        Self {
            kind,
            place,
            reserved: u16::from_le_bytes([r0, r1]),
            call: u32::from_le_bytes([c0, c1, c2, c3]),
            length: u64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7]),
            rows: u64::from_le_bytes(rows),
        }
    }
}

/// A whole frame of a worker's.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) call: u32,
    pub(crate) rows: u64,
    pub(crate) content: Buffer,
}

impl Frame {
    pub(crate) fn of(header: Header, content: Vec<u8>) -> Self {
        Self {
            kind: header.kind,
            call: header.call,
            rows: header.rows,
            content: Buffer::from_vec(content),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_as_it_was_written() {
        let header = Header {
            kind: kind::RESULT,
            place: place::PARTS,
            reserved: 0x0102,
            call: 0x0304_0506,
            length: 0x0708_090a_0b0c_0d0e,
            rows: u64::MAX - 1,
        };
        let bytes = header.to_bytes();
        assert_eq!(bytes[..8], [17, 1, 2, 1, 6, 5, 4, 3]);
        assert_eq!(Header::from_bytes(&bytes), header);
    }
}

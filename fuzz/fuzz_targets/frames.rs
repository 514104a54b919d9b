//! Frames as a hostile peer would send them. The first byte of an input chooses
//! the frame's type and the way that it comes: its body alone, or as a packet,
//! with or without a sealed file beside it.
#![no_main]

use std::alloc::System;
use std::fmt::Debug;
use std::os::fd::AsFd;

use cap::Cap;
use lakekeep_protocol::channel::decode;
use lakekeep_protocol::{Channel, InitReply, InitRequest, LauncherReply, LauncherRequest};
use lakekeep_sys::{memfd, socket};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// Memory that decoding may take at one time for each byte of a body: 64 for a
/// list of steps that claims an element a byte and has not been refused yet, and
/// 24 for each empty text of the lists before it.
const FOR_A_BYTE: usize = 64 + 24;
/// And for any body: the buffers of a channel, and the frame itself.
const FOR_ANY: usize = 64 << 10;

/// Longest packet that is tried; a channel's own limit is a little above.
const PACKET: usize = 16 * 1024;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, body)) = data.split_first() else {
        return;
    };
    match choice & 3 {
        0 => frame::<LauncherRequest>(choice, body),
        1 => frame::<LauncherReply>(choice, body),
        2 => frame::<InitRequest>(choice, body),
        _ => frame::<InitReply>(choice, body),
    }
});

fn frame<T: Serialize + DeserializeOwned + PartialEq + Debug>(choice: u8, body: &[u8]) {
    if choice & 4 == 0 {
        if let Ok(frame) = bounded(body.len(), || decode::<T>(body)) {
            encode_again(&frame, body.len());
        }
    } else if body.len() <= PACKET {
        packet::<T>(body, choice & 8 != 0);
    }
}

fn encode_again<T: Serialize + DeserializeOwned + PartialEq + Debug>(frame: &T, length: usize) {
    let body = postcard::to_stdvec(frame).expect("plain data");
    assert!(body.len() <= length, "ours is the shortest encoding");
    assert_eq!(&decode::<T>(&body).expect("our own encoding"), frame);
}

/// All of `packet`, its header too, as it comes from a socket.
fn packet<T: Serialize + DeserializeOwned + PartialEq + Debug>(packet: &[u8], beside: bool) {
    let (left, right) = socket::pair().expect("a socket pair");
    if beside {
        let file = memfd::sealed("fuzz", packet.get(2..).unwrap_or_default(), false);
        let file = file.expect("a sealed file");
        let header = packet.get(..2).unwrap_or(packet);
        socket::send(&left, header, &[file.as_fd()]).expect("a packet");
    } else {
        socket::send(&left, packet, &[left.as_fd()]).expect("a packet");
    }
    drop(left);
    let channel = Channel::<T, T>::new(right);
    if let Ok(Some((frame, descriptors))) = bounded(packet.len(), || channel.receive()) {
        encode_again(&frame, packet.len());
        assert_eq!(descriptors.len(), usize::from(!beside));
    }
}

/// Runs `work`; more memory than a body of `length` may cost ends the process.
fn bounded<R>(length: usize, work: impl FnOnce() -> R) -> R {
    let limit = MEMORY.allocated() + length * FOR_A_BYTE + FOR_ANY;
    MEMORY.set_limit(limit).expect("above what is in use");
    let result = work();
    MEMORY.set_limit(usize::MAX).expect("above what is in use");
    result
}

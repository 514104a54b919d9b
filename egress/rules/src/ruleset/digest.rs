//! The digest of a ruleset, for the trust key.
//!
//! Every item is its length (8 bytes, little-endian) and its bytes, and every collection
//! is preceded by its count, so that no two rulesets that differ have one encoding.

use std::collections::BTreeSet;

use super::{Layer, Ruleset};
use crate::document::Mode;

struct Encoder(blake3::Hasher);

impl Encoder {
    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.0.update(bytes);
    }

    fn number(&mut self, number: usize) {
        self.0.update(&(number as u64).to_le_bytes());
    }
}

pub(super) fn digest(ruleset: &Ruleset) -> String {
    let mut encoder = Encoder(blake3::Hasher::new());
    encoder.bytes(b"lakekeep egress rules v1");
    // Two layers of one level may stand in either order.
    let mut layers: Vec<[u8; 32]> = ruleset
        .layers
        .iter()
        .map(|layer| layer_digest(layer))
        .collect();
    layers.sort_unstable();
    encoder.number(layers.len());
    layers.iter().for_each(|layer| encoder.bytes(layer));
    encoder.0.finalize().to_hex().to_string()
}

/// Rules in the order of their texts, each once: neither order nor repetition decides
/// anything. Whose document it is counts, for it is told in decisions.
fn layer_digest(layer: &Layer) -> [u8; 32] {
    let mut encoder = Encoder(blake3::Hasher::new());
    encoder.bytes(layer.level.as_str().as_bytes());
    encoder.bytes(match layer.mode {
        Mode::Enforce => b"enforce",
        Mode::DryRun => b"dry-run",
        Mode::Off => b"off",
    });
    let rules: BTreeSet<String> = layer
        .rules
        .iter()
        .map(|placed| placed.rule.to_string())
        .collect();
    encoder.number(rules.len());
    rules.iter().for_each(|rule| encoder.bytes(rule.as_bytes()));
    let (limits, total) = (layer.limits.numbers(), layer.total.numbers());
    for number in limits.into_iter().chain(total) {
        encoder.0.update(&number.to_le_bytes());
    }
    encoder.number(layer.sockets.len());
    for (name, path) in &layer.sockets {
        encoder.bytes(name.as_bytes());
        encoder.bytes(path.as_os_str().as_encoded_bytes());
    }
    encoder.number(layer.services.len());
    for service in &layer.services {
        encoder.bytes(service.as_str().as_bytes());
    }
    *encoder.0.finalize().as_bytes()
}

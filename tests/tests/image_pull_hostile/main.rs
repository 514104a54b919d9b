//! Registries that are made to harm: each is refused for its own reason, and nothing has a name, nothing is left
//! over, nothing outside of the store is touched. Each begins with an honest registry's image, which is taken
//! (`image_pull.rs`), and does one thing otherwise.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod answers;
mod case;
#[path = "../../../images/unpack/tests/common/mod.rs"]
#[allow(dead_code, reason = "the rest is for other tests")]
mod common;
mod contents;
mod credentials;
mod documents;
mod naive;
mod places;
#[path = "../pull/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the rest is for other tests")]
mod pull;
mod transfers;

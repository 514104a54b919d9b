//! Generates the interface from proto/ without a protoc.

use std::error::Error;
use std::path::Path;

use prost::Message;

const PROTO: [&str; 4] = [
    "lakekeep/v1/sandboxes.proto",
    "lakekeep/v1/accounts.proto",
    "lakekeep/v1/environments.proto",
    "lakekeep/v1/egress.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(PROTO, ["proto"])?;
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(
        Path::new(&out).join("descriptors.bin"),
        descriptors.encode_to_vec(),
    )?;
    tonic_prost_build::configure()
        // Beside it, the other words of a stream would be small.
        .boxed("lakekeep.v1.ExecRequest.request.start")
        .compile_fds(descriptors)?;
    Ok(())
}

//! Generates Spark's protocol from proto/ without a protoc.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(["spark/udf_worker.proto"], ["proto"])?;
    tonic_prost_build::configure()
        // Batches and payloads are kept as they arrived, without a copy.
        .bytes(".org.apache.spark.udf.worker")
        .build_client(false)
        // Beside it, the other words of a stream are small.
        .boxed("org.apache.spark.udf.worker.UdfControlRequest.control.init")
        .compile_fds(descriptors)?;
    Ok(())
}

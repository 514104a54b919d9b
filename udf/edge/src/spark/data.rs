//! Schemas and batches as the engine has them: encapsulated messages of Arrow's IPC, one in
//! each field of bytes. All are bounded by the size of a message of gRPC's, and are checked as
//! a worker's answers are.

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_schema::SchemaRef;
use lakekeep_udf_client::encode::Encoder;
use lakekeep_udf_client::{UdfError, check};
use prost::bytes::Bytes;

use super::failure::Failure;

/// The schema in `field`, which has to be there.
///
/// # Errors
/// [`Failure::Protocol`], with the field.
pub fn schema(field: &str, content: Option<&Bytes>) -> Result<SchemaRef, Failure> {
    let Some(content) = content else {
        return Err(Failure::Protocol(format!(
            "{field} is missing; a serialised function does not tell its types: send an Arrow \
             schema"
        )));
    };
    check::schema(&Buffer::from(content.clone())).map_err(|error| {
        Failure::Protocol(format!(
            "{field}: {}; send one encapsulated message of Arrow's IPC with a schema",
            rule(error)
        ))
    })
}

/// The batch in a DataRequest.
///
/// # Errors
/// [`Failure::Protocol`]: it is no batch of that schema.
pub fn batch(content: Bytes, schema: &SchemaRef) -> Result<RecordBatch, Failure> {
    check::batch(&Buffer::from(content), schema).map_err(|error| {
        Failure::Protocol(format!(
            "DataRequest.data: {}; send one encapsulated message of Arrow's IPC with a record \
             batch of Init.input_schema, not compressed, and no schema before it",
            rule(error)
        ))
    })
}

/// A batch for a DataResponse.
///
/// # Errors
/// [`Failure::Worker`]: it cannot be encoded.
pub fn response(encoder: &mut Encoder, batch: &RecordBatch) -> Result<Bytes, Failure> {
    let pieces = encoder
        .batch(batch)
        .map_err(|error| Failure::Worker(format!("an answer cannot be encoded: {error}")))?;
    let pieces: Vec<&[u8]> = pieces.iter().map(Buffer::as_slice).collect();
    Ok(pieces.concat().into())
}

/// What is wrong with a message, whoever it is of.
fn rule(error: UdfError) -> String {
    match error {
        UdfError::Protocol(rule) => rule,
        other => other.to_string(),
    }
}

/// As an engine would have sent it.
#[cfg(test)]
pub fn encoded(schema: &arrow_schema::Schema) -> Bytes {
    lakekeep_udf_client::encode::schema(schema)
        .expect("a schema")
        .into()
}

//! Schemas and batches as the engine has them: encapsulated messages of Arrow's IPC, one in
//! each field of bytes. All are bounded by the size of a message of gRPC's.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::convert::fb_to_schema;
use arrow_ipc::{MessageHeader, root_as_message};
use arrow_schema::SchemaRef;
use lakekeep_udf_client::encode::Encoder;
use lakekeep_udf_client::{UdfError, check};
use prost::bytes::Bytes;

use super::failure::Failure;

/// Bytes of the continuation and the metadata's length.
const PREFIX: usize = 8;

/// Most metadata of a schema, bytes: that of thousands of columns.
const SCHEMA_LIMIT: usize = 4 << 20;

/// The schema in `field`, which has to be there.
///
/// # Errors
/// [`Failure::Protocol`], with the field.
pub fn schema(field: &str, content: Option<&Bytes>) -> Result<SchemaRef, Failure> {
    let refuse = |why: &str| Failure::Protocol(format!("{field} {why}"));
    let content = content.ok_or_else(|| {
        refuse("is missing; a serialised function does not tell its types: send an Arrow schema")
    })?;
    let wrong = || refuse("is no encapsulated message of Arrow's IPC with a schema");
    let metadata = metadata(content).ok_or_else(wrong)?;
    if metadata.len() > SCHEMA_LIMIT {
        return Err(refuse("has over 4 MiB; send fewer columns"));
    }
    let message = root_as_message(metadata).map_err(|_| wrong())?;
    if message.header_type() != MessageHeader::Schema {
        return Err(wrong());
    }
    let found = message.header_as_schema().ok_or_else(wrong)?;
    // Arrow's reader panics at types that it does not know; it has nothing half done then.
    let read = catch_unwind(AssertUnwindSafe(|| fb_to_schema(found)));
    read.map(Into::into)
        .map_err(|_| refuse("has a type that is not known here"))
}

/// The batch in a DataRequest.
///
/// # Errors
/// [`Failure::Protocol`]: it is no batch of that schema.
pub fn batch(content: Bytes, schema: &SchemaRef) -> Result<RecordBatch, Failure> {
    let refuse = |why: &str| Failure::Protocol(format!("a DataRequest with {why}"));
    let wrong = || {
        refuse("something else than one encapsulated message of Arrow's IPC with a record batch")
    };
    let found = metadata(&content).and_then(|metadata| root_as_message(metadata).ok());
    let found = found.ok_or_else(wrong)?;
    if found.header_type() == MessageHeader::Schema {
        return Err(refuse("a schema; send the record batch alone, Init has the schema"));
    }
    let header = found.header_as_record_batch().ok_or_else(wrong)?;
    let rows = u64::try_from(header.length()).map_err(|_| wrong())?;
    check::result(&Buffer::from(content), schema, rows).map_err(|error| match error {
        UdfError::Refused { message, .. } => refuse(&format!("values out of order: {message}")),
        error => refuse(&error.to_string()),
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
    Ok(pieces.concat().into())
}

/// The metadata of an encapsulated message.
fn metadata(content: &[u8]) -> Option<&[u8]> {
    let (prefix, rest) = content.split_at_checked(PREFIX)?;
    let (mark, size) = prefix.split_at(PREFIX / 2);
    let size = u32::from_le_bytes(size.try_into().ok()?);
    let size = usize::try_from(size).ok()?;
    match mark == [0xff; 4] && size > 0 {
        true => rest.get(..size),
        false => None,
    }
}

/// As an engine would have sent it.
#[cfg(test)]
pub fn encoded(schema: &arrow_schema::Schema) -> Bytes {
    lakekeep_udf_client::encode::schema(schema)
        .expect("a schema")
        .into()
}

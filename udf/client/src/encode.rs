//! Record batches and schemas as encapsulated messages of Arrow's IPC, for whoever has to
//! speak of them elsewhere.

use std::fmt;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions, StreamEncoder};
use arrow_ipc::{CompressionType, MetadataVersion};
use arrow_schema::{ArrowError, Schema};

/// Encodes batches whose columns have no dictionaries.
#[derive(Default)]
pub struct Encoder {
    /// None before the first batch.
    stream: Option<StreamEncoder>,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Encoder {
    /// A batch, without its schema: pieces that follow on one another, the columns' own
    /// memory among them.
    ///
    /// # Errors
    /// [`ArrowError`]: a type that the format has no place for.
    pub fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<Buffer>, ArrowError> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(begun()?),
        };
        stream.encode(batch)
    }
}

/// An encoder that makes messages of batches alone, of any schema.
fn begun() -> Result<StreamEncoder, ArrowError> {
    let none = Schema::empty();
    let mut stream = StreamEncoder::try_new_with_options(&none, options()?)?;
    // The first batch brings the stream's schema, which is told elsewhere.
    stream.encode(&RecordBatch::new_empty(none.into()))?;
    Ok(stream)
}

/// A schema.
///
/// # Errors
/// [`ArrowError`], of the options that it is written with.
pub fn schema(schema: &Schema) -> Result<Vec<u8>, ArrowError> {
    let mut tracker = DictionaryTracker::new(true);
    let encoded = IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(
        schema,
        &mut tracker,
        &options()?,
    );
    Ok(framed(&encoded.ipc_message))
}

fn options() -> Result<IpcWriteOptions, ArrowError> {
    let none: Option<CompressionType> = None;
    IpcWriteOptions::try_new(64, false, MetadataVersion::V5)?.try_with_compression(none)
}

/// The continuation, the length, and the metadata up to a multiple of 8 bytes.
fn framed(metadata: &[u8]) -> Vec<u8> {
    let size = metadata.len().next_multiple_of(8);
    let mut bytes = Vec::with_capacity(8 + size);
    bytes.extend([0xff; 4]);
    bytes.extend(u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(metadata);
    bytes.resize(8 + size, 0);
    bytes
}

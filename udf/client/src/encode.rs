//! Record batches and schemas as encapsulated messages of Arrow's IPC, for whoever has to
//! speak of them elsewhere.

use arrow_array::RecordBatch;
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow_ipc::{CompressionType, MetadataVersion};
use arrow_schema::{ArrowError, Schema};

/// A message in pieces that follow on one another.
pub type Pieces = [Vec<u8>; 2];

/// Encodes batches whose columns have no dictionaries.
#[derive(Debug, Default)]
pub struct Encoder {
    generator: IpcDataGenerator,
    context: IpcWriteContext,
}

impl Encoder {
    /// A batch, without its schema.
    ///
    /// # Errors
    /// [`ArrowError`]: a type that the format has no place for.
    pub fn batch(&mut self, batch: &RecordBatch) -> Result<Pieces, ArrowError> {
        // Nothing is ever in it: dictionaries are not sent.
        let mut tracker = DictionaryTracker::new(true);
        let (_, encoded) =
            self.generator
                .encode(batch, &mut tracker, &options()?, &mut self.context)?;
        Ok([framed(&encoded.ipc_message), encoded.arrow_data])
    }
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

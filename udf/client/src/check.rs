//! What a worker answers is checked here; nothing of it is believed.
//!
//! Arrow's reader checks offsets against the body, and a full validation the values. Before
//! it, this looks at the message's header by itself, for the reader would unpack a
//! compressed body, however large it becomes, and takes for granted that validity has as
//! many bits as there are values.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::{Array, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::convert::fb_to_schema;
use arrow_ipc::{FieldNode, Message, MessageHeader, MetadataVersion, root_as_message};
use arrow_schema::{ArrowError, DataType, Field, SchemaRef};

use crate::UdfError;
use crate::told;

/// Bytes of the continuation and the metadata's length.
const PREFIX: usize = 8;
/// Most metadata of a batch, bytes: 16 for a field, 16 for a buffer; thousands of columns fit.
const METADATA_LIMIT: usize = 1 << 20;

/// The record batch in an encapsulated message of a worker's, which must be of this schema
/// and have this many rows.
///
/// # Errors
/// [`UdfError::Protocol`]: it is no plain record batch message. [`UdfError::Refused`]: its
/// values are not what the schema says.
pub fn result(content: &Buffer, schema: &SchemaRef, rows: u64) -> Result<RecordBatch, UdfError> {
    let (metadata, body) = framed(content)?;
    let message = root_as_message(metadata)
        .map_err(|_| violation("metadata that is no message, or points out of itself"))?;
    let batch = plain_batch(&message, body.len(), rows)?;
    let mut layout = Layout {
        nodes: batch.nodes().into_iter().flatten(),
        buffers: batch.buffers().into_iter().flatten(),
        body: body.len() as u64,
        rows,
    };
    layout.of_schema(schema)?;
    // Whatever was missed above must not end the engine; the state that a panic leaves
    // behind is dropped with it.
    let read = catch_unwind(AssertUnwindSafe(|| read(&body, batch, schema)));
    match read {
        Ok(Ok(batch)) => Ok(batch),
        Ok(Err(error)) => Err(refused(&error.to_string())),
        Err(_) => Err(refused("its reader gave up")),
    }
}

/// The schema in an encapsulated message, whoever it is of.
///
/// # Errors
/// [`UdfError::Protocol`]: it is none, or has a type that is not known here.
pub fn schema(content: &Buffer) -> Result<SchemaRef, UdfError> {
    let (metadata, _) = framed(content)?;
    let message = root_as_message(metadata)
        .map_err(|_| violation("metadata that is no message, or points out of itself"))?;
    let found = message
        .header_as_schema()
        .ok_or_else(|| violation("a message that is no schema"))?;
    // Arrow's reader panics at what it does not know, and has nothing half done then.
    catch_unwind(AssertUnwindSafe(|| fb_to_schema(found)))
        .map(Into::into)
        .map_err(|_| violation("a schema with a type that is not known here"))
}

/// The record batch in an encapsulated message, which must be of this schema; as [`result`],
/// where nothing else tells the number of rows.
///
/// # Errors
/// As of [`result`].
pub fn batch(content: &Buffer, schema: &SchemaRef) -> Result<RecordBatch, UdfError> {
    let (metadata, _) = framed(content)?;
    let rows = root_as_message(metadata)
        .ok()
        .and_then(|message| message.header_as_record_batch())
        .and_then(|batch| u64::try_from(batch.length()).ok())
        .ok_or_else(|| violation("a message that is no record batch"))?;
    result(content, schema, rows)
}

fn read(
    body: &Buffer,
    batch: arrow_ipc::RecordBatch<'_>,
    schema: &SchemaRef,
) -> Result<RecordBatch, ArrowError> {
    let (schema, version) = (schema.clone(), MetadataVersion::V5);
    let none = HashMap::new();
    let found = arrow_ipc::reader::read_record_batch(body, batch, schema, &none, None, &version)?;
    for column in found.columns() {
        column.to_data().validate_full()?;
    }
    Ok(found)
}

/// The metadata and the body of an encapsulated message.
fn framed(content: &Buffer) -> Result<(&[u8], Buffer), UdfError> {
    let none = || violation("no encapsulated message");
    let (prefix, rest) = content
        .as_slice()
        .split_at_checked(PREFIX)
        .ok_or_else(none)?;
    let (mark, size) = prefix.split_at(PREFIX / 2);
    let size = u32::from_le_bytes(size.try_into().map_err(|_| none())?) as usize;
    if mark != [0xff; 4] || size == 0 || size > METADATA_LIMIT || !size.is_multiple_of(8) {
        return Err(none());
    }
    let metadata = rest.get(..size).ok_or_else(none)?;
    Ok((metadata, content.slice(PREFIX + size)))
}

/// The message's batch, if it is one without anything that is not sent.
fn plain_batch<'a>(
    message: &Message<'a>,
    body: usize,
    rows: u64,
) -> Result<arrow_ipc::RecordBatch<'a>, UdfError> {
    let declared = message.bodyLength();
    if usize::try_from(declared) != Ok(body) {
        let text = format!("a body of {body} bytes that was declared as {declared}");
        return Err(UdfError::Protocol(text));
    }
    if message.version() != MetadataVersion::V5
        || message.header_type() != MessageHeader::RecordBatch
    {
        return Err(violation(
            "a message that is no record batch of Arrow's version 5",
        ));
    }
    let batch = message
        .header_as_record_batch()
        .ok_or_else(|| violation("a message without its record batch"))?;
    if batch.compression().is_some() {
        return Err(violation("a compressed body"));
    }
    if batch
        .variadicBufferCounts()
        .is_some_and(|counts| !counts.is_empty())
    {
        return Err(violation("views, which are not sent"));
    }
    let found = batch.length();
    match u64::try_from(found) == Ok(rows) {
        true => Ok(batch),
        false => Err(UdfError::Protocol(format!(
            "a batch of {found} rows that was declared as {rows}"
        ))),
    }
}

/// Fields and buffers in the order in which the schema wants them.
struct Layout<N, B> {
    nodes: N,
    buffers: B,
    body: u64,
    rows: u64,
}

impl<'a, N, B> Layout<N, B>
where
    N: Iterator<Item = &'a FieldNode>,
    B: Iterator<Item = &'a arrow_ipc::Buffer>,
{
    fn of_schema(&mut self, schema: &SchemaRef) -> Result<(), UdfError> {
        schema
            .fields()
            .iter()
            .try_for_each(|field| self.of(field))?;
        match (self.nodes.next(), self.buffers.next()) {
            (None, None) => Ok(()),
            _ => Err(violation("more fields or buffers than its schema has")),
        }
    }

    fn of(&mut self, field: &Field) -> Result<(), UdfError> {
        let node = self
            .nodes
            .next()
            .ok_or_else(|| violation("too few fields"))?;
        let values = self.node(node)?;
        let kind = field.data_type();
        if matches!(kind, DataType::Null) {
            return Ok(());
        }
        let validity = self.buffer()?;
        if node.null_count() > 0 && validity.saturating_mul(8) < values {
            return Err(violation("validity of fewer bits than there are values"));
        }
        for _ in 0..own_buffers(kind) {
            self.buffer()?;
        }
        match kind {
            DataType::List(inner)
            | DataType::LargeList(inner)
            | DataType::FixedSizeList(inner, _)
            | DataType::Map(inner, _) => self.of(inner),
            DataType::Struct(inner) => inner.iter().try_for_each(|field| self.of(field)),
            _ => Ok(()),
        }
    }

    /// How many values a field has. Each takes a bit at least, unless its type is null:
    /// those count as rows do.
    fn node(&self, node: &FieldNode) -> Result<u64, UdfError> {
        let (length, nulls) = (node.length(), node.null_count());
        let most = self.body.saturating_mul(8).saturating_add(self.rows);
        match (u64::try_from(length), u64::try_from(nulls)) {
            (Ok(values), Ok(nulls)) if nulls <= values && values <= most => Ok(values),
            _ => Err(UdfError::Protocol(format!(
                "a field of {length} values, {nulls} null"
            ))),
        }
    }

    /// The bytes of the next buffer, which is within the body.
    fn buffer(&mut self) -> Result<u64, UdfError> {
        let buffer = self
            .buffers
            .next()
            .ok_or_else(|| violation("too few buffers"))?;
        let (Ok(start), Ok(size)) = (
            u64::try_from(buffer.offset()),
            u64::try_from(buffer.length()),
        ) else {
            return Err(violation("a buffer of a negative size or place"));
        };
        let within = start.checked_add(size).is_some_and(|end| end <= self.body);
        match within && start % 8 == 0 {
            true => Ok(size),
            false => Err(violation("a buffer out of the body, or between its words")),
        }
    }
}

/// Buffers of a type beside its validity.
fn own_buffers(kind: &DataType) -> usize {
    match kind {
        DataType::Null | DataType::Struct(_) | DataType::FixedSizeList(..) => 0,
        DataType::Utf8 | DataType::Binary | DataType::LargeUtf8 | DataType::LargeBinary => 2,
        _ => 1,
    }
}

fn violation(rule: &str) -> UdfError {
    UdfError::Protocol(rule.to_owned())
}

fn refused(why: &str) -> UdfError {
    UdfError::Refused {
        message: format!("no valid batch: {}", told::text(why, 500)),
        by_worker: false,
    }
}

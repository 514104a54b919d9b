//! What a worker answers an engine: a schema's number, rows, an encapsulated message.
#![no_main]

use std::sync::{Arc, LazyLock};

use arrow_array::Array;
use arrow_buffer::Buffer;
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use lakekeep_udf_client::{UdfError, check};
use libfuzzer_sys::fuzz_target;

/// The allocator counts: what a message may cost is part of what is tested.
#[global_allocator]
static MEMORY: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, usize::MAX);

// Arrow's reader may panic where it meets what it does not know: what is tested catches
// that. libFuzzer's own hook would end the process before; it is not needed for a panic that
// gets through, which its frame around each input finds.
fuzz_target!(
    init: std::panic::set_hook(Box::new(|_| {})),
    |bytes: &[u8]| message(bytes)
);

static SCHEMAS: LazyLock<Vec<SchemaRef>> = LazyLock::new(|| {
    let field = |name: &str, kind| Field::new(name, kind, true);
    let list = |kind| DataType::List(Arc::new(field("item", kind)));
    let pair = vec![field("a", DataType::Utf8), field("b", list(DataType::Int8))];
    let entries = vec![
        Field::new("key", DataType::Utf8, false),
        field("value", DataType::Null),
    ];
    let entries = Field::new("entries", DataType::Struct(entries.into()), false);
    let fixed = DataType::FixedSizeList(Arc::new(field("item", DataType::Boolean)), 3);
    let kinds = vec![
        DataType::Int64,
        DataType::Boolean,
        DataType::Utf8,
        DataType::LargeBinary,
        list(DataType::Utf8),
        DataType::Struct(pair.into()),
        DataType::Map(Arc::new(entries), false),
        fixed,
        DataType::Decimal128(10, 2),
        DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::FixedSizeBinary(5),
        DataType::Null,
    ];
    let one = kinds
        .iter()
        .map(|kind| Schema::new(vec![field("x", kind.clone())]));
    let mut schemas: Vec<Schema> = one.collect();
    schemas.push(Schema::new(vec![Field::new("x", DataType::Int64, false)]));
    schemas.push(Schema::empty());
    let all = kinds.iter().enumerate();
    let all = all.map(|(index, kind)| field(&index.to_string(), kind.clone()));
    schemas.push(Schema::new(all.collect::<Vec<_>>()));
    schemas.into_iter().map(Arc::new).collect()
});

/// What is believed is as declared in all its values; what is not is an error with a remedy;
/// either costs no more than in proportion to what came.
fn message(bytes: &[u8]) {
    let [which, low, high, content @ ..] = bytes else {
        return;
    };
    let Some(schema) = SCHEMAS.get(usize::from(*which) % SCHEMAS.len()) else {
        return;
    };
    let rows = u64::from(u16::from_le_bytes([*low, *high]));
    let content = Buffer::from(content);
    let before = MEMORY.allocated();
    let found = check::result(&content, schema, rows);
    let cost = MEMORY.allocated().saturating_sub(before);
    assert!(cost <= 64 * 1024 + 4 * content.len(), "{cost} bytes");
    match found {
        Ok(batch) => {
            assert_eq!(batch.schema_ref(), schema);
            assert_eq!(batch.num_rows() as u64, rows);
            for column in batch.columns() {
                assert_eq!(column.len() as u64, rows);
                column.to_data().validate_full().unwrap();
            }
        }
        Err(error) => {
            let known = matches!(error, UdfError::Protocol(_) | UdfError::Refused { .. });
            assert!(known && !error.remedy().is_empty());
            let text = error.to_string();
            assert!(
                !text
                    .chars()
                    .any(|it| it.is_control() && it != '\n' && it != '\t')
            );
        }
    }
}

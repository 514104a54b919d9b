//! Messages as no honest worker writes them: each is refused, and nothing panics.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod stand;

use std::sync::Arc;

use arrow_array::{
    ArrayRef, Int64Array, ListArray, RecordBatch, StringArray, StructArray, types::Int32Type,
};
use arrow_buffer::Buffer;
use arrow_ipc::{
    BodyCompression, BodyCompressionArgs, FieldNode, Message, MessageArgs, MessageHeader,
    MetadataVersion,
};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use flatbuffers::FlatBufferBuilder;
use lakekeep_udf_client::UdfError;
use lakekeep_udf_client::check::result;
use stand::{message, numbers};

/// A message of which every word can be another than it should be.
struct Forged {
    version: MetadataVersion,
    header: MessageHeader,
    rows: i64,
    nodes: Vec<(i64, i64)>,
    buffers: Vec<(i64, i64)>,
    compressed: bool,
    variadic: Vec<i64>,
    declared: Option<i64>,
    body: Vec<u8>,
}

impl Forged {
    /// Two values of 64 bits, and no nulls.
    fn numbers() -> Self {
        Self {
            version: MetadataVersion::V5,
            header: MessageHeader::RecordBatch,
            rows: 2,
            nodes: vec![(2, 0)],
            buffers: vec![(0, 0), (0, 16)],
            compressed: false,
            variadic: Vec::new(),
            declared: None,
            body: vec![7; 16],
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut builder = FlatBufferBuilder::new();
        let nodes: Vec<_> = self
            .nodes
            .iter()
            .map(|(length, nulls)| FieldNode::new(*length, *nulls))
            .collect();
        let buffers: Vec<_> = self
            .buffers
            .iter()
            .map(|(start, size)| arrow_ipc::Buffer::new(*start, *size))
            .collect();
        let nodes = builder.create_vector(&nodes);
        let buffers = builder.create_vector(&buffers);
        let variadic = builder.create_vector(&self.variadic);
        let compression = self
            .compressed
            .then(|| BodyCompression::create(&mut builder, &BodyCompressionArgs::default()));
        let batch = arrow_ipc::RecordBatchArgs {
            length: self.rows,
            nodes: Some(nodes),
            buffers: Some(buffers),
            compression,
            variadicBufferCounts: (!self.variadic.is_empty()).then_some(variadic),
        };
        let batch = arrow_ipc::RecordBatch::create(&mut builder, &batch);
        let message = MessageArgs {
            version: self.version,
            header_type: self.header,
            header: Some(batch.as_union_value()),
            bodyLength: self
                .declared
                .unwrap_or(i64::try_from(self.body.len()).unwrap()),
            custom_metadata: None,
        };
        let message = Message::create(&mut builder, &message);
        builder.finish(message, None);
        framed(builder.finished_data(), &self.body)
    }
}

fn framed(metadata: &[u8], body: &[u8]) -> Vec<u8> {
    let size = metadata.len().next_multiple_of(8);
    let mut bytes = vec![0xff; 4];
    bytes.extend(u32::try_from(size).unwrap().to_le_bytes());
    bytes.extend(metadata);
    bytes.resize(8 + size, 0);
    bytes.extend(body);
    bytes
}

fn schema(fields: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}

fn of(kind: DataType) -> SchemaRef {
    schema(vec![Field::new("x", kind, true)])
}

fn check(bytes: Vec<u8>, schema: &SchemaRef, rows: u64) -> Result<RecordBatch, UdfError> {
    result(&Buffer::from(bytes), schema, rows)
}

#[track_caller]
fn violates(forged: &Forged, schema: &SchemaRef, rule: &str) {
    match check(forged.bytes(), schema, 2) {
        Err(UdfError::Protocol(text)) => assert!(text.contains(rule), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(forged: &Forged, schema: &SchemaRef) -> String {
    match check(forged.bytes(), schema, 2) {
        Err(UdfError::Refused {
            message,
            by_worker: false,
        }) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_as_declared_is_read() {
    let found = check(Forged::numbers().bytes(), &of(DataType::Int64), 2).unwrap();
    assert_eq!(found.num_rows(), 2);
    let batch = numbers(vec![1, 2, 3]);
    assert_eq!(check(message(&batch), &batch.schema(), 3).unwrap(), batch);
    let none = RecordBatch::new_empty(batch.schema());
    assert_eq!(check(message(&none), &none.schema(), 0).unwrap(), none);
}

#[test]
fn nested_columns_are_read_as_they_were_written() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
    ]);
    let inner: Fields = vec![
        Field::new("a", DataType::Utf8, true),
        Field::new("b", DataType::Null, true),
    ]
    .into();
    let text: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None, Some("é")]));
    let nothing: ArrayRef = Arc::new(arrow_array::NullArray::new(3));
    let pair = StructArray::new(
        inner,
        vec![text, nothing],
        Some(vec![true, false, true].into()),
    );
    let fixed = arrow_array::FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(
        [
            Some(vec![Some(1), Some(2)]),
            None,
            Some(vec![Some(5), None]),
        ],
        2,
    );
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("l", Arc::new(list)),
        ("s", Arc::new(pair)),
        ("f", Arc::new(fixed)),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    assert_eq!(check(message(&batch), &batch.schema(), 3).unwrap(), batch);
}

#[test]
fn what_is_no_encapsulated_message_is_a_violation() {
    let whole = Forged::numbers().bytes();
    let schema = of(DataType::Int64);
    for end in 0..whole.len() {
        let error = check(whole[..end].to_vec(), &schema, 2).unwrap_err();
        assert!(matches!(error, UdfError::Protocol(_)), "{end}: {error}");
    }
    for size in [0u32, 4, 1 << 21, u32::MAX, 0x8000_0000] {
        let mut bytes = whole.clone();
        bytes[4..8].copy_from_slice(&size.to_le_bytes());
        assert!(matches!(
            check(bytes, &schema, 2),
            Err(UdfError::Protocol(_))
        ));
    }
    let mut bytes = whole;
    bytes[0] = 0;
    assert!(matches!(
        check(bytes, &schema, 2),
        Err(UdfError::Protocol(_))
    ));
}

#[test]
fn no_changed_byte_of_the_metadata_makes_it_panic() {
    let whole = Forged::numbers().bytes();
    let schema = of(DataType::Int64);
    let mut refused = 0;
    for place in 8..whole.len() - 16 {
        for change in [1, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[place] ^= change;
            match check(bytes, &schema, 2) {
                Ok(batch) => assert_eq!(batch.num_rows(), 2),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 50, "{refused}");
}

#[test]
fn words_that_a_reader_would_believe_are_violations() {
    let schema = of(DataType::Int64);
    let good = Forged::numbers;
    violates(
        &Forged {
            compressed: true,
            ..good()
        },
        &schema,
        "compressed",
    );
    violates(
        &Forged {
            variadic: vec![1],
            ..good()
        },
        &schema,
        "views",
    );
    violates(
        &Forged {
            version: MetadataVersion::V4,
            ..good()
        },
        &schema,
        "version 5",
    );
    violates(
        &Forged {
            header: MessageHeader::DictionaryBatch,
            ..good()
        },
        &schema,
        "metadata that is no message",
    );
    violates(
        &Forged {
            declared: Some(24),
            ..good()
        },
        &schema,
        "declared as 24",
    );
    violates(
        &Forged {
            declared: Some(-1),
            ..good()
        },
        &schema,
        "declared as -1",
    );
    for rows in [3, -2, i64::MAX] {
        violates(&Forged { rows, ..good() }, &schema, "declared as 2");
    }
}

#[test]
fn fields_and_buffers_are_those_of_the_schema() {
    let schema = of(DataType::Int64);
    let good = Forged::numbers;
    for node in [(-1, 0), (2, 3), (2, -1), (1 << 40, 0), (i64::MAX, i64::MAX)] {
        violates(
            &Forged {
                nodes: vec![node],
                ..good()
            },
            &schema,
            "a field of",
        );
    }
    violates(
        &Forged {
            nodes: vec![],
            ..good()
        },
        &schema,
        "too few fields",
    );
    violates(
        &Forged {
            nodes: vec![(2, 0); 2],
            ..good()
        },
        &schema,
        "more fields",
    );
    violates(
        &Forged {
            buffers: vec![(0, 0)],
            ..good()
        },
        &schema,
        "too few buffers",
    );
    violates(
        &Forged {
            buffers: vec![(0, 0), (0, 16), (0, 0)],
            ..good()
        },
        &schema,
        "more fields or buffers",
    );
    for buffer in [
        (8, 16),
        (-8, 8),
        (0, -8),
        (i64::MAX & !7, 8),
        (4, 8),
        (16, i64::MAX),
    ] {
        violates(
            &Forged {
                buffers: vec![(0, 0), buffer],
                ..good()
            },
            &schema,
            "a buffer",
        );
    }
    violates(
        &Forged {
            nodes: vec![(2, 1)],
            ..good()
        },
        &schema,
        "fewer bits",
    );
    // A struct's validity, which its reader takes for granted.
    let inner: Fields = vec![Field::new("a", DataType::Int64, true)].into();
    let forged = Forged {
        nodes: vec![(2, 1), (2, 0)],
        buffers: vec![(0, 0), (0, 0), (0, 16)],
        ..good()
    };
    violates(&forged, &of(DataType::Struct(inner)), "fewer bits");
}

#[test]
fn values_that_are_not_what_they_should_be_are_refused() {
    let offsets = |of: [i32; 3]| -> Vec<u8> {
        let mut bytes: Vec<u8> = of.iter().flat_map(|it| it.to_le_bytes()).collect();
        bytes.resize(16, 0);
        bytes.extend(b"ab\xff\xfe\0\0\0\0");
        bytes
    };
    let text = |of, size| Forged {
        buffers: vec![(0, 0), (0, 12), (16, size)],
        body: offsets(of),
        ..Forged::numbers()
    };
    assert!(check(text([0, 1, 2], 2).bytes(), &of(DataType::Utf8), 2).is_ok());
    for (of_them, size) in [
        ([0, 1, 9], 4),
        ([2, 1, 2], 4),
        ([0, -1, 2], 4),
        ([0, 2, 4], 4),
        ([0, 1, 3], 2),
    ] {
        let why = refused(&text(of_them, size), &of(DataType::Utf8));
        assert!(why.contains("no valid batch"), "{why}");
    }
    refused(
        &Forged {
            buffers: vec![(0, 0), (0, 8)],
            ..Forged::numbers()
        },
        &of(DataType::Int64),
    );
    // More nulls than its bitmap has.
    let nulls = Forged {
        nodes: vec![(2, 2)],
        buffers: vec![(0, 8), (0, 16)],
        ..Forged::numbers()
    };
    refused(&nulls, &of(DataType::Int64));
    let strict = schema(vec![Field::new("x", DataType::Int64, false)]);
    let mut null = Forged {
        nodes: vec![(2, 1)],
        buffers: vec![(0, 8), (0, 16)],
        ..Forged::numbers()
    };
    null.body[0] = 1;
    assert!(check(null.bytes(), &of(DataType::Int64), 2).is_ok());
    refused(&null, &strict);
    // A column of another length than the batch.
    refused(
        &Forged {
            nodes: vec![(1, 0)],
            ..Forged::numbers()
        },
        &of(DataType::Int64),
    );
}

#[test]
fn values_stay_where_they_are() {
    let batch = numbers((0..4096).collect());
    let content = Buffer::from(message(&batch));
    let found = result(&content, &batch.schema(), 4096).unwrap();
    let column = found
        .column(0)
        .as_any()
        .downcast_ref::<Int64Array>()
        .unwrap();
    let range = content.as_slice().as_ptr_range();
    assert!(range.contains(&column.values().as_ptr().cast()));
}

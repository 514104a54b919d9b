//! What an engine sends over Spark's protocol: a schema and a batch, each an encapsulated
//! message. Two bytes tell where the one ends.
#![no_main]

use arrow_array::Array;
use arrow_buffer::Buffer;
use lakekeep_udf_client::{Code, Function, Kind, UdfError, check};
use libfuzzer_sys::fuzz_target;

/// The allocator counts: what a message may cost is part of what is tested.
#[global_allocator]
static MEMORY: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, usize::MAX);

// Arrow's reader may panic where it meets what it does not know: what is tested catches
// that. libFuzzer's own hook would end the process before; it is not needed for a panic that
// gets through, which its frame around each input finds.
fuzz_target!(
    init: std::panic::set_hook(Box::new(|_| {})),
    |bytes: &[u8]| messages(bytes)
);

/// What is believed is as declared in all its values; what is not is an error; either costs
/// no more than in proportion to what came.
fn messages(bytes: &[u8]) {
    let [low, high, rest @ ..] = bytes else {
        return;
    };
    let end = usize::from(u16::from_le_bytes([*low, *high]));
    let Some((schema, batch)) = rest.split_at_checked(end) else {
        return;
    };
    let (schema, batch) = (Buffer::from(schema), Buffer::from(batch));
    let before = MEMORY.allocated();
    let found = read(&schema, &batch);
    let cost = MEMORY.allocated().saturating_sub(before);
    assert!(cost <= 256 * 1024 + 64 * bytes.len(), "{cost} bytes");
    if let Err(error) = found {
        let known = matches!(error, UdfError::Protocol(_) | UdfError::Refused { .. });
        assert!(
            known || matches!(error, UdfError::BadFunction(_)),
            "{error:?}"
        );
    }
}

fn read(schema: &Buffer, batch: &Buffer) -> Result<(), UdfError> {
    let schema = check::schema(schema)?;
    // As an edge does it: a schema that cannot be sent has no batches.
    let function = Function {
        name: "f".to_owned(),
        kind: Kind::Batches,
        code: Code::Pickled(Vec::new()),
        arguments: schema.clone(),
        returns: schema.clone(),
    };
    function.check()?;
    let batch = check::batch(batch, &schema)?;
    assert_eq!(batch.schema_ref(), &schema);
    for column in batch.columns() {
        assert_eq!(column.len(), batch.num_rows());
        column.to_data().validate_full().unwrap();
    }
    Ok(())
}

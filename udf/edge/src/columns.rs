//! An engine's columns as the types that a function declares, by position.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_cast::{CastOptions, can_cast_types, cast_with_options};
use arrow_schema::{ArrowError, SchemaRef};

/// The batch with these columns, whatever the engine calls them. What is not of the type
/// that is declared is converted where no value is changed by it.
///
/// # Errors
/// Which column does not fit, and why.
pub fn fit(batch: &RecordBatch, wanted: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let (found, fields) = (batch.columns(), wanted.fields());
    if found.len() != fields.len() {
        let text = format!(
            "{} columns came for {} arguments",
            found.len(),
            fields.len()
        );
        return Err(ArrowError::SchemaError(text));
    }
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let columns = found.iter().zip(fields).map(|(column, field)| {
        let (from, to) = (column.data_type(), field.data_type());
        if from == to {
            return Ok(Arc::clone(column));
        }
        let failed = |why: String| {
            let name = field.name();
            ArrowError::CastError(format!("argument {name}: {from} for {to}: {why}"))
        };
        if !can_cast_types(from, to) {
            return Err(failed("there is no conversion".to_owned()));
        }
        cast_with_options(column, to, &strict).map_err(|error| failed(error.to_string()))
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let rows = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(wanted.clone(), columns, &rows)
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, BinaryArray, DictionaryArray, Int64Array, types::Int8Type};
    use arrow_schema::{DataType, Field, Schema};

    use super::*;

    fn fitted(column: ArrayRef, kind: DataType) -> Result<RecordBatch, ArrowError> {
        let batch = RecordBatch::try_from_iter([("whatever", column)]).unwrap();
        let wanted = Schema::new(vec![Field::new("x", kind, true)]);
        fit(&batch, &wanted.into())
    }

    #[test]
    fn columns_become_what_is_declared() {
        let bytes: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"a", "é".as_bytes()]));
        let text = fitted(bytes, DataType::Utf8).unwrap();
        assert_eq!(text.schema().field(0).name(), "x");
        let words: DictionaryArray<Int8Type> = vec!["a", "a", "b"].into_iter().collect();
        let text = fitted(Arc::new(words), DataType::Utf8).unwrap();
        assert_eq!(text.num_rows(), 3);
    }

    #[test]
    fn what_would_change_a_value_is_refused_with_its_argument() {
        let large: ArrayRef = Arc::new(Int64Array::from(vec![1 << 40]));
        let error = fitted(large.clone(), DataType::Int32).unwrap_err();
        assert!(error.to_string().contains("argument x"), "{error}");
        let no_text: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"\xff"]));
        assert!(fitted(no_text, DataType::Utf8).is_err());
        let two = RecordBatch::try_from_iter([("a", large.clone()), ("b", large)]).unwrap();
        let one = Schema::new(vec![Field::new("x", DataType::Int64, true)]);
        let error = fit(&two, &one.into()).unwrap_err();
        assert!(
            error.to_string().contains("2 columns came for 1"),
            "{error}"
        );
    }
}

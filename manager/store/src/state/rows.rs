//! Columns that are not SQLite's own types.

use std::collections::BTreeMap;

use rusqlite::Row;
use rusqlite::types::Type;

use crate::Timestamp;
use crate::json::JsonText;

/// A time.
pub(super) fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    Ok(Timestamp::from_sql(row.get(column)?))
}

/// A time that may be absent.
pub(super) fn maybe_time(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    let micros: Option<i64> = row.get(column)?;
    Ok(micros.map(Timestamp::from_sql))
}

/// A document that may be absent.
pub(super) fn maybe_json(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<JsonText>> {
    let text: Option<String> = row.get(column)?;
    Ok(text.map(JsonText::from_database))
}

/// Names and values.
pub(super) fn map(row: &Row<'_>, column: &str) -> rusqlite::Result<BTreeMap<String, String>> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| {
        let index = row.as_ref().column_index(column).unwrap_or_default();
        rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error))
    })
}

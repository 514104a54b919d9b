//! Flows as an Arrow IPC file: DuckDB, Polars, pandas and DataFusion read it as a table.

use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{
    ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray, UInt16Array, UInt32Array,
    UInt64Array,
};
use arrow_ipc::writer::FileWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema, TimeUnit};
use lakekeep_client::v1::Flow;
use tempfile::NamedTempFile;

use crate::remote::error::RemoteError;

/// The zone of times.
const ZONE: &str = "UTC";

/// A table that is being written, beside its place: a reader finds all of it or the file
/// from before.
pub struct Table {
    path: PathBuf,
    writer: FileWriter<BufWriter<NamedTempFile>>,
}

impl Table {
    /// Begins one.
    ///
    /// # Errors
    /// [`RemoteError::Arrow`] when the folder cannot be written.
    pub fn create(path: &Path) -> Result<Self, RemoteError> {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let file = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")));
        let writer = file
            .map_err(ArrowError::from)
            .and_then(|file| FileWriter::try_new(BufWriter::new(file), &schema()));
        Ok(Self {
            path: path.to_owned(),
            writer: writer.map_err(|error| failed(path, error))?,
        })
    }

    /// Adds flows.
    ///
    /// # Errors
    /// [`RemoteError::Arrow`] when they cannot be written.
    pub fn write(&mut self, flows: &[Flow]) -> Result<(), RemoteError> {
        let written = batch(flows).and_then(|batch| self.writer.write(&batch));
        written.map_err(|error| failed(&self.path, error))
    }

    /// Ends the file, and puts it in its place.
    ///
    /// # Errors
    /// [`RemoteError::Arrow`] when it cannot.
    pub fn finish(self) -> Result<(), RemoteError> {
        let Self { path, writer } = self;
        let buffered = writer.into_inner();
        let file = buffered.and_then(|buffered| {
            buffered
                .into_inner()
                .map_err(|error| ArrowError::from(error.into_error()))
        });
        let placed = file.and_then(|file| file.persist(&path).map_err(|error| error.error.into()));
        placed.map(drop).map_err(|error| failed(&path, error))
    }
}

fn failed(path: &Path, error: ArrowError) -> RemoteError {
    RemoteError::Arrow {
        path: path.display().to_string(),
        error,
    }
}

fn schema() -> Schema {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let maybe = |name: &str, kind| Field::new(name, kind, true);
    let number = |name: &str| Field::new(name, DataType::UInt64, false);
    Schema::new(vec![
        maybe(
            "time",
            DataType::Timestamp(TimeUnit::Microsecond, Some(ZONE.into())),
        ),
        text("user"),
        text("identity"),
        text("profile"),
        text("sandbox"),
        maybe("task", DataType::UInt32),
        maybe("query", DataType::Utf8),
        text("kind"),
        maybe("name", DataType::Utf8),
        maybe("address", DataType::Utf8),
        maybe("port", DataType::UInt16),
        maybe("rule", DataType::Utf8),
        text("mode"),
        text("verdict"),
        text("words"),
        number("sent"),
        number("received"),
        number("duration_us"),
    ])
}

fn batch(flows: &[Flow]) -> Result<RecordBatch, ArrowError> {
    let text = |of: fn(&Flow) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(flows.iter().map(of)))
    };
    let maybe = |of: fn(&Flow) -> Option<&str>| -> ArrayRef {
        Arc::new(flows.iter().map(of).collect::<StringArray>())
    };
    let number = |of: fn(&Flow) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(flows.iter().map(of)))
    };
    let times: TimestampMicrosecondArray = flows.iter().map(micros).collect();
    let tasks: UInt32Array = flows.iter().map(|flow| flow.task).collect();
    let ports = flows.iter().map(|flow| u16::try_from(flow.port?).ok());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(times.with_timezone(ZONE)),
        text(|flow| &flow.user),
        text(|flow| &flow.identity),
        text(|flow| &flow.profile),
        text(|flow| &flow.sandbox),
        Arc::new(tasks),
        maybe(|flow| flow.query.as_deref()),
        text(|flow| &flow.kind),
        maybe(|flow| flow.name.as_deref()),
        maybe(|flow| flow.address.as_deref()),
        Arc::new(ports.collect::<UInt16Array>()),
        maybe(|flow| flow.rule.as_deref()),
        text(|flow| &flow.mode),
        text(|flow| &flow.verdict),
        text(|flow| &flow.words),
        number(|flow| flow.sent),
        number(|flow| flow.received),
        number(|flow| flow.duration_us),
    ];
    RecordBatch::try_new(Arc::new(schema()), columns)
}

/// Microseconds since 1970; nothing where a moment has none.
fn micros(flow: &Flow) -> Option<i64> {
    let time = flow.time.as_ref()?;
    let seconds = time.seconds.checked_mul(1_000_000)?;
    seconds.checked_add(i64::from(time.nanos / 1000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::cast::AsArray;
    use arrow_array::types::{TimestampMicrosecondType, UInt16Type};
    use arrow_ipc::reader::FileReader;

    #[test]
    fn flows_are_read_back_from_the_file_and_one_before_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flows.arrow");
        std::fs::write(&path, "old").unwrap();
        let flow = |second, port| Flow {
            time: Some(prost_types::Timestamp {
                seconds: second,
                nanos: 5_000,
            }),
            user: "ann".to_owned(),
            port,
            ..Flow::default()
        };
        let mut table = Table::create(&path).unwrap();
        table.write(&[flow(7, Some(443)), flow(8, None)]).unwrap();
        table.write(&[]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        table.finish().unwrap();
        let file = std::fs::File::open(&path).unwrap();
        let batches: Vec<RecordBatch> = FileReader::try_new(file, None)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let first = &batches[0];
        assert_eq!((first.num_rows(), first.schema().fields().len()), (2, 18));
        let times = first["time"].as_primitive::<TimestampMicrosecondType>();
        assert_eq!(times.values().as_ref(), [7_000_005, 8_000_005]);
        let ports = first["port"].as_primitive::<UInt16Type>();
        assert_eq!(ports.iter().collect::<Vec<_>>(), [Some(443), None]);
        assert_eq!(first["user"].as_string::<i32>().value(1), "ann");
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let refused = Table::create(Path::new("/nowhere/flows.arrow"))
            .err()
            .unwrap();
        assert!(refused.to_string().contains("/nowhere/flows.arrow"));
    }
}

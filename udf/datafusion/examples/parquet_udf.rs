//! Queries a Parquet file with a Python function in sandboxes, and holds its answers against
//! DataFusion's own expression:
//!
//! ```text
//! cargo run --example parquet_udf -- LAKEKEEP PYTHON [FILE.parquet]
//! ```
//!
//! LAKEKEEP is the binary, with lakekeep-launcher beside it; PYTHON has pyarrow and cloudpickle.
//! The file has the columns `month`, `temp` and `dewp`; when none is named, it is made of the
//! weather at New York JFK in 2013 that the repository has.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::prelude::{CsvReadOptions, ParquetReadOptions, SessionContext};
use lakekeep_datafusion::Sandboxed;
use lakekeep_udf_client::{Broker, Code, Environment, Function, Kind};

/// How far temperature and dew point are apart, in degrees Celsius of those in Fahrenheit.
const SPREAD: &str = "
import pyarrow.compute as pc

def spread(temp, dewp):
    return pc.divide(pc.multiply(pc.subtract(temp, dewp), 5.0), 9.0)
";

const MONTHS: &str = "
    SELECT month, count(*) AS hours, avg(safe) AS sandboxed, avg(native) AS native
    FROM (SELECT month, spread(temp, dewp) AS safe, (temp - dewp) * 5.0 / 9.0 AS native FROM weather)
    GROUP BY month ORDER BY month";

const OBSERVED: &str = "
    SELECT CAST(month AS BIGINT) AS month, TRY_CAST(temp AS DOUBLE) AS temp,
        TRY_CAST(dewp AS DOUBLE) AS dewp
    FROM observed";

/// To the last bit, and nulls where there are nulls.
const DIFFERENT: &str = "
    SELECT count(*) FROM weather
    WHERE spread(temp, dewp) IS DISTINCT FROM (temp - dewp) * 5.0 / 9.0";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(lakekeep), Some(python)) = (arguments.next(), arguments.next()) else {
        return Err("usage: parquet_udf LAKEKEEP PYTHON [FILE.parquet]".into());
    };
    let folder = tempfile::tempdir()?;
    let file = match arguments.next() {
        Some(file) => file,
        None => weather(folder.path()).await?,
    };
    let context = SessionContext::new();
    let file = file.to_str().ok_or("the file's name is not UTF-8")?;
    context
        .register_parquet("weather", file, ParquetReadOptions::default())
        .await?;
    let broker = Arc::new(Broker::start(lakekeep)?);
    let spread = Sandboxed::new(broker, Environment::of(python), spread());
    context.register_udf(spread.scalar()?);
    let begun = Instant::now();
    context.sql(MONTHS).await?.show().await?;
    println!("{:?}, sandboxes made meanwhile", begun.elapsed());
    match different(&context).await? {
        0 => Ok(()),
        rows => Err(format!("{rows} rows differ from DataFusion's own").into()),
    }
}

fn spread() -> Function {
    let columns = |names: &[&str]| {
        let fields = names.iter();
        let fields = fields.map(|name| Field::new(*name, DataType::Float64, true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    };
    Function {
        name: "spread".to_owned(),
        kind: Kind::Scalar,
        code: Code::Source {
            text: SPREAD.to_owned(),
            name: "spread".to_owned(),
        },
        arguments: columns(&["temp", "dewp"]),
        returns: columns(&["spread"]),
    }
}

/// The repository's hourly observations as a Parquet file.
async fn weather(folder: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let csv = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/quickstart/jfk-weather-2013.csv"
    );
    let path = folder.join("weather.parquet");
    let names = std::fs::read_to_string(csv)?;
    let names = names.lines().next().unwrap_or_default().split(',');
    let fields: Vec<_> = names
        .map(|name| Field::new(name, DataType::Utf8, true))
        .collect();
    // All is text first: what was not observed is `NA`, which the reader's types do not know.
    let schema = Schema::new(fields);
    let context = SessionContext::new();
    context
        .register_csv("observed", csv, CsvReadOptions::new().schema(&schema))
        .await?;
    let table = context.sql(OBSERVED).await?;
    let name = path.to_str().ok_or("the folder's name is not UTF-8")?;
    table
        .write_parquet(name, DataFrameWriteOptions::new(), None)
        .await?;
    Ok(path)
}

async fn different(context: &SessionContext) -> Result<i64, Box<dyn Error>> {
    let counted = context.sql(DIFFERENT).await?.collect().await?;
    let column = counted.first().map(|batch| batch.column(0));
    let count = column.and_then(|column| column.as_primitive_opt::<Int64Type>());
    Ok(count.ok_or("no count came")?.value(0))
}

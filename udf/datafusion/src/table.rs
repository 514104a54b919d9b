//! A table function of DataFusion's: constants in, a stream of batches out.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Field, SchemaRef};
use datafusion_catalog::streaming::StreamingTable;
use datafusion_catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion_common::{Result, ScalarValue, plan_datafusion_err, plan_err};
use datafusion_execution::{SendableRecordBatchStream, TaskContext};
use datafusion_expr::Expr;
use datafusion_physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion_physical_plan::streaming::PartitionStream;
use lakekeep_udf_client::{Session, UdfError};
use tokio::sync::mpsc::Sender;

use crate::pool::Pool;

/// Batches that wait for the query to take them.
const WAITING: usize = 1;

/// The function as DataFusion plans it.
#[derive(Debug)]
pub(crate) struct Table {
    pool: Arc<Pool>,
}

impl Table {
    pub(crate) fn new(pool: Arc<Pool>) -> Self {
        Self { pool }
    }

    /// The one row of arguments.
    fn arguments(&self, given: &[Expr]) -> Result<RecordBatch> {
        let (name, wanted) = (self.pool.name(), self.pool.function.arguments.fields());
        if given.len() != wanted.len() {
            let (given, count) = (given.len(), wanted.len());
            return plan_err!("table function {name}: {given} arguments for its {count}");
        }
        let columns = given.iter().zip(wanted).map(|(given, wanted)| {
            let value = constant(given, wanted)
                .map_err(|error| error.context(format!("table function {name}")))?;
            value.to_array_of_size(1)
        });
        self.pool
            .batch(columns.collect::<Result<Vec<ArrayRef>>>()?, 1)
    }
}

impl TableFunctionImpl for Table {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let schema = self.pool.function.returns.clone();
        let call: Arc<dyn PartitionStream> = Arc::new(Called {
            pool: self.pool.clone(),
            arguments: self.arguments(args.exprs())?,
            schema: schema.clone(),
        });
        Ok(Arc::new(StreamingTable::try_new(schema, vec![call])?))
    }
}

/// The argument's value, as a constant of its declared type.
fn constant(given: &Expr, wanted: &Field) -> Result<ScalarValue> {
    let name = wanted.name();
    let Expr::Literal(value, _) = given else {
        return plan_err!("argument {name}: {given} is no constant; give it one");
    };
    let (from, to) = (value.data_type(), wanted.data_type());
    if value.is_null() {
        return match wanted.is_nullable() {
            true => ScalarValue::try_from(to),
            false => plan_err!("argument {name} is declared as never null; give it a value"),
        };
    }
    // There and back: nothing may be lost on the way.
    let cast = value.cast_to(to);
    let kept = cast
        .as_ref()
        .is_ok_and(|cast| cast.cast_to(&from).is_ok_and(|back| back == *value));
    match cast {
        Ok(cast) if kept => Ok(cast),
        _ => Err(plan_datafusion_err!(
            "argument {name}: {value} of type {from} is no {to}; give it one"
        )),
    }
}

/// The function with its arguments, to be called by each query that is executed.
#[derive(Debug)]
struct Called {
    pool: Arc<Pool>,
    arguments: RecordBatch,
    schema: SchemaRef,
}

impl PartitionStream for Called {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStreamBuilder::new(self.schema.clone(), WAITING);
        let (pool, arguments) = (self.pool.clone(), self.arguments.clone());
        let (schema, answers) = (self.schema.clone(), stream.tx());
        // It is aborted with the stream, and takes the call with it.
        stream.spawn(async move {
            let work = move |session: &mut Session| answer(session, arguments, &schema, &answers);
            pool.run(work).await
        });
        stream.build()
    }
}

/// Sends what the function answers, as fast as it is taken.
fn answer(
    session: &mut Session,
    arguments: RecordBatch,
    schema: &SchemaRef,
    answers: &Sender<Result<RecordBatch>>,
) -> Result<(), UdfError> {
    for batch in session.stream([Ok(arguments)]) {
        // As declared, with what the declaration has beside types.
        let batch = batch?
            .with_schema(schema.clone())
            .map_err(UdfError::Input)?;
        if answers.blocking_send(Ok(batch)).is_err() {
            return Err(UdfError::Cancelled);
        }
    }
    Ok(())
}

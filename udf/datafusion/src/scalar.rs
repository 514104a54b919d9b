//! A scalar function of DataFusion's.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_schema::{DataType, FieldRef};
use async_trait::async_trait;
use datafusion_common::{Result, internal_datafusion_err, internal_err};
use datafusion_expr::async_udf::AsyncScalarUDFImpl;
use datafusion_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

use crate::pool::Pool;

/// The function as DataFusion plans and calls it.
#[derive(Debug)]
pub(crate) struct Scalar {
    pool: Arc<Pool>,
    signature: Signature,
}

impl Scalar {
    pub(crate) fn new(pool: Arc<Pool>, volatility: Volatility) -> Self {
        let arguments = pool.function.arguments.fields();
        let types: Vec<DataType> = arguments.iter().map(|it| it.data_type().clone()).collect();
        let types = match types.is_empty() {
            true => TypeSignature::Nullary,
            // The planner converts what loses nothing by it, and refuses the rest.
            false => TypeSignature::Exact(types),
        };
        let signature = Signature::new(types, volatility);
        Self { pool, signature }
    }

    /// The column of answers, as declared.
    fn answer(&self) -> Result<&FieldRef> {
        let first = self.pool.function.returns.fields().first();
        first.ok_or_else(|| internal_datafusion_err!("{} returns nothing", self.pool.name()))
    }
}

// Two of one name and type may still run other code: only the same one is equal.
impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.pool, &other.pool) && self.signature == other.signature
    }
}

impl Eq for Scalar {}

impl Hash for Scalar {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.pool).hash(state);
        self.signature.hash(state);
    }
}

impl ScalarUDFImpl for Scalar {
    fn name(&self) -> &str {
        self.pool.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.answer()?.data_type().clone())
    }

    /// With the nullability that was declared, to which answers are held.
    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        let answer = self.answer()?.as_ref().clone();
        Ok(answer.with_name(self.name()).into())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{} is called asynchronously", self.name())
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Scalar {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let columns = args.args.into_iter().map(|column| column.into_array(rows));
        let batch = self.pool.batch(columns.collect::<Result<_>>()?, rows)?;
        let answered = self.pool.run(move |session| session.call(&batch)).await?;
        match answered.columns() {
            [column] => Ok(ColumnarValue::Array(column.clone())),
            columns => internal_err!("{} columns are no answer", columns.len()),
        }
    }
}

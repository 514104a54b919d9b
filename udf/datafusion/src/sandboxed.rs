//! From a declared function to what a DataFusion context registers.

use std::sync::Arc;

use datafusion_catalog::TableFunctionImpl;
use datafusion_expr::async_udf::AsyncScalarUDF;
use datafusion_expr::{ScalarUDF, Volatility};
use lakekeep_udf_client::{Broker, Environment, Function, Kind, Options, UdfError};

use crate::CallError;
use crate::pool::Pool;
use crate::scalar::Scalar;
use crate::table::Table;

/// A user's function, and how it is run. What is made of it keeps its sandboxes for the next
/// query, until the context that it was registered with is dropped: so it is of one user.
#[derive(Debug, Clone)]
pub struct Sandboxed {
    broker: Arc<Broker>,
    environment: Environment,
    function: Function,
    options: Options,
    sessions: usize,
    volatility: Volatility,
}

impl Sandboxed {
    /// As many sessions at once as there are processors, which is how many partitions
    /// DataFusion makes by default; [`Volatility::Volatile`].
    #[must_use]
    pub fn new(broker: Arc<Broker>, environment: Environment, function: Function) -> Self {
        Self {
            broker,
            environment,
            function,
            options: Options::default(),
            sessions: std::thread::available_parallelism().map_or(1, usize::from),
            volatility: Volatility::Volatile,
        }
    }

    /// Limits, time-outs, for whom it runs.
    #[must_use]
    pub fn with_options(self, options: Options) -> Self {
        Self { options, ..self }
    }

    /// How many sandboxes it may have at once, at least one; calls beyond them wait.
    #[must_use]
    pub fn with_sessions(self, sessions: usize) -> Self {
        Self { sessions, ..self }
    }

    /// What the optimiser may assume. [`Volatility::Immutable`] lets it call the function for
    /// fewer rows, in another order, or once for equal arguments.
    #[must_use]
    pub fn with_volatility(self, volatility: Volatility) -> Self {
        Self { volatility, ..self }
    }

    /// A scalar function, for `SessionContext::register_udf`; of kind [`Kind::Scalar`],
    /// [`Kind::Pandas`] or [`Kind::Rows`]. No sandbox is made before its first call.
    ///
    /// # Errors
    /// [`UdfError::BadFunction`]: its kind or its types cannot be used so.
    pub fn scalar(self) -> Result<ScalarUDF, CallError> {
        let volatility = self.volatility;
        let pool = self.pool(&[Kind::Scalar, Kind::Pandas, Kind::Rows])?;
        Ok(AsyncScalarUDF::new(Arc::new(Scalar::new(pool, volatility))).into_scalar_udf())
    }

    /// A table function, for `SessionContext::register_udtf`; of kind [`Kind::Table`].
    ///
    /// # Errors
    /// As [`Sandboxed::scalar`].
    pub fn table(self) -> Result<Arc<dyn TableFunctionImpl>, CallError> {
        let pool = self.pool(&[Kind::Table])?;
        Ok(Arc::new(Table::new(pool)))
    }

    fn pool(self, kinds: &[Kind]) -> Result<Arc<Pool>, CallError> {
        let function = self.function;
        let checked = match kinds.contains(&function.kind) {
            true => function.check(),
            false => Err(unfit(function.kind, kinds)),
        };
        checked.map_err(|error| CallError::new(&function.name, error))?;
        let pool = Pool::new(
            self.broker,
            self.environment,
            function,
            self.options,
            self.sessions,
        );
        Ok(Arc::new(pool))
    }
}

fn unfit(kind: Kind, kinds: &[Kind]) -> UdfError {
    let words: Vec<_> = kinds.iter().map(|kind| kind.word()).collect();
    let (kind, words) = (kind.word(), words.join(", "));
    UdfError::BadFunction(format!("of kind {kind}; here it has to be one of {words}"))
}

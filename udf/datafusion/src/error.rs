//! How a user's function fails in a query.

use std::error::Error;

use datafusion_common::DataFusionError;
use lakekeep_udf_client::UdfError;

/// A user's function could not be had, or a call of it failed; in a query, the content of a
/// [`DataFusionError::External`].
#[derive(Debug, thiserror::Error)]
#[error("user function {function}: {error}; {}", error.remedy())]
pub struct CallError {
    /// The function's name.
    pub function: String,
    /// What went wrong. Not its `source`: DataFusion shows an error's own words alone.
    pub error: UdfError,
}

impl CallError {
    pub(crate) fn new(function: impl Into<String>, error: UdfError) -> Self {
        let function = function.into();
        Self { function, error }
    }

    /// The user function's failure that a query failed with; none, if it was something else.
    #[must_use]
    pub fn of(error: &DataFusionError) -> Option<&Self> {
        let mut next: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }
}

impl From<CallError> for DataFusionError {
    fn from(error: CallError) -> Self {
        Self::External(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn it_is_found_however_deep_it_is_and_says_what_to_do() {
        let inner = DataFusionError::from(CallError::new("f", UdfError::Cancelled));
        let text = inner.to_string();
        assert!(
            text.contains("user function f: the call was cancelled"),
            "{text}"
        );
        assert!(text.ends_with(UdfError::Cancelled.remedy()), "{text}");
        let outer = DataFusionError::Shared(Arc::new(inner.context("in a partition")));
        let found = CallError::of(&outer).map(|found| found.error.reason());
        assert_eq!(found, Some("UDF_CANCELLED"));
        assert!(CallError::of(&DataFusionError::Plan("no such column".to_owned())).is_none());
    }
}

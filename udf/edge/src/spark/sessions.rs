//! Where the sandboxes of this edge come from.

use lakekeep_udf_client::{Broker, Canceller, Environment, Options, Session, UdfError};

use super::asked::Asked;

/// Makes a session for each stream.
#[derive(Debug)]
pub struct Sessions {
    /// Who makes the sandboxes; all end with it.
    pub broker: Broker,
    /// What functions run with.
    pub environment: Environment,
    /// What they may; `query` is the worker's name.
    pub options: Options,
}

impl Sessions {
    /// A session for this function, or none when `arm`, who hears how to end it before there
    /// is a sandbox, does not want it any more.
    ///
    /// # Errors
    /// As of [`Broker::open`].
    pub fn open(
        &self,
        asked: &Asked,
        arm: impl FnOnce(Canceller) -> bool,
    ) -> Result<Option<Session>, UdfError> {
        let mut options = self.options.clone();
        let worker = options.query.take().unwrap_or_default();
        options.query = Some(format!("{worker} {}", asked.query).trim().to_owned());
        let begun = self
            .broker
            .ask(&self.environment, &asked.function, options)?;
        match arm(begun.canceller()) {
            true => begun.begin()?.finish().map(Some),
            false => Ok(None),
        }
    }
}

//! What a session with these limits may do.

use std::time::Duration;

use lakekeep_policy::{Bytes, Cpus, CpusError, PolicyDoc, Preset};
use lakekeep_udf_packets::Limits;

/// What a function that sets no limit has for its files, or half of its memory.
const SCRATCH: u64 = 64 << 20;

/// A limit that there cannot be.
#[derive(Debug, thiserror::Error)]
#[error("limits.cpu: {0}")]
pub struct LimitsError(#[from] CpusError);

/// The preset `udf` with these limits; what is left out is the preset's, or a profile's.
///
/// # Errors
/// [`LimitsError`]; what is out of bounds is found when the policy is checked.
pub fn policy(of: &Limits) -> Result<PolicyDoc, LimitsError> {
    let mut doc = PolicyDoc {
        version: Some(1),
        preset: Some(Preset::Udf),
        ..PolicyDoc::default()
    };
    let limits = &mut doc.limits;
    limits.memory = of.memory.map(Bytes);
    limits.scratch_size = of.memory.map(|memory| Bytes(SCRATCH.min(memory / 2)));
    limits.cpus = of.cpu.map(Cpus::new).transpose()?;
    limits.wall_time = of.wall_time_ms.map(Duration::from_millis);
    Ok(doc)
}

#[cfg(test)]
mod tests {
    use lakekeep_policy::Policy;

    use super::*;

    #[test]
    fn a_session_without_limits_has_the_presets() {
        let doc = policy(&Limits::default()).unwrap();
        assert_eq!(doc.limits.wall_time, None);
        let policy = Policy::check(doc).unwrap();
        assert_eq!(policy.preset(), Preset::Udf);
        assert_eq!(policy.limits().memory(), Bytes(1 << 30));
    }

    #[test]
    fn limits_are_taken_as_they_are() {
        let asked = Limits {
            memory: Some(32 << 20),
            cpu: Some(0.5),
            wall_time_ms: Some(1500),
        };
        let policy = Policy::check(policy(&asked).unwrap()).unwrap();
        let limits = policy.limits();
        assert_eq!(limits.memory(), Bytes(32 << 20));
        assert_eq!(limits.scratch_size(), Bytes(16 << 20));
        assert_eq!(limits.cpus(), Cpus::from_millis(500));
        assert_eq!(limits.wall_time(), Some(Duration::from_millis(1500)));
    }

    #[test]
    fn what_is_no_number_of_processors_is_refused() {
        let limits = Limits {
            cpu: Some(f64::NAN),
            ..Limits::default()
        };
        assert!(policy(&limits).is_err());
    }
}

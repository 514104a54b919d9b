//! What several targets check. A property that does not hold is a panic, which
//! the fuzzing engine reports as a crash.

pub mod egress;
pub mod identity;
pub mod policy;
pub mod seccomp;

// The manager's own reading of requests: its crate shows nobody these modules, so their
// files are compiled here once more. They name each other by `crate::`.
#[path = "../../manager/daemon/src/asked.rs"]
pub mod asked;
#[path = "../../manager/daemon/src/fault.rs"]
pub mod fault;
#[path = "../../manager/daemon/src/maker.rs"]
pub mod maker;
#[path = "../../manager/daemon/src/meta.rs"]
pub mod meta;

/// Of the manager's module of this name, what those above need; the rest needs a manager.
pub mod wire {
    use std::time::Duration;

    /// As there.
    pub fn duration(wire: Option<&prost_types::Duration>) -> Option<Duration> {
        let wire = wire.filter(|wire| wire.seconds >= -3)?;
        Duration::try_from(*wire).ok()
    }
}

/// Of the manager's module of this name, what those above need; the rest needs a store.
pub mod environments {
    /// As there, without what an interpreter lacks.
    #[derive(Debug)]
    pub struct Known {
        /// How it is shown.
        pub view: lakekeep_plan::View,
    }
}

/// Of the manager's module of this name, what those above need; the rest needs a store.
pub mod images {
    use lakekeep_oci::Reference;

    /// As there.
    pub fn full_name(image: &str) -> Option<String> {
        if image == "host" || image.starts_with('/') {
            return None;
        }
        let name: Reference = image.parse().ok()?;
        Some(name.to_string())
    }
}

/// Of the manager's module of this name, what those above need; the rest needs a launcher.
pub mod sandbox {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// As there.
    pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The two halves of an input at its first NUL byte; the second may be empty.
pub fn halves(data: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(data).ok()?;
    Some(text.split_once('\0').unwrap_or((text, "")))
}

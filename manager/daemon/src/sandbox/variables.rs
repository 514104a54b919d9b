//! The variables of a sandbox's policy, over the death of their manager.
//!
//! Their values may be secret, so they are in no record. They are in a sealed file in memory
//! of which the launcher keeps a descriptor, as it does of tasks' streams: it reads it as
//! little as those, and the file is gone with the sandbox.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use lakekeep_protocol::launch::HeldSandbox;
use lakekeep_sys::memfd;

use crate::fault::Fault;
use crate::launchers::Launcher;

/// The slot in which they are kept. A sandbox without any has none.
pub(super) const SLOT: &str = "variables";

/// Most bytes of them all: execve(2) takes half of it, so no task could have more.
const MOST: usize = 4 << 20;

/// A file of them; `None` where there are none.
///
/// # Errors
/// Of memfd_create(2); `Internal` for what no successor could read.
pub(super) fn seal(variables: &BTreeMap<String, String>) -> Result<Option<OwnedFd>, Fault> {
    if variables.is_empty() {
        return Ok(None);
    }
    let what = "put a policy's variables aside";
    let bytes = postcard::to_stdvec(variables).map_err(|error| Fault::internal(what, &error))?;
    let file = memfd::sealed("variables", &bytes, false);
    file.map(Some)
        .map_err(|errno| Fault::internal(what, &errno))
}

/// Those of a sandbox that another manager made.
///
/// # Errors
/// Of the launcher; `Internal` for what cannot be read.
pub async fn kept(
    launcher: &Arc<Launcher>,
    found: &HeldSandbox,
) -> Result<BTreeMap<String, String>, Fault> {
    if !found.slots.iter().any(|slot| slot == SLOT) {
        return Ok(BTreeMap::new());
    }
    let id = found.id.clone();
    let files = launcher
        .ask("retrieve", move |service| service.retrieve(&id, SLOT))
        .await?;
    let what = "read a policy's variables";
    let none = || Fault::internal(what, &rustix::io::Errno::NOENT);
    let bytes = memfd::read_sealed(files.first().ok_or_else(none)?, MOST);
    let bytes = bytes.map_err(|errno| Fault::internal(what, &errno))?;
    postcard::from_bytes(&bytes).map_err(|error| Fault::internal(what, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_read_and_nothing_is_sealed_of_nothing() {
        assert!(seal(&BTreeMap::new()).unwrap().is_none());
        let variables = BTreeMap::from([
            ("A".to_owned(), String::new()),
            ("LINES".to_owned(), "one\ntwo\u{e9}".to_owned()),
        ]);
        let file = seal(&variables).unwrap().unwrap();
        let bytes = memfd::read_sealed(&file, MOST).unwrap();
        let read: BTreeMap<String, String> = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(read, variables);
    }
}

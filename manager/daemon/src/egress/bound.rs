//! The administrator's rules, read again while the manager runs.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use lakekeep_egress_rules::EgressDoc;
use lakekeep_profiles::Profiles;
use lakekeep_sandbox::chain;

use crate::config::Administrator;
use crate::sandbox::lock;

/// Where they are, and what holds of them.
#[derive(Debug)]
pub struct Bound {
    /// The configuration, which has them or names their file.
    config: PathBuf,
    /// The files that they were read from at the start.
    files: Vec<PathBuf>,
    state: Mutex<State>,
}

/// What was read last.
#[derive(Debug)]
struct State {
    /// In force.
    doc: Option<EgressDoc>,
    /// Why what stands in the files now is not; said once.
    refused: Option<String>,
}

impl Bound {
    /// Of the configuration of this path, from which they were read.
    pub fn new(config: &Path, read: &Administrator) -> Self {
        Self {
            config: config.to_owned(),
            files: read.files.clone(),
            state: Mutex::new(State {
                doc: read.doc.clone(),
                refused: None,
            }),
        }
    }

    /// The folders to be watched: an editor or a package may put another file in a file's place.
    /// A file that another one names in another folder is watched from the next start.
    pub fn folders(&self) -> Vec<PathBuf> {
        let folder = |file: &PathBuf| match file.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let mut folders: Vec<PathBuf> = self.files.iter().map(folder).collect();
        folders.dedup();
        folders
    }

    /// Reads them again, and puts them in force as the bound of every profile; after an error
    /// the old ones stay. `true`: others hold than before.
    pub fn reload(&self, profiles: &Profiles) -> bool {
        let mut state = lock(&self.state);
        let read = match Administrator::read(&self.config) {
            Ok(read) if read.doc == state.doc => {
                state.refused = None;
                return false;
            }
            Ok(read) => read,
            Err(error) => {
                state.refuse(chain(&error));
                return false;
            }
        };
        if let Err(errors) = profiles.bound_egress(read.doc.clone()) {
            let lines: Vec<String> = errors.iter().map(|error| chain(error)).collect();
            state.refuse(lines.join("\n"));
            return false;
        }
        for warning in read.warnings() {
            tracing::warn!("{warning}");
        }
        match &read.doc {
            Some(doc) => {
                let rules = doc.rules.len();
                tracing::info!("the administrator's rules of egress: {rules} others hold now");
            }
            None => tracing::warn!(
                "the administrator's rules of egress are gone: what profiles say is not bounded"
            ),
        }
        state.doc = read.doc;
        state.refused = None;
        true
    }
}

impl State {
    fn refuse(&mut self, why: String) {
        if self.refused.as_ref() != Some(&why) {
            tracing::error!("the administrator's rules of egress: the old ones stay:\n{why}");
            self.refused = Some(why);
        }
    }
}

//! What owners may not go beyond.

use std::collections::BTreeSet;

use lakekeep_egress_rules::EgressDoc;
use lakekeep_policy::Preset;

use crate::check::paths::bad_host_folder;
use crate::document::{CeilingsDoc, LimitSetDoc, QuotasDoc, Section};
use crate::fault::{Findings, ProfileErrors};
use crate::images::ImageRule;
use crate::show::quoted;

/// The administrator's bounds for profiles, from the manager's configuration.
/// Owners stay below them; administrators need not.
///
/// Without a configuration ([`Ceilings::default`]) there is no bound on numbers,
/// and owners can allow no image, make no volume and let nothing out.
#[derive(Clone, Debug, Default)]
pub struct Ceilings {
    pub(crate) images: Vec<ImageRule>,
    /// `None`: every preset.
    pub(crate) presets: Option<Vec<Preset>>,
    pub(crate) volume_roots: Vec<String>,
    pub(crate) users_may_create: bool,
    pub(crate) profiles_per_user: Option<u32>,
    pub(crate) require: BTreeSet<Section>,
    /// The administrator's rules of egress: the upper bound of every profile's.
    pub(crate) egress: Option<EgressDoc>,
    pub(crate) quotas: QuotasDoc,
    pub(crate) limits: LimitSetDoc,
}

impl Ceilings {
    /// Checks the configuration.
    ///
    /// # Errors
    ///
    /// [`ProfileErrors`] with every rule that it breaks.
    pub fn check(doc: CeilingsDoc) -> Result<Ceilings, ProfileErrors> {
        let mut findings = Findings::new(&doc.origin);
        let images = images(&doc, &mut findings);
        for (number, root) in doc.volume_roots.iter().enumerate() {
            if let Some((why, remedy)) = bad_host_folder(root) {
                findings.add(
                    &format!("volume_roots[{number}]"),
                    quoted(root),
                    why,
                    remedy,
                );
            }
        }
        crate::check::quotas::contradictions(&doc.quotas, &mut findings);
        findings.finish()?;
        Ok(Ceilings {
            images,
            presets: doc.presets,
            volume_roots: doc.volume_roots,
            users_may_create: doc.users_may_create.unwrap_or(false),
            profiles_per_user: doc.profiles_per_user,
            require: doc.require.into_iter().collect(),
            egress: None,
            quotas: doc.quotas,
            limits: doc.limits,
        })
    }

    /// The same with rules of egress that no profile goes beyond, checked by
    /// [`Ruleset::check`](lakekeep_egress_rules::Ruleset::check). Without them owners can let
    /// nothing out, and administrators anything.
    #[must_use]
    pub fn with_egress(self, egress: Option<EgressDoc>) -> Ceilings {
        Ceilings { egress, ..self }
    }

    /// Whether users who are no administrators may make profiles.
    pub fn users_may_create(&self) -> bool {
        self.users_may_create
    }
}

fn images(doc: &CeilingsDoc, findings: &mut Findings<'_>) -> Vec<ImageRule> {
    let mut rules = Vec::new();
    for (number, text) in doc.images.iter().enumerate() {
        match ImageRule::new(text) {
            Ok(rule) => rules.push(rule),
            Err((why, remedy)) => {
                findings.add(&format!("images[{number}]"), quoted(text), why, remedy);
            }
        }
    }
    rules
}

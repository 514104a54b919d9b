//! What may leave the sandboxes of a profile: whose documents, one within the other.

use lakekeep_egress_rules::{DocumentErrors, EgressDoc, Level, Ruleset, TotalDoc};

/// What a profile lets out at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressBounds {
    pub(crate) administrator: Option<EgressDoc>,
    pub(crate) owner: EgressDoc,
}

/// The documents that are about one sandbox, the administrator's first: what leaves must be
/// allowed by each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressLevels(Vec<(Level, EgressDoc)>);

impl EgressBounds {
    /// Nothing leaves.
    #[must_use]
    pub fn nothing() -> EgressBounds {
        EgressBounds {
            administrator: None,
            owner: EgressDoc::default(),
        }
    }

    /// The profile's own document.
    pub fn owner(&self) -> &EgressDoc {
        &self.owner
    }

    /// What of it is about one sandbox: all but what the profile's sandboxes have together.
    pub(crate) fn of_one(&self) -> EgressDoc {
        EgressDoc {
            total: TotalDoc::default(),
            ..self.owner.clone()
        }
    }

    /// The documents of a sandbox for which a user wrote `user`, if anything.
    pub fn levels(&self, user: Option<&EgressDoc>) -> EgressLevels {
        let administrator = self.administrator.as_ref();
        let administrator = administrator.map(|doc| (Level::Administrator, doc));
        let user = user.map(|doc| (Level::User, doc));
        let all = administrator
            .into_iter()
            .chain([(Level::Owner, &self.owner)])
            .chain(user);
        EgressLevels(all.map(|(level, doc)| (level, doc.clone())).collect())
    }
}

impl EgressLevels {
    /// Each document, and who wrote it.
    pub fn documents(&self) -> impl Iterator<Item = (Level, &EgressDoc)> {
        self.0.iter().map(|(level, doc)| (*level, doc))
    }

    /// All of them in force.
    ///
    /// # Errors
    ///
    /// [`DocumentErrors`] of the first document that is none.
    pub fn ruleset(&self) -> Result<Ruleset, DocumentErrors> {
        let mut all: Option<Ruleset> = None;
        for (level, doc) in self.documents() {
            let one = Ruleset::check(level, doc)?;
            all = Some(match all {
                None => one,
                Some(others) => one.bounded_by(&others),
            });
        }
        // Nothing allows nothing; the owner's is always there.
        all.map_or_else(|| Ruleset::check(Level::Owner, &EgressDoc::default()), Ok)
    }
}

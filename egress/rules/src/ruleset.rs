//! Rules that are in force, level upon level.

mod check;
mod contradictions;
mod digest;
mod unheld;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::document::{DocumentErrors, EgressDoc, Mode, Place};
use crate::index::Index;
use crate::limits::Limits;
use crate::rule::{Effect, Rule, Target};
use crate::service::Service;
use crate::streams::Protocol;
use crate::total::Total;

/// Who wrote a document. Each may narrow what those before allow, and not widen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The administrator: the upper bound of every sandbox.
    Administrator,
    /// The owner of a profile.
    Owner,
    /// The user, or whoever runs a command.
    User,
}

/// A rule, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedRule {
    /// The rule.
    pub rule: Rule,
    /// Where it was written.
    pub place: Place,
}

/// One document in force.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) level: Level,
    pub(crate) mode: Mode,
    pub(crate) rules: Vec<PlacedRule>,
    pub(crate) index: Index,
    pub(crate) limits: Limits,
    pub(crate) total: Total,
    /// Host paths under the names that they have inside.
    pub(crate) sockets: BTreeMap<String, PathBuf>,
    pub(crate) services: BTreeSet<Service>,
}

/// The documents of all levels that are about one sandbox, checked.
///
/// What leaves must be allowed by each of them, so that laying another one over a
/// ruleset can only narrow it.
#[derive(Clone, Debug)]
pub struct Ruleset {
    /// At least one; the administrator's first.
    pub(crate) layers: Vec<Arc<Layer>>,
}

/// A document that makes the sandbox weaker. For the output and the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Whose document.
    pub level: Level,
    /// Where.
    pub place: Place,
    /// What is weaker, and what that means.
    pub message: String,
}

impl Ruleset {
    /// Checks one document, as the only one.
    ///
    /// # Errors
    ///
    /// [`DocumentErrors`] with everything that is wrong in it.
    pub fn check(level: Level, doc: &EgressDoc) -> Result<Ruleset, DocumentErrors> {
        let layer = check::layer(level, doc)?;
        Ok(Ruleset {
            layers: vec![Arc::new(layer)],
        })
    }

    /// This ruleset within another one: what both allow, at the lower limits.
    #[must_use]
    pub fn bounded_by(mut self, upper: &Ruleset) -> Ruleset {
        self.layers.extend(upper.layers.iter().cloned());
        self.layers.sort_by_key(|layer| layer.level);
        self
    }

    /// The lowest of each limit.
    pub fn limits(&self) -> Limits {
        let lower = |limits: Option<Limits>, layer: &Arc<Layer>| {
            Some(limits.map_or(layer.limits, |limits| limits.lower(layer.limits)))
        };
        self.layers.iter().fold(None, lower).unwrap_or_default()
    }

    /// What all sandboxes together have for which the documents of a level hold.
    pub fn total(&self, level: Level) -> Total {
        let layers = self.layers.iter().filter(|layer| layer.level == level);
        layers.fold(Total::default(), |total, layer| total.lower(layer.total))
    }

    /// The strictest mode: what any level enforces is enforced.
    pub fn mode(&self) -> Mode {
        self.layers
            .iter()
            .map(|layer| layer.mode)
            .min()
            .unwrap_or_default()
    }

    /// The rules of all levels, the administrator's first.
    pub fn rules(&self) -> impl Iterator<Item = (Level, &PlacedRule)> {
        self.layers
            .iter()
            .flat_map(|layer| layer.rules.iter().map(|rule| (layer.level, rule)))
    }

    /// Whether nothing can leave: an enforcing level allows nothing.
    pub fn denies_all(&self) -> bool {
        let allows = |rule: &PlacedRule| rule.rule.effect() == Effect::Allow;
        let closed =
            |layer: &Arc<Layer>| layer.mode == Mode::Enforce && !layer.rules.iter().any(allows);
        self.layers.iter().any(closed)
    }

    /// Host paths of the Unix sockets that every level grants, under their names inside.
    pub fn sockets(&self) -> impl Iterator<Item = (&str, &Path)> {
        let (first, others) = self
            .layers
            .split_first()
            .map_or((None, &[][..]), |(first, others)| (Some(first), others));
        let granted = first.into_iter().flat_map(|layer| &layer.sockets);
        granted
            .filter(|(name, path)| {
                others
                    .iter()
                    .all(|layer| layer.sockets.get(*name) == Some(*path))
            })
            .map(|(name, path)| (name.as_str(), path.as_path()))
    }

    /// The manager's services that every level grants.
    pub fn services(&self) -> impl Iterator<Item = Service> {
        let granted = |service: &Service| {
            let mut layers = self.layers.iter();
            layers.all(|layer| layer.services.contains(service))
        };
        Service::ALL.iter().copied().filter(granted)
    }

    /// Services that a level grants without effect, because a level above does not. For the one
    /// who wrote them; none of them is an error.
    pub fn idle_services(&self) -> Vec<(Level, Service)> {
        let bounded = |level: Level, service: &Service| {
            let mut layers = self.layers.iter();
            layers.any(|layer| layer.level < level && !layer.services.contains(service))
        };
        self.layers
            .iter()
            .flat_map(|layer| layer.services.iter().map(|service| (layer.level, *service)))
            .filter(|(level, service)| bounded(*level, service))
            .collect()
    }

    /// BLAKE3 of everything that decides, in lower-case hexadecimal (64 characters): the
    /// same for the same rules in another order, another layout or another file.
    pub fn digest(&self) -> String {
        digest::digest(self)
    }

    /// What is weaker than it could be.
    pub fn warnings(&self) -> Vec<Warning> {
        self.layers
            .iter()
            .flat_map(|layer| layer.warnings())
            .collect()
    }

    /// Allowing rules that allow nothing, because a level above allows nothing of what they
    /// are about. For the one who wrote them; none of them is an error.
    pub fn idle_rules(&self) -> Vec<(Level, &PlacedRule)> {
        let idle = |level: Level, rule: &Rule| {
            rule.effect == Effect::Allow
                && self
                    .layers
                    .iter()
                    .any(|layer| layer.level < level && !layer.may_allow(rule))
        };
        self.rules()
            .filter(|(level, placed)| idle(*level, &placed.rule))
            .collect()
    }
}

impl Layer {
    fn warnings(&self) -> Vec<Warning> {
        let place = self
            .rules
            .first()
            .map_or_else(Place::default, |rule| Place {
                field: "mode".to_owned(),
                line: None,
                ..rule.place.clone()
            });
        let mode = match self.mode {
            Mode::Enforce => None,
            Mode::DryRun => {
                Some("dry-run: what no rule allows leaves the sandbox, and is recorded")
            }
            Mode::Off => Some("off: every public host can be reached, whatever the rules say"),
        };
        let mode = mode.map(|message| (place, message));
        let rules = self
            .rules
            .iter()
            .filter_map(|rule| weak(&rule.rule).map(|message| (rule.place.clone(), message)));
        let unheld = self.unheld().into_iter();
        let unheld = unheld.map(|(wide, held)| (wide.place.clone(), unheld::words(held)));
        mode.into_iter()
            .chain(rules)
            .map(|(place, message)| (place, message.to_owned()))
            .chain(unheld)
            .map(|(place, message)| Warning {
                level: self.level,
                place,
                message,
            })
            .collect()
    }

    /// Whether some destination of the rule's can be allowed here; exact but for blocks
    /// and names that only a resolver could connect.
    fn may_allow(&self, asked: &Rule) -> bool {
        if self.mode != Mode::Enforce {
            return true;
        }
        self.rules.iter().any(|own| {
            own.rule.effect == Effect::Allow
                && own.rule.ports.meets(asked.ports)
                && overlap(&own.rule.target, &asked.target)
        })
    }
}

/// Whether a destination can be of both.
fn overlap(a: &Target, b: &Target) -> bool {
    match (a, b) {
        (Target::Block(a), Target::Block(b)) => a.covers(b) || b.covers(a),
        (Target::Block(_), _) | (_, Target::Block(_)) => false,
        (Target::AnyName, _) | (_, Target::AnyName) => true,
        (Target::Name(a), Target::Name(b)) => a == b,
        (Target::Name(name), Target::Below(above)) | (Target::Below(above), Target::Name(name)) => {
            name.parents().any(|parent| parent == above.as_str())
        }
        (Target::Below(a), Target::Below(b)) => {
            a == b
                || a.parents().any(|up| up == b.as_str())
                || b.parents().any(|up| up == a.as_str())
        }
    }
}

fn weak(rule: &Rule) -> Option<&'static str> {
    match (rule.effect, rule.protocol, &rule.target) {
        (Effect::Deny, ..) => None,
        (_, Protocol::Opaque, Target::Name(_) | Target::Below(_) | Target::AnyName) => Some(
            "nothing of the stream is looked at: a host that serves many names serves all of them",
        ),
        (_, _, Target::AnyName) => {
            Some("every public name can be reached, and data can leave within names")
        }
        _ => None,
    }
}

impl Default for Place {
    fn default() -> Place {
        Place {
            document: Arc::from(""),
            line: None,
            field: "mode".to_owned(),
        }
    }
}

impl Level {
    /// In words: `the administrator`.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Administrator => "the administrator",
            Level::Owner => "the owner",
            Level::User => "the user",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

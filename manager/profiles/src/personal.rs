//! A profile for a user who has none.
//!
//! The template is a profile in which `{user}` stands for the user. It is
//! filled in after it has been read, value by value: whatever a user's name
//! holds, it cannot become another field.

use crate::ceilings::Ceilings;
use crate::document::ProfileDoc;
use crate::fault::{Fault, ProfileErrors};
use crate::names::{ProfileName, is_person};
use crate::owned::Etag;
use crate::profile::Profile;
use crate::profiles::ProfileWriteError;
use crate::set::ProfileSet;
use crate::show::quoted;

/// What stands for the user.
const USER: &str = "{user}";

/// Longest part of a name that is made of a user's, in bytes: with a digest and
/// the template's own letters it stays a name.
const LONGEST_SLUG: usize = 32;

/// Hexadecimal digits that tell users apart whose names look the same.
const DIGEST_DIGITS: usize = 10;

/// Why a user gets no personal profile.
#[derive(Debug, thiserror::Error)]
pub enum PersonalError {
    /// The name is empty, too long, or has invisible characters.
    #[error("{} is not a user's name; have it corrected where users are kept", quoted(.user))]
    BadUser {
        /// The name.
        user: String,
    },
    /// Both names that the profile could have are somebody else's.
    #[error(
        "profile \"{name}\" belongs to {owner}, not to {user}; \
         change name in [personal_profile], or rename that profile"
    )]
    Taken {
        /// The user.
        user: String,
        /// The name.
        name: ProfileName,
        /// Whose it is.
        owner: String,
    },
    /// The template, filled in, is no profile.
    #[error("the personal profile of {user} is refused: {source}")]
    Refused {
        /// The user.
        user: String,
        /// Why.
        source: ProfileErrors,
    },
    /// The document could not be written as text.
    #[error("the personal profile of {user} cannot be written as TOML; correct [personal_profile]")]
    Text {
        /// The user.
        user: String,
        /// Why.
        source: toml::ser::Error,
    },
    /// The profile could not be kept.
    #[error("the personal profile of {user} was not made: {source}")]
    Write {
        /// The user.
        user: String,
        /// Why.
        source: Box<ProfileWriteError>,
    },
}

/// The template of personal profiles.
#[derive(Clone, Debug)]
pub struct PersonalProfile {
    template: ProfileDoc,
}

/// A user's personal profile.
pub(crate) struct Instance {
    pub(crate) name: ProfileName,
    /// `None` if the profile exists.
    pub(crate) text: Option<String>,
}

impl PersonalProfile {
    /// Reads a template, and tries it with a made-up user, so that a broken one
    /// is refused when the manager starts and not at somebody's login.
    ///
    /// # Errors
    ///
    /// [`ProfileErrors`].
    pub fn from_toml(
        name: &str,
        text: &str,
        ceilings: &Ceilings,
    ) -> Result<PersonalProfile, ProfileErrors> {
        let mut template = ProfileDoc::from_toml(name, text)?;
        let named = template
            .name
            .as_deref()
            .is_some_and(|name| name.contains(USER));
        let fault = |field: &str, why: &str, remedy: &str| {
            ProfileErrors::one(Fault {
                place: template.origin.place(field).cloned(),
                field: field.to_owned(),
                value: String::new(),
                why: why.to_owned(),
                remedy: remedy.to_owned(),
            })
        };
        if !named {
            let why = "without {user} in it every user would have the same profile";
            return Err(fault("name", why, "write name = \"home-{user}\""));
        }
        if template.owner.as_deref().is_some_and(|owner| owner != USER) {
            let why = "a personal profile is its user's own";
            return Err(fault(
                "owner",
                why,
                "write owner = \"{user}\", or leave it out",
            ));
        }
        template.owner = Some(USER.to_owned());
        let personal = PersonalProfile { template };
        // The longest slug there can be.
        let user = "u".repeat(LONGEST_SLUG + 1);
        Profile::check(&personal.filled(&user, &long_slug(&user)), ceilings)?;
        Ok(personal)
    }

    /// The profile of `user`: the plain name if it is free, else one with a
    /// digest of the user's name.
    pub(crate) fn instance(
        &self,
        user: &str,
        set: &ProfileSet,
        ceilings: &Ceilings,
    ) -> Result<Instance, PersonalError> {
        if !is_person(user) {
            return Err(PersonalError::BadUser {
                user: user.to_owned(),
            });
        }
        let mut taken = None;
        for slug in [slug(user), long_slug(user)] {
            let doc = self.filled(user, &slug);
            let profile =
                Profile::check(&doc, ceilings).map_err(|source| PersonalError::Refused {
                    user: user.to_owned(),
                    source,
                })?;
            let name = profile.name().clone();
            match set.get(name.as_str()) {
                Some(stored) if stored.profile().owner() == user => {
                    return Ok(Instance { name, text: None });
                }
                Some(stored) => taken = Some((name, stored.profile().owner().to_owned())),
                None => {
                    let text = doc.to_toml().map_err(|source| PersonalError::Text {
                        user: user.to_owned(),
                        source,
                    })?;
                    return Ok(Instance {
                        name,
                        text: Some(text),
                    });
                }
            }
        }
        match taken {
            Some((name, owner)) => Err(PersonalError::Taken {
                user: user.to_owned(),
                name,
                owner,
            }),
            None => Err(PersonalError::BadUser {
                user: user.to_owned(),
            }),
        }
    }

    /// The template with the user filled in: the name as it is where people
    /// are meant, in safe letters where names and paths are.
    fn filled(&self, user: &str, slug: &str) -> ProfileDoc {
        let mut doc = self.template.clone();
        let people = [&mut doc.contributors, &mut doc.viewers];
        let people = people.into_iter().flat_map(|people| &mut people.users);
        let whole = doc.owner.iter_mut().chain(&mut doc.title);
        for text in whole.chain(people).chain(doc.env.0.values_mut()) {
            *text = text.replace(USER, user);
        }
        let sources = doc.volume.iter_mut().flat_map(|volume| &mut volume.source);
        let names = doc
            .name
            .iter_mut()
            .chain(&mut doc.project)
            .chain(&mut doc.images);
        let secrets = doc.secret.iter_mut().flat_map(|secret| &mut secret.name);
        for text in names.chain(sources).chain(secrets) {
            *text = text.replace(USER, slug);
        }
        doc
    }
}

/// The user's name in letters that a profile's name may have; with a digest
/// where that changed it, so that two users never share one.
fn slug(user: &str) -> String {
    let plain = plain(user);
    if plain == user {
        plain
    } else {
        long_slug(user)
    }
}

fn long_slug(user: &str) -> String {
    let digest = Etag::of(user);
    let digest = digest.as_str().get(..DIGEST_DIGITS).unwrap_or_default();
    format!("{}-{digest}", plain(user))
}

fn plain(user: &str) -> String {
    let mut plain = String::new();
    for c in user.chars().take(LONGEST_SLUG) {
        let c = c.to_ascii_lowercase();
        let kept = c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '.';
        if kept {
            plain.push(c);
        } else if !plain.ends_with('-') {
            plain.push('-');
        }
    }
    let plain = plain.trim_matches(['-', '_', '.']);
    if plain.is_empty() {
        "user".to_owned()
    } else {
        plain.to_owned()
    }
}

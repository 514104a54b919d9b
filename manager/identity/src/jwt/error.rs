//! Why a token was refused. No message holds the token; of what it says, only the
//! name of its algorithm, its times, and a user or group name that was refused.

use super::algorithm::Algorithm;
use super::token::MAX_TOKEN_BYTES;
use crate::time::UnixTime;

/// Why a JWT was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// More bytes than any token has.
    #[error(
        "the token has {length} bytes, and at most {MAX_TOKEN_BYTES} are read; ask the issuer for fewer claims"
    )]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// Not a signed JWT.
    #[error("the token is malformed: {what}; send the issuer's JWT as it is")]
    Malformed {
        /// What is wrong, without any of the token's text.
        what: &'static str,
    },
    /// Its algorithm is not allowed.
    #[error("the token's algorithm {name} is refused; let the issuer sign with {}", crate::show::listed(.allowed))]
    Algorithm {
        /// The algorithm's name, quoted.
        name: String,
        /// Those that are allowed.
        allowed: Vec<Algorithm>,
    },
    /// No key of the issuer fits.
    #[error(
        "no key of {issuer} fits the token; sign in again, or see whether the issuer still publishes the key"
    )]
    UnknownKey {
        /// The issuer.
        issuer: String,
    },
    /// The signature is not the key's.
    #[error("the token's signature is wrong; sign in again at {issuer}")]
    Signature {
        /// The issuer.
        issuer: String,
    },
    /// Another issuer's token.
    #[error("the token is none of {}; sign in there", crate::show::listed(.accepted))]
    Issuer {
        /// The issuers that are accepted.
        accepted: Vec<String>,
    },
    /// A token for somebody else.
    #[error("the token is for another audience; ask {issuer} for one for {}", crate::show::listed(.accepted))]
    Audience {
        /// The issuer.
        issuer: String,
        /// The audiences that are accepted.
        accepted: Vec<String>,
    },
    /// Its time is over.
    #[error("the token expired at {at}; sign in again")]
    Expired {
        /// When.
        at: UnixTime,
    },
    /// Its time has not come.
    #[error(
        "the token is valid from {from} on; see whether the clocks of this host and of the issuer agree"
    )]
    NotYetValid {
        /// From when.
        from: UnixTime,
    },
    /// Issued too long ago.
    #[error("the token was issued at {issued}, too long ago; sign in again")]
    TooOld {
        /// When.
        issued: UnixTime,
    },
    /// A claim that is needed.
    #[error("the token has no claim {} of the right kind; let the issuer add it", crate::show::quoted(.claim))]
    Claim {
        /// The claim's name.
        claim: String,
    },
    /// The issuer does not vouch for the address.
    #[error(
        "the token's e-mail address is not verified; verify it at the issuer, or set user_claim to another claim"
    )]
    EmailNotVerified,
    /// The user's or a group's name is none that we take.
    #[error("the token's claim {} holds a name that cannot be used: {cause}", crate::show::quoted(.claim))]
    Name {
        /// The claim's name.
        claim: String,
        /// What is wrong; holds the name, escaped.
        cause: String,
    },
    /// More groups than anybody has.
    #[error(
        "the token lists {count} groups, more than {most}; let the issuer list those that matter here"
    )]
    Groups {
        /// How many.
        count: usize,
        /// The most that are read.
        most: usize,
    },
}

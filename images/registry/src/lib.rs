//! Images from registries (OCI distribution-spec 1.1), into a library.
//!
//! [`pull`] asks a registry, or its mirrors before it, which image a name leads to, fetches what of it is not
//! there, and lets [`lakekeep_images`] unpack it and give it its name. What comes from the network is
//! believed for its digest alone: who answers, and over which redirects, does not matter then. So what can go wrong is
//! what is asked too often, read for too long, or told to the wrong host; this crate is about that:
//!
//! - **Bounds** ([`Limits`]): sizes as the descriptors say, headers, redirects, attempts, times, a least
//!   rate, bytes in all.
//! - **Credentials** ([`Keychain`]) go to the registry or mirror that they are for, and to the one that it
//!   names for tokens if that speaks TLS; never along a redirect to another host.
//! - **Interruptions**: layers are kept as far as they have come
//!   ([`Store::resume`](lakekeep_content::Store::resume)), and gone on with.

mod auth;
mod blob;
mod client;
mod credentials;
mod documents;
mod endpoint;
mod error;
mod location;
mod mirrors;
mod pull;
mod retry;
mod session;
mod settings;
mod tls;

pub mod wire;

pub use credentials::{Credentials, DockerConfig, HelperAnswer, Keychain};
pub use endpoint::{Endpoint, NotAnEndpoint};
pub use error::{CredentialsError, PullError, RequestError, TransportError};
pub use location::{Location, LocationError};
pub use pull::{Limits, Options, Progress, Pulled, key_of, pull};
pub use settings::{Settings, SettingsError};

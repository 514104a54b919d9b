//! Versioned frames between manager, launcher, init and relay.
//!
//! The types here are the wire: plain data with serde, checked by whoever
//! receives them. Nothing in this crate decides or enforces.
//!
//! ## Who says what
//!
//! | frame | from → to | descriptors | answered by | ends |
//! |---|---|---|---|---|
//! | [`LauncherRequest::Create`] | manager → launcher | the init's end of a socket pair | `Created` or `Failed` | – |
//! | [`LauncherRequest::Destroy`] | manager → launcher | – | `Destroyed` or `Failed` | the sandbox |
//! | [`LauncherRequest::Keep`] | manager → launcher | those to keep | `Done` or `Failed` | – |
//! | [`LauncherRequest::Forget`] | manager → launcher | – | `Done` or `Failed` | – |
//! | [`LauncherRequest::List`] | manager → launcher | – | `Sandboxes` | – |
//! | [`LauncherRequest::Describe`] | manager → launcher | – | `Created` or `Failed` | – |
//! | [`LauncherRequest::Retrieve`] | manager → launcher | – | `Kept` or `Failed` | – |
//! | [`LauncherRequest::Usage`] | manager → launcher | – | `Usage` or `Failed` | – |
//! | [`LauncherRequest::Freeze`] | manager → launcher | – | `Done` or `Failed` | – |
//! | [`LauncherRequest::Volume`] | manager → launcher | – | `Kept` or `Failed` | – |
//! | [`LauncherRequest::Extend`] | manager → launcher | – | `Kept` or `Failed` | – |
//! | [`LauncherRequest::Quota`] | manager → launcher | – | `Quota` or `Failed` | – |
//! | [`LauncherRequest::Zygote`] | manager → launcher | where it writes | `Done` or `Failed` | – |
//! | [`LauncherReply::Kept`] | launcher → manager | copies of those kept; the trees | – | – |
//! | [`LauncherReply::Created`] | launcher → manager | a pidfd of the init; with egress, where its TCP and its DNS arrive | – | – |
//! | [`LauncherReply::Failed`] | launcher → manager | – | – | the request, all its effects undone |
//! | [`InitRequest::Spawn`] | manager → init | stdin, stdout, stderr (none with a terminal) | `Spawned` or `SpawnFailed` | – |
//! | [`InitRequest::Prepare`] | manager → init | – | `Ready`, or nothing | – |
//! | [`InitRequest::Signal`] | manager → init | – | nothing | – |
//! | [`InitRequest::List`] | manager → init | – | `Tasks` | – |
//! | [`InitRequest::Acknowledge`] | manager → init | – | nothing | – |
//! | [`InitRequest::Place`] | manager → init | the tree | `Placed` | – |
//! | [`InitRequest::Show`] | manager → init | the trees | `Placed` | – |
//! | [`InitReply::Started`] | init → manager | – | – | – |
//! | [`InitReply::Spawned`] | init → manager | the terminal's controller, if asked for | – | – |
//! | [`InitReply::Exited`] | init → manager | – | – | the task |
//! | [`RelayRequest::Serve`] | manager → relay | where a sandbox's TCP and its DNS arrive | `Serving` or `Refused` | – |
//! | [`RelayRequest::Stop`] | manager → relay | – | `Stopped` | the sandbox's flows |
//! | [`RelayRequest::Update`] | manager → relay | – | `Serving` or `Refused` | flows that are not allowed any more |
//! | [`RelayRequest::List`] | manager → relay | – | `Served` | – |
//! | [`RelayRequest::Sync`] | manager → relay | – | `Synced` | – |
//! | [`RelayRequest::Services`] | manager → relay | the folder of the manager's socket for services | nothing | – |
//! | [`Preamble`] | relay → manager, on that socket, before what a sandbox says | – | – | – |
//! | [`RelayRequest::Noted`] | manager → relay | – | nothing | – |
//! | [`RelayReply::Flow`] | relay → manager | – | `Noted`, if the relay listens | the flow |
//! | [`RelayReply::Lost`] | relay → manager | – | `Noted` | – |
//!
//! A peer that closes its end has ended. A launcher that serves one manager then
//! destroys what it made; one that listens destroys the sandboxes for which nothing
//! is kept, and waits for the next manager. The init ends every task and itself when
//! nobody has the other end of its socket any more: a kept copy keeps it. A relay that serves
//! one manager ends with it; one that listens serves on, and waits for the next.

pub mod channel;
pub mod facts;
pub mod launch;
pub mod preamble;
pub mod relay;
pub mod task;
pub mod zygote;

pub use channel::{Channel, ProtocolError, take};
pub use launch::{LauncherReply, LauncherRequest};
pub use preamble::{Preamble, PreambleError};
pub use relay::{RelayReply, RelayRequest};
pub use task::{InitReply, InitRequest};

/// The version of every frame; a peer of another version is refused.
pub const VERSION: u8 = 7;

/// The descriptor number on which an init finds its socket. A launcher finds
/// its own on standard input.
pub const CHANNEL_FD: i32 = 3;

/// The descriptor number on which the init of a sandbox that has a zygote finds a socket, in
/// it one message: its connection to the zygote, and the doors of its cgroups.
pub const ZYGOTE_FD: i32 = 4;

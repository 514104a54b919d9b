//! The manager: many users' sandboxes on one machine.
//!
//! A long-lived process without privileges. It knows who each caller is, decides what
//! they may do, keeps their sandboxes and answers for what happened in them. Sandboxes
//! are made by launchers, which are separate, privileged processes that outlive it.
//!
//! | module | what it does |
//! |---|---|
//! | `server` | start, adoption, service, end |
//! | `tls`, `connection`, `places` | connections over TCP, and how many |
//! | `who`, `gate` | authentication; identity, profile, authorization, audit |
//! | `refusals` | what is refused becomes an event, here and nowhere else |
//! | `make`, `admission`, `given` | a sandbox for a caller: policy, quota, trust key; a task's secrets |
//! | `quotas` | bounds of volumes on their disks |
//! | `registry`, `sandbox`, `task`, `spool` | what lives: sandboxes, tasks, their output |
//! | `maker` | the plan of each task |
//! | `parked` | sandboxes made ahead |
//! | `launchers` | the connections to the launchers |
//! | `egress` | what may leave, and the relay that carries it |
//! | `local` | services that are answered here, for sandboxes that are granted them |
//! | `evidence` | the audit log, verified without a manager |
//! | `history`, `past` | what became of sandboxes, written down and found again |
//! | `flows` | what left sandboxes and what was refused, read and held against other rules; what those that hold say |
//! | `metrics`, `calls`, `trace` | numbers, logs and spans for whoever runs it |
//! | `environments` | what users have sent of theirs, and who may run with it |
//! | `functions` | sessions of user functions, over a socket of their own |
//! | `exec` | a task for a caller |
//! | `sandboxes`, `told`, `accounts`, `services`, `streams`, `transfer`, `stats`, `events` | the interface `lakekeep.v1` |
//!
//! Nothing here is believed that a sandbox says: frames are bounded, output is bytes,
//! paths inside are opened inside.

mod accounts;
mod admission;
mod asked;
mod calls;
pub mod config;
mod connection;
mod door;
mod egress;
mod environments;
mod events;
pub mod evidence;
mod exec;
mod fault;
mod files;
mod flows;
mod functions;
mod gate;
mod given;
mod history;
mod images;
mod launchers;
mod local;
mod make;
mod maker;
mod meta;
mod metrics;
mod moments;
mod overdue;
mod parked;
mod past;
mod places;
mod quotas;
mod ready;
mod record;
mod refusals;
mod registry;
mod sandbox;
mod sandboxes;
mod server;
mod services;
mod spool;
mod stats;
mod streams;
mod task;
mod tls;
mod told;
mod trace;
mod transfer;
mod who;
mod wire;

pub use server::{Inherited, ManagerError, run};

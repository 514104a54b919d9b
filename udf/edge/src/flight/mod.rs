//! Arrow Flight, as RisingWave and Databend call user functions.
//!
//! | asked | answered |
//! |---|---|
//! | DoAction `protocol_version` | one byte: 2 |
//! | ListFlights, GetFlightInfo of a path | the columns of a call, then those of an answer; how many are a call's |
//! | DoExchange of a path | a batch for each batch; for table functions any number, with the row each is of |
//!
//! What an engine says in headers is not passed on: some of them hold credentials of its
//! storage.

mod exchange;
mod listen;
mod service;

pub use listen::{Listen, serve};

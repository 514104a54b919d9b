//! A client of a lakekeep manager.

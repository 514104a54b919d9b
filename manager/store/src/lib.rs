//! What the manager remembers: state, audit log, variables and secrets.

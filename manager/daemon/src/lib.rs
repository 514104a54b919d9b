//! The manager: many users' sandboxes on one machine.

//! The gRPC interface lakekeep.v1, generated from its proto files.

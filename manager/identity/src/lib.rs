//! Who asks, and whom they are mapped to: authentication and identity rules.

//! Looking at images and mount sources, for managers that keep what they found.

pub use crate::image::{image, mount_source};

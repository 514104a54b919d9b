//! Looking at images and mount sources, for managers that keep what they found.

use std::path::Path;

use lakekeep_plan::{ImageFacts, View};
use lakekeep_policy::ImageRef;

use crate::image::{Additions, ImageError};

pub use crate::image::mount_source;

/// Looks at a policy's image. `interpreter` is a program whose prefix the host image shall
/// include.
///
/// # Errors
/// [`ImageError`].
pub fn image(image: &ImageRef, interpreter: Option<&Path>) -> Result<ImageFacts, ImageError> {
    image_with(image, interpreter, None)
}

/// The same, with the parts of a replicated environment: each is there, and has a place.
///
/// # Errors
/// [`ImageError`].
pub fn image_with(
    image: &ImageRef,
    interpreter: Option<&Path>,
    view: Option<&View>,
) -> Result<ImageFacts, ImageError> {
    let additions = Additions { interpreter, view };
    crate::image::image(image, &additions)
}

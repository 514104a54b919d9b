//! Small files that are there whole or not at all.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Replaces a file's contents, for readers of this boot: what a killed process leaves
/// is the old file or the new one. Survives no power failure, which ends sandboxes too.
///
/// # Errors
/// Of the file system.
pub fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let next = path.with_extension("next");
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&next)?;
    file.write_all(contents)?;
    std::fs::rename(&next, path)
}

//! Folders that only their owner may change.

use std::path::Path;

use lakekeep_sys::error::Context;
use lakekeep_sys::mount;
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;

use crate::error::StartError;

/// Write permission of others than the owner.
const OTHERS_WRITE: u32 = 0o022;

/// Makes a folder for the caller, or takes one that is the caller's alone to
/// write. What lies in /tmp under a name that can be guessed may be anybody's.
///
/// # Errors
/// `ForeignFolder` when it is a link, no folder, another user's, or others may
/// write to it.
pub fn make_private(path: &Path) -> Result<(), StartError> {
    let object = path.display().to_string();
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o711)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(lakekeep_sys::Error::new("mkdir", object, errno).into()),
    }
    let place = mount::host_place(path).context("open", &object)?;
    let stat = rustix::fs::fstat(&place).context("fstat", &object)?;
    let folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let own = stat.st_uid == rustix::process::geteuid().as_raw();
    if folder && own && stat.st_mode & OTHERS_WRITE == 0 {
        return Ok(());
    }
    Err(StartError::ForeignFolder { path: object })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn only_an_own_folder_that_others_cannot_write_is_taken() {
        let base = std::env::temp_dir().join(format!("lakekeep-folder-{}", std::process::id()));
        std::fs::create_dir_all(&base).unwrap();
        let new = base.join("new");
        make_private(&new).unwrap();
        make_private(&new).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(
            make_private(&new),
            Err(StartError::ForeignFolder { .. })
        ));
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o700)).unwrap();
        symlink(&new, base.join("link")).unwrap();
        assert!(make_private(&base.join("link")).is_err());
        std::fs::write(base.join("file"), "").unwrap();
        assert!(make_private(&base.join("file")).is_err());
        std::fs::remove_dir_all(base).unwrap();
    }
}

//! Sealed memory files: bytes that can no longer change under their reader.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

/// The seals that make the contents final.
const FINAL: SealFlags = SealFlags::SEAL
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::WRITE);

/// Makes a close-on-exec memory file that holds `bytes` and nothing else ever.
///
/// `executable` files may be given to [`crate::process::exec_file`]; the seal
/// is what keeps a sandbox from overwriting its own init through
/// `/proc/self/exe` (CVE-2019-5736).
pub fn sealed(name: &str, bytes: &[u8], executable: bool) -> Result<OwnedFd, Errno> {
    let kind = if executable {
        MemfdFlags::EXEC
    } else {
        MemfdFlags::NOEXEC_SEAL
    };
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know the two EXEC flags.
    let fd = match rustix::fs::memfd_create(name, flags | kind) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags)?,
        other => other?,
    };
    let mut file = File::from(fd);
    file.write_all(bytes)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    rustix::fs::fcntl_add_seals(&file, FINAL)?;
    Ok(OwnedFd::from(file))
}

/// Reads a sealed file of at most `limit` bytes.
///
/// # Errors
/// `EPERM` when the file is not sealed against every change (its sender could
/// alter it between a check and its use); `EFBIG` when it is too large.
pub fn read_sealed(fd: impl AsFd, limit: usize) -> Result<Vec<u8>, Errno> {
    if !rustix::fs::fcntl_get_seals(&fd)?.contains(FINAL) {
        return Err(Errno::PERM);
    }
    let size = usize::try_from(rustix::fs::fstat(&fd)?.st_size).map_err(|_| Errno::FBIG)?;
    if size > limit {
        return Err(Errno::FBIG);
    }
    let mut file = File::from(rustix::io::fcntl_dupfd_cloexec(&fd, 0)?);
    let mut bytes = Vec::with_capacity(size);
    file.rewind()
        .and_then(|()| file.read_to_end(&mut bytes))
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_bytes_come_back_and_cannot_change() {
        let fd = sealed("test", b"contents", false).unwrap();
        assert_eq!(read_sealed(&fd, 8).unwrap(), b"contents");
        assert_eq!(read_sealed(&fd, 7).unwrap_err(), Errno::FBIG);
        assert_eq!(rustix::io::write(&fd, b"x").unwrap_err(), Errno::PERM);
        assert_eq!(rustix::fs::ftruncate(&fd, 0).unwrap_err(), Errno::PERM);
    }

    #[test]
    fn an_unsealed_file_is_not_believed() {
        let fd = rustix::fs::memfd_create("test", MemfdFlags::ALLOW_SEALING).unwrap();
        assert_eq!(read_sealed(&fd, 8).unwrap_err(), Errno::PERM);
    }
}

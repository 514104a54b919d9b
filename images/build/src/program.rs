//! uv's program on this host.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::BuildError;

/// Begins a program that the kernel runs by itself (elf(5)).
const ELF: [u8; 4] = *b"\x7fELF";

/// The program that is named, or that `path` (PATH's value) leads to; by its real path, for a
/// sandbox is shown that alone. It is not run.
///
/// # Errors
/// [`BuildError::NoUv`]; [`BuildError::NotUv`] for a script, which would need more than itself.
pub fn uv_program(named: Option<&Path>, path: &std::ffi::OsStr) -> Result<PathBuf, BuildError> {
    let found = match named {
        Some(named) => Some(named.to_owned()),
        None => std::env::split_paths(path)
            .map(|folder| folder.join("uv"))
            .find(|program| program.is_file()),
    };
    let found = found.ok_or(BuildError::NoUv)?;
    let not_uv = || BuildError::NotUv {
        path: found.clone(),
    };
    let real = std::fs::canonicalize(&found).map_err(|_| not_uv())?;
    let mut begin = [0; 4];
    let read = std::fs::File::open(&real).and_then(|mut file| file.read_exact(&mut begin));
    match (read, begin) {
        (Ok(()), ELF) => Ok(real),
        _ => Err(not_uv()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_and_a_script_is_not_taken_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let uv = folder.path().join("uv");
        let path = folder.path().as_os_str();
        assert!(matches!(uv_program(None, path), Err(BuildError::NoUv)));
        std::fs::write(&uv, "#!/bin/sh\n").unwrap();
        assert!(matches!(
            uv_program(None, path),
            Err(BuildError::NotUv { .. })
        ));
        std::fs::write(&uv, b"\x7fELF...").unwrap();
        assert!(uv_program(None, path).unwrap().ends_with("uv"));
        assert!(uv_program(Some(&uv), std::ffi::OsStr::new("")).is_ok());
    }
}

//! Where a built environment's things are. Its own interpreter is not asked: its start runs what a
//! package put there (`.pth` files, `sitecustomize`, another program in its place), and that runs in
//! sandboxes only. All that is to be known follows from the interpreter that it was made with, and
//! from how virtual environments are made (PEP 405).

use std::path::{Path, PathBuf};

use lakekeep_capture::Answer;

use crate::error::BuildError;

/// What the environment in `folder` would say of itself, made with the interpreter that said `base`.
///
/// # Errors
/// [`BuildError::NoBase`] if `base` is itself in a virtual environment.
pub fn environment(base: &Answer, folder: &Path) -> Result<Answer, BuildError> {
    let no_base = || BuildError::NoBase {
        python: base.executable.clone(),
    };
    let name = base.stdlib.file_name().ok_or_else(no_base)?;
    if base.prefix != base.base_prefix {
        return Err(no_base());
    }
    let own = |entry: &&PathBuf| is_standard(entry, &base.stdlib);
    let mut path: Vec<PathBuf> = base.isolated.iter().filter(own).cloned().collect();
    path.push(folder.join("lib").join(name).join("site-packages"));
    Ok(Answer {
        executable: folder.join("bin/python"),
        prefix: folder.to_owned(),
        isolated: path.clone(),
        path,
        mapped: Vec::new(),
        ..base.clone()
    })
}

/// Of the standard library: itself, what is in it but for site packages, its archive.
fn is_standard(entry: &Path, stdlib: &Path) -> bool {
    let site = |name: &str| entry.components().any(|part| part.as_os_str() == name);
    let within = entry.starts_with(stdlib) && !site("site-packages") && !site("dist-packages");
    let archive = entry.extension().is_some_and(|end| end == "zip");
    within || (archive && entry.parent() == stdlib.parent())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_has_the_standard_library_and_its_own_packages() {
        let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect::<Vec<_>>();
        let path = paths(&[
            "/usr/lib/python311.zip",
            "/usr/lib/python3.11",
            "/usr/lib/python3.11/lib-dynload",
            "/usr/local/lib/python3.11/dist-packages",
            "/usr/lib/python3/dist-packages",
            "/usr/lib/python3.11/site-packages",
            "/srv/by-a-pth-file",
        ]);
        let base = Answer {
            executable: PathBuf::from("/usr/bin/python3.11"),
            version: "3.11.7".to_owned(),
            soabi: "cpython-311-x86_64-linux-gnu".to_owned(),
            cache_tag: "cpython-311".to_owned(),
            libc: "glibc 2.36".to_owned(),
            machine: "x86_64".to_owned(),
            prefix: PathBuf::from("/usr"),
            base_prefix: PathBuf::from("/usr"),
            stdlib: PathBuf::from("/usr/lib/python3.11"),
            path: path.clone(),
            mapped: Vec::new(),
            isolated: path,
        };
        let built = environment(&base, Path::new("/b/venv")).unwrap();
        let expected = paths(&[
            "/usr/lib/python311.zip",
            "/usr/lib/python3.11",
            "/usr/lib/python3.11/lib-dynload",
            "/b/venv/lib/python3.11/site-packages",
        ]);
        assert_eq!(built.path, expected);
        assert_eq!(built.base_prefix, Path::new("/usr"));
        assert!(environment(&built, Path::new("/c")).is_err());
    }
}

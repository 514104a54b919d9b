//! Compiles the attacks. They are C because they make calls that no safe wrapper
//! offers, and `unsafe` Rust lives in runtime/sys only; static, so that the same
//! file runs in a root filesystem that has no libraries.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    let sources = sources(Path::new("c"))?;
    println!("cargo::rerun-if-changed=c");
    println!("cargo::rerun-if-env-changed=CC");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?).join("attack");
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let status = Command::new(&compiler)
        .args([
            "-static",
            "-O1",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-D_GNU_SOURCE",
            "-o",
        ])
        .arg(&out)
        .args(&sources)
        .status()
        .map_err(|e| {
            format!(
                "cannot run the C compiler {}: {e}; install gcc and libc6-dev, or set CC",
                compiler.display()
            )
        })?;
    if status.success() {
        Ok(())
    } else {
        Err(format!(
            "the C compiler {} failed: {status}; a static libc (libc6-dev) is needed",
            compiler.display()
        )
        .into())
    }
}

fn sources(dir: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = Vec::new();
    for entry in dir.read_dir()? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "c") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

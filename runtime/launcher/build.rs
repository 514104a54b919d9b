//! Builds the init, statically linked, and hands its path to the launcher,
//! which carries it inside.
//!
//! Cargo has no stable way to say that one package embeds another's binary of
//! other flags (artifact dependencies, rust-lang/cargo#9096), so this runs
//! cargo again with a target folder of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() -> Result<(), String> {
    let out = PathBuf::from(variable("OUT_DIR")?);
    let workspace = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("../..");
    for watched in [
        "runtime/init",
        "runtime/protocol",
        "runtime/sys",
        "Cargo.lock",
        "Cargo.toml",
    ] {
        println!(
            "cargo:rerun-if-changed={}",
            workspace.join(watched).display()
        );
    }
    let target = init_target(&variable("TARGET")?)?;
    let status = Command::new(variable("CARGO")?)
        .current_dir(&workspace)
        .args([
            "build",
            "--locked",
            "--package",
            "lakekeep-init",
            "--profile",
            "init",
        ])
        .args(["--target", &target])
        .arg("--target-dir")
        .arg(out.join("init"))
        // With --target, these flags reach the init alone, not build scripts.
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            "-Ctarget-feature=+crt-static\x1f-Crelocation-model=static",
        )
        .env_remove("RUSTFLAGS")
        // Clippy runs build scripts under its own wrapper: the init is built.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .status()
        .map_err(|error| format!("cargo cannot be run: {error}"))?;
    if !status.success() {
        return Err(format!("building lakekeep-init failed: {status}"));
    }
    let binary = out.join("init").join(target).join("init/lakekeep-init");
    println!("cargo:rustc-env=LAKEKEEP_INIT={}", binary.display());
    Ok(())
}

/// The init's target: with musl where rustc has its library (`rustup target add`).
/// The init is then less than half as large, which each launcher copies
/// into memory, and starts without the C library's survey of the processor, a trap
/// for each question in a virtual machine. Else as the launcher.
fn init_target(own: &str) -> Result<String, String> {
    let small = own.replace("-linux-gnu", "-linux-musl");
    let output = Command::new(variable("RUSTC")?)
        .args(["--print", "target-libdir", "--target", &small])
        .output()
        .map_err(|error| format!("rustc cannot be run: {error}"))?;
    let folder = String::from_utf8_lossy(&output.stdout);
    let there = output.status.success() && Path::new(folder.trim()).is_dir();
    Ok(if there { small } else { own.to_owned() })
}

fn variable(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("cargo did not set {name}"))
}

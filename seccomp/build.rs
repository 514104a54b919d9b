//! Compiles the built-in profiles ahead, with the compiler of this very crate: what a
//! sandbox's start would else spend a millisecond on. A test holds each program against
//! a fresh compilation.

#![allow(
    dead_code,
    unused_imports,
    reason = "the crate's modules, of which this uses a part"
)]

#[path = "src/action.rs"]
mod action;
#[path = "src/arch.rs"]
mod arch;
#[path = "src/bpf.rs"]
mod bpf;
#[path = "src/compile/mod.rs"]
mod compile;
#[path = "src/document.rs"]
mod document;
#[path = "src/error.rs"]
mod error;
#[path = "src/profile.rs"]
mod profile;
#[path = "src/reference.rs"]
mod reference;
#[path = "src/table_aarch64.rs"]
mod table_aarch64;
#[path = "src/table_x86_64.rs"]
mod table_x86_64;

use std::error::Error;
use std::fmt::Write;
use std::path::Path;

pub use action::{Action, Refusal, errno_name, errno_number};
pub use arch::{Arch, syscall_name, syscall_number};
pub use bpf::{MAX_INSTRUCTIONS, Program, SeccompData, SockFilter};
pub use compile::compile;
pub use error::{CompileError, ConditionFault, Place, ProfileError, ProgramError};
pub use profile::{Comparison, Condition, Profile, Rule};
pub use reference::decide;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=profiles");
    let mut table = String::from("const PREBUILT: &[Prebuilt] = &[\n");
    for name in Profile::BUILTIN
        .into_iter()
        .chain(Profile::ZYGOTES)
        .chain(Profile::SERVICES)
    {
        let profile = Profile::builtin(name)?;
        for arch in Arch::ALL {
            for refusal in [Refusal::Errno, Refusal::Notify] {
                let bytes = compile(&profile, arch, refusal)?.to_bytes();
                writeln!(
                    table,
                    "    Prebuilt {{ name: {name:?}, arch: Arch::{arch:?}, refusal: Refusal::{refusal:?}, bytes: &{bytes:?} }},"
                )?;
            }
        }
    }
    table.push_str("];\n");
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(Path::new(&out).join("prebuilt.rs"), table)?;
    Ok(())
}

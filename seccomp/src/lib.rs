//! Seccomp profiles as data, and their compiler to BPF.
//!
//! A profile is a JSON document of rules ([`Profile::parse`], [`Profile::builtin`]). [`compile`]
//! turns it into a binary-search filter for one [`Arch`]; [`decide`] answers the same question
//! straight from the rules and is what the compiler is tested against. Nothing here talks to the
//! kernel: the caller installs [`Program::instructions`].
//!
//! ```
//! use lakekeep_seccomp::{compile, Action, Arch, Profile, Refusal, SeccompData};
//!
//! let profile = Profile::builtin("udf")?;
//! let program = compile(&profile, Arch::X86_64, Refusal::Errno)?;
//! let mount = SeccompData::call(Arch::X86_64, 165, [0; 6]);
//! assert_eq!(program.evaluate(&mount), Action::Errno(1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod action;
mod arch;
mod bpf;
mod compile;
mod document;
mod error;
mod prebuilt;
mod profile;
mod reference;
mod table_aarch64;
mod table_x86_64;

pub use action::{Action, Refusal, errno_name, errno_number};
pub use arch::{Arch, syscall_name, syscall_number};
pub use bpf::{MAX_INSTRUCTIONS, Program, SeccompData, SockFilter};
pub use compile::compile;
pub use error::{CompileError, ConditionFault, Place, ProfileError, ProgramError};
pub use prebuilt::builtin_program;
pub use profile::{Comparison, Condition, Profile, Rule};
pub use reference::decide;

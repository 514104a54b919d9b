//! Errors: each says where, what and what to do.

use std::fmt;

use crate::Arch;

/// Where in a profile's text a rule stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of the document: the profile or the included file.
    pub document: String,
    /// Index of the rule in that document, from 0.
    pub rule: usize,
    /// Line on which the rule begins, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seccomp profile {}, line {}, rule {}",
            self.document, self.line, self.rule
        )
    }
}

/// Why a profile was refused.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// There is no built-in profile of this name.
    #[error("no built-in seccomp profile {name:?}: use one of udf, notebook, general")]
    UnknownProfile {
        /// The name asked for.
        name: String,
    },
    /// The text is not a profile: bad JSON, an unknown field, a wrong type.
    #[error("seccomp profile {document}, line {line}, column {column}: correct the JSON there")]
    Syntax {
        /// Name of the document.
        document: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the parser found.
        source: serde_json::Error,
    },
    /// An included document does not exist.
    #[error("seccomp profile {document}: include {include:?} is not found: correct its name")]
    MissingInclude {
        /// Name of the document.
        document: String,
        /// What it includes.
        include: String,
    },
    /// An included document includes another.
    #[error(
        "seccomp profile {document} is itself included and includes {include:?}: list both in the profile"
    )]
    NestedInclude {
        /// Name of the included document.
        document: String,
        /// What it includes.
        include: String,
    },
    /// A rule names a call that no supported architecture has.
    #[error("{place}: no system call {syscall:?} on any supported architecture: correct its name")]
    UnknownSyscall {
        /// Which rule.
        place: Place,
        /// The name.
        syscall: String,
    },
    /// A rule names no call that exists where it applies.
    #[error(
        "{place}: no architecture of the rule has any of its calls: correct `syscalls` or `arch`"
    )]
    NoCall {
        /// Which rule.
        place: Place,
    },
    /// A rule names the same call twice.
    #[error("{place}: {syscall} is listed twice: list it once")]
    RepeatedSyscall {
        /// Which rule.
        place: Place,
        /// The name.
        syscall: String,
    },
    /// A rule names an error that is not in the crate's table.
    #[error("{place}: unknown error {errno:?} in `action`: use a name such as EPERM or ENOSYS")]
    UnknownErrno {
        /// Which rule.
        place: Place,
        /// The name.
        errno: String,
    },
    /// A condition cannot be as written.
    #[error("{place}, condition {condition}: {fault}")]
    Condition {
        /// Which rule.
        place: Place,
        /// Index in `when`, from 0.
        condition: usize,
        /// What is wrong with it.
        fault: ConditionFault,
    },
}

/// What is wrong with a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionFault {
    /// Calls have six arguments.
    #[error("`arg` is {0}: use 0 to 5")]
    Argument(u8),
    /// Only masked_eq has a mask, and it must have one.
    #[error("`mask` belongs to masked_eq and only there: add or remove it")]
    Mask,
    /// Every comparison with this value has the same answer.
    #[error(
        "`value` {value:#x} has bits outside {mask:#x}, so the answer never depends on the call: correct one of them"
    )]
    Constant {
        /// The value.
        value: u64,
        /// The bits compared.
        mask: u64,
    },
    /// A width that no argument has.
    #[error("`bits` is {0}: use 32 for an argument that the kernel reads as an int, or 64")]
    Width(u8),
}

/// Why a profile could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The rules of one call lead to too many cases.
    #[error(
        "seccomp profile {profile} on {arch}: the rules of {syscall} have too many cases: use fewer conditions"
    )]
    TooComplex {
        /// Name of the profile.
        profile: String,
        /// For which architecture.
        arch: Arch,
        /// The call.
        syscall: &'static str,
    },
    /// The filter is one that the kernel would refuse.
    #[error("seccomp profile {profile} on {arch}: the filter cannot be installed: use fewer rules")]
    Refused {
        /// Name of the profile.
        profile: String,
        /// For which architecture.
        arch: Arch,
        /// What the kernel would refuse.
        source: ProgramError,
    },
}

/// Why a sequence of instructions is not a filter that this crate runs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// Not a whole number of instructions.
    #[error("filter of {bytes} bytes: an instruction has 8, so it was cut short")]
    Truncated {
        /// Bytes given.
        bytes: usize,
    },
    /// None, or more than the kernel takes.
    #[error(
        "filter of {instructions} instructions: the kernel takes 1 to {}",
        crate::MAX_INSTRUCTIONS
    )]
    Length {
        /// Instructions given.
        instructions: usize,
    },
    /// An instruction that a filter of ours has no use for, or a load outside the call's data.
    #[error("filter instruction {at}: code {code:#06x} with operand {operand:#x} is not accepted")]
    Instruction {
        /// Its index.
        at: usize,
        /// Its code.
        code: u16,
        /// Its operand.
        operand: u32,
    },
    /// A jump past the end.
    #[error("filter instruction {at} jumps past the end")]
    Jump {
        /// Its index.
        at: usize,
    },
    /// The last instruction is not a return.
    #[error("the filter's last instruction does not return")]
    NoReturn,
}

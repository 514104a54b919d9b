//! Architectures and their system call tables.

use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;

use crate::{table_aarch64, table_x86_64};

/// An architecture that filters are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// x86-64, native calls only: i386 and x32 calls are killed.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit Arm, native calls only: 32-bit calls are killed.
    Aarch64,
}

impl Arch {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// The architecture this binary was built for, if it is one of ours.
    pub const fn native() -> Option<Self> {
        if cfg!(target_arch = "x86_64") {
            Some(Self::X86_64)
        } else if cfg!(target_arch = "aarch64") {
            Some(Self::Aarch64)
        } else {
            None
        }
    }

    /// The kernel's AUDIT_ARCH value, which every call carries.
    pub const fn audit(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::Aarch64 => 0xc000_00b7,
        }
    }

    /// Its name, as profiles write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// The first number that belongs to a foreign ABI under the same AUDIT_ARCH, if there is one.
    ///
    /// x32 calls carry x86-64's value and bit 30. A number of -1 lies above it too; no program
    /// needs it, so it is not set apart.
    pub(crate) const fn foreign_numbers(self) -> Option<u32> {
        match self {
            Self::X86_64 => Some(0x4000_0000),
            Self::Aarch64 => None,
        }
    }

    /// Number and name of each of its calls, by number.
    pub(crate) const fn calls(self) -> &'static [(u16, &'static str)] {
        match self {
            Self::X86_64 => table_x86_64::CALLS,
            Self::Aarch64 => table_aarch64::CALLS,
        }
    }

    fn numbers(self) -> &'static HashMap<&'static str, u16> {
        static X86_64: OnceLock<HashMap<&str, u16>> = OnceLock::new();
        static AARCH64: OnceLock<HashMap<&str, u16>> = OnceLock::new();
        let cell = match self {
            Self::X86_64 => &X86_64,
            Self::Aarch64 => &AARCH64,
        };
        cell.get_or_init(|| {
            self.calls()
                .iter()
                .map(|&(number, name)| (name, number))
                .collect()
        })
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name of a call's number, for calls known up to Linux 6.18.
pub fn syscall_name(arch: Arch, number: i64) -> Option<&'static str> {
    let number = u16::try_from(number).ok()?;
    let calls = arch.calls();
    let at = calls
        .binary_search_by_key(&number, |&(known, _)| known)
        .ok()?;
    calls.get(at).map(|&(_, name)| name)
}

/// The number of a call's name on this architecture.
pub fn syscall_number(arch: Arch, name: &str) -> Option<i64> {
    arch.numbers().get(name).map(|&number| i64::from(number))
}

/// The table's own copy of a name that some architecture has.
pub(crate) fn known_name(name: &str) -> Option<&'static str> {
    Arch::ALL
        .into_iter()
        .find_map(|arch| arch.numbers().get_key_value(name))
        .map(|(&known, _)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_reach_469() {
        for arch in Arch::ALL {
            assert!(
                arch.calls().windows(2).all(|pair| pair[0].0 < pair[1].0),
                "{arch}"
            );
            assert_eq!(
                arch.calls().last().unwrap(),
                &(469, "file_setattr"),
                "{arch}"
            );
            assert_eq!(
                arch.numbers().len(),
                arch.calls().len(),
                "{arch}: a name twice"
            );
        }
    }

    #[test]
    fn names_and_numbers_agree_with_the_kernel() {
        let known = [
            (Arch::X86_64, 0, "read"),
            (Arch::X86_64, 101, "ptrace"),
            (Arch::X86_64, 334, "rseq"),
            (Arch::X86_64, 435, "clone3"),
            (Arch::Aarch64, 63, "read"),
            (Arch::Aarch64, 79, "newfstatat"),
            (Arch::Aarch64, 222, "mmap"),
            (Arch::Aarch64, 261, "prlimit64"),
        ];
        for (arch, number, name) in known {
            assert_eq!(syscall_name(arch, number), Some(name));
            assert_eq!(syscall_number(arch, name), Some(number));
        }
    }

    #[test]
    fn gaps_and_impossible_numbers_have_no_name() {
        for number in [-1, 337, 423, 470, 1 << 30, i64::MAX] {
            assert_eq!(syscall_name(Arch::X86_64, number), None);
        }
        assert_eq!(syscall_number(Arch::Aarch64, "open"), None);
    }
}

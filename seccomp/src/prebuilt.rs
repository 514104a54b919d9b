//! The built-in profiles' programs, compiled when this crate was built.

use crate::{Arch, Program, ProgramError, Refusal};

/// One program.
struct Prebuilt {
    name: &'static str,
    arch: Arch,
    refusal: Refusal,
    bytes: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/prebuilt.rs"));

/// The program of the built-in profile `name`: what [`crate::compile`] makes of
/// [`crate::Profile::builtin`], without the work. `None` for a name that is not built in.
///
/// # Errors
/// None in practice: the bytes are checked once more, as those of a stranger would be.
pub fn builtin_program(
    name: &str,
    arch: Arch,
    refusal: Refusal,
) -> Result<Option<Program>, ProgramError> {
    PREBUILT
        .iter()
        .find(|one| one.name == name && one.arch == arch && one.refusal == refusal)
        .map(|one| Program::from_bytes(one.bytes))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Profile, compile};

    #[test]
    fn each_is_what_the_compiler_makes_now() {
        for name in Profile::BUILTIN
            .into_iter()
            .chain(Profile::ZYGOTES)
            .chain(Profile::SERVICES)
        {
            let profile = Profile::builtin(name).unwrap();
            for arch in Arch::ALL {
                for refusal in [Refusal::Errno, Refusal::Notify] {
                    let ahead = builtin_program(name, arch, refusal).unwrap();
                    assert_eq!(ahead, Some(compile(&profile, arch, refusal).unwrap()));
                }
            }
        }
    }

    #[test]
    fn other_names_have_none() {
        let none = builtin_program("all", Arch::X86_64, Refusal::Errno).unwrap();
        assert_eq!(none, None);
    }
}

//! What the rules mean, said as plainly as possible; the compiler must agree.

use crate::{Action, Arch, Profile, Refusal, SeccompData, syscall_name};

/// What a known call gets when no rule matches: EPERM, which programs take as "not for you".
pub(crate) const DEFAULT: Action = Action::Errno(1);

/// What a number unknown to the table gets: ENOSYS, so that a program built for a newer kernel
/// falls back as it would on an older one.
pub(crate) const UNKNOWN: Action = Action::Errno(38);

/// The answer of a profile to one call, straight from its rules.
///
/// 1. A call of another architecture or ABI (i386, x32, 32-bit Arm) kills the process: its
///    numbers and arguments mean something else than what the rules speak of.
/// 2. A number that the table does not know gets ENOSYS.
/// 3. The first rule that names the call, holds on this architecture and has all its conditions
///    true decides.
/// 4. No rule: EPERM.
pub fn decide(profile: &Profile, arch: Arch, refusal: Refusal, data: &SeccompData) -> Action {
    let number = data.nr.cast_unsigned();
    if data.arch != arch.audit() || arch.foreign_numbers().is_some_and(|first| number >= first) {
        return Action::KillProcess;
    }
    let Some(name) = syscall_name(arch, i64::from(number)) else {
        return UNKNOWN.under(refusal);
    };
    let matching = profile.rules().iter().find(|rule| {
        rule.syscalls().contains(&name) && rule.arches().contains(&arch) && rule.holds(&data.args)
    });
    matching
        .map_or(DEFAULT, |rule| rule.action())
        .under(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errno_number;

    #[test]
    fn the_defaults_are_what_their_comments_say() {
        assert_eq!(errno_number("EPERM").map(Action::Errno), Some(DEFAULT));
        assert_eq!(errno_number("ENOSYS").map(Action::Errno), Some(UNKNOWN));
    }
}

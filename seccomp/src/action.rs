//! What a filter answers, and the error numbers a profile may name.

const RET_KILL_PROCESS: u32 = 0x8000_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_USER_NOTIF: u32 = 0x7fc0_0000;
const RET_ALLOW: u32 = 0x7fff_0000;
/// The kernel's MAX_ERRNO: it caps larger values itself, so a filter never carries them.
const MAX_ERRNO: u32 = 4095;

/// The errors a rule may name. The numbers are the same on x86-64 and aarch64.
const ERRNOS: &[(&str, u16)] = &[
    ("EPERM", 1),
    ("ENOENT", 2),
    ("EBADF", 9),
    ("EAGAIN", 11),
    ("ENOMEM", 12),
    ("EACCES", 13),
    ("EBUSY", 16),
    ("ENODEV", 19),
    ("EINVAL", 22),
    ("ENOTTY", 25),
    ("ENOSPC", 28),
    ("ENOSYS", 38),
    ("EPROTONOSUPPORT", 93),
    ("EOPNOTSUPP", 95),
    ("EAFNOSUPPORT", 97),
];

/// What a filter answers to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// The call goes on to the kernel.
    Allow,
    /// The call returns this error and does nothing.
    Errno(u16),
    /// The whole process ends with SIGSYS.
    KillProcess,
    /// The call waits for the supervisor's answer.
    Notify,
}

impl Action {
    /// Whether the call goes on to the kernel.
    pub fn is_allow(self) -> bool {
        self == Self::Allow
    }

    /// The value that a filter returns for this action.
    pub fn to_raw(self) -> u32 {
        match self {
            Self::Allow => RET_ALLOW,
            Self::Errno(number) => RET_ERRNO | u32::from(number),
            Self::KillProcess => RET_KILL_PROCESS,
            Self::Notify => RET_USER_NOTIF,
        }
    }

    /// The action of a filter's return value, if it is one that this crate knows.
    pub fn from_raw(raw: u32) -> Option<Self> {
        match raw {
            RET_ALLOW => Some(Self::Allow),
            RET_KILL_PROCESS => Some(Self::KillProcess),
            RET_USER_NOTIF => Some(Self::Notify),
            _ if raw & 0xffff_0000 == RET_ERRNO && raw & 0xffff <= MAX_ERRNO => {
                u16::try_from(raw & 0xffff).ok().map(Self::Errno)
            }
            _ => None,
        }
    }

    /// This action when refusals are handled as `refusal` says.
    pub fn under(self, refusal: Refusal) -> Self {
        match (self, refusal) {
            (Self::Errno(_), Refusal::Notify) => Self::Notify,
            (action, _) => action,
        }
    }
}

/// What becomes of a refused call. A killing one kills either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refusal {
    /// It returns the error that the profile names.
    #[default]
    Errno,
    /// It is handed to a supervisor, which can name it; [`crate::decide`] with
    /// [`Refusal::Errno`] tells the error to answer with.
    Notify,
}

/// The number of an error name that rules may use, such as `EPERM`.
pub fn errno_number(name: &str) -> Option<u16> {
    ERRNOS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
}

/// The name of an error number that rules may use.
pub fn errno_name(number: u16) -> Option<&'static str> {
    ERRNOS
        .iter()
        .find(|(_, known)| *known == number)
        .map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_values_round_trip() {
        for action in [
            Action::Allow,
            Action::Errno(1),
            Action::Errno(4095),
            Action::KillProcess,
            Action::Notify,
        ] {
            assert_eq!(Action::from_raw(action.to_raw()), Some(action));
        }
    }

    #[test]
    fn foreign_raw_values_are_unknown() {
        // RET_TRACE, RET_LOG, RET_KILL_THREAD, an errno past the kernel's range.
        for raw in [0x7ff0_0000, 0x7ffc_0000, 0, RET_ERRNO | 4096] {
            assert_eq!(Action::from_raw(raw), None);
        }
    }

    #[test]
    fn only_refusals_are_notified() {
        assert_eq!(Action::Errno(1).under(Refusal::Notify), Action::Notify);
        assert_eq!(
            Action::KillProcess.under(Refusal::Notify),
            Action::KillProcess
        );
        assert_eq!(Action::Allow.under(Refusal::Notify), Action::Allow);
    }
}

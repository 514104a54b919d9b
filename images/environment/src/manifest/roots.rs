//! Where an environment may put files.

use lakekeep_policy::GuestPath;

use super::error::Rejection;

/// Folders of the sandbox's system: nothing of an environment lies in them.
const SYSTEM: [&str; 13] = [
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run",
    "/sbin", "/sys", "/var/run",
];

/// Folders that are shared by many things: an environment lies in them, and is not one of them.
const SHARED: [&str; 12] = [
    "/",
    "/home",
    "/home/user",
    "/media",
    "/mnt",
    "/opt",
    "/root",
    "/srv",
    "/tmp",
    "/usr",
    "/var",
    "/var/tmp",
];

/// Checks a place that a tree or a single file shall have inside.
///
/// # Errors
///
/// [`Rejection::Place`] for the system's own folders and for those that many things share.
/// Beneath `/usr`, whose rest is the image's, only what is named after Python may be replaced.
pub fn check_root(root: &GuestPath) -> Result<(), Rejection> {
    let path = root.as_path();
    if SYSTEM.iter().any(|system| path.starts_with(system)) {
        return Err(Rejection::Place("the place belongs to the system"));
    }
    if SHARED.contains(&root.as_str()) {
        return Err(Rejection::Place(
            "the place is a folder that much else is in",
        ));
    }
    let pythons = |name: &str| name.starts_with("python");
    if path.starts_with("/usr") && !root.components().any(pythons) {
        return Err(Rejection::Place("the place in /usr is not Python's"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pythons_places_are_accepted() {
        for root in [
            "/app",
            "/home/alice/venv",
            "/opt/conda",
            "/root/.pyenv/versions/3.11.7",
            "/usr/bin/python3.11",
            "/usr/lib/python3/dist-packages",
            "/usr/local/lib/python3.11",
            "/var/tmp/venv",
        ] {
            assert_eq!(check_root(&GuestPath::new(root).unwrap()), Ok(()), "{root}");
        }
    }

    #[test]
    fn the_systems_places_are_refused() {
        for root in [
            "/",
            "/bin",
            "/bin/sh",
            "/dev/shm/x",
            "/etc",
            "/etc/passwd",
            "/home",
            "/lib64/x",
            "/proc/self",
            "/run/secrets/x",
            "/sys/fs",
            "/tmp",
            "/usr",
            "/usr/bin",
            "/usr/bin/sudo",
            "/usr/lib",
            "/usr/local",
            "/usr/share/zoneinfo",
            "/var",
            "/var/run/x",
        ] {
            let refused = check_root(&GuestPath::new(root).unwrap());
            assert!(matches!(refused, Err(Rejection::Place(_))), "{root}");
        }
    }
}

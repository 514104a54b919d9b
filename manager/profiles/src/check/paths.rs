//! Rules for folders on the host.

use std::path::{Component, Path};

/// What is wrong, and what to do.
pub(crate) type PathFault = (&'static str, &'static str);

/// What is wrong with a folder on the host that others than root shall see.
pub(crate) fn bad_host_folder(text: &str) -> Option<PathFault> {
    if text.chars().any(char::is_control) {
        return Some((
            "the path holds a control character",
            "use printable characters",
        ));
    }
    let path = Path::new(text);
    if !path.is_absolute() {
        return Some((
            "the path is not absolute",
            "write the whole path on the host, starting with \"/\"",
        ));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Some((
            "the path holds \"..\", whose meaning depends on links",
            "write the path without \"..\"",
        ));
    }
    let spelt: std::path::PathBuf = path.components().collect();
    if spelt.as_os_str() != path.as_os_str() {
        return Some((
            "the path is not in normal form",
            "remove \"//\", \"/./\" and a trailing \"/\"",
        ));
    }
    if path == Path::new("/") {
        return Some((
            "the host's whole file system",
            "name the folder that is needed",
        ));
    }
    ["/proc", "/sys", "/dev"]
        .iter()
        .any(|kernel| path.starts_with(kernel))
        .then_some((
            "files of /proc, /sys and /dev configure the host's kernel and devices",
            "name an ordinary folder",
        ))
}

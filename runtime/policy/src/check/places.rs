//! Rules for the image and the working directory.

use std::path::{Component, Path, PathBuf};

use super::mounts::is_kernel_interface;
use crate::document::PolicyDoc;
use crate::guest_path::GuestPath;
use crate::policy::ImageRef;
use crate::show::quoted;
use crate::violation::Findings;

/// The working directory of a document that names none.
const DEFAULT_WORKDIR: &str = "/home/user";

pub(super) fn image(doc: &PolicyDoc, findings: &mut Findings<'_>) -> ImageRef {
    match doc.image.as_deref() {
        None | Some("host") => ImageRef::Host,
        Some(folder) => {
            if let Some((why, remedy)) = bad_image(folder) {
                findings.add("image", quoted(folder), why, remedy);
            }
            ImageRef::Folder(PathBuf::from(folder))
        }
    }
}

fn bad_image(folder: &str) -> Option<(&'static str, &'static str)> {
    if let Some(fault) = bad_host_path(folder) {
        return Some(fault);
    }
    if Path::new(folder) == Path::new("/") {
        return Some((
            "the host's whole file system is not an image",
            "write \"host\" for the host's system folders, read-only",
        ));
    }
    if is_kernel_interface(Path::new(folder)) {
        return Some((
            "/proc, /sys and /dev hold no root file system",
            "write the path of an ordinary folder",
        ));
    }
    None
}

/// What is wrong with a path on the host, and what to do.
pub(super) fn bad_host_path(text: &str) -> Option<(&'static str, &'static str)> {
    if text.contains('\0') {
        return Some(("the path holds a NUL byte", "remove the NUL byte"));
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
    None
}

pub(super) fn workdir(doc: &PolicyDoc, findings: &mut Findings<'_>) -> GuestPath {
    let text = doc.workdir.as_deref().unwrap_or(DEFAULT_WORKDIR);
    match GuestPath::new(text) {
        Ok(path) => {
            kernel_workdir(&path, findings);
            path
        }
        Err(error) => {
            findings.add("workdir", quoted(text), error.to_string(), error.remedy());
            GuestPath::root()
        }
    }
}

/// A working directory such as `/proc/self/fd/7` names an open file of the
/// runtime rather than a place inside: CVE-2024-21626.
fn kernel_workdir(path: &GuestPath, findings: &mut Findings<'_>) {
    if is_kernel_interface(path.as_path()) {
        findings.add(
            "workdir",
            quoted(path.as_str()),
            "the kernel's own file systems are no place to work in",
            "choose an ordinary folder, such as \"/home/user\"",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accept, refuse};
    use super::*;

    #[test]
    fn images_are_the_host_or_an_absolute_folder() {
        assert_eq!(accept("image = \"host\"").image(), &ImageRef::Host);
        let folder = ImageRef::Folder(PathBuf::from("/srv/images/py"));
        assert_eq!(accept("image = \"/srv/images/py\"").image(), &folder);
    }

    #[test]
    fn other_images_are_refused() {
        for (image, why) in [
            ("", "the path is not absolute"),
            ("images/py", "the path is not absolute"),
            (
                "/srv/../py",
                "the path holds \"..\", whose meaning depends on links",
            ),
            ("/a\\u0000b", "the path holds a NUL byte"),
            ("/", "the host's whole file system is not an image"),
            (
                "/proc/1/root",
                "/proc, /sys and /dev hold no root file system",
            ),
        ] {
            let found = refuse(&format!("image = \"{image}\""));
            assert_eq!(found, [format!("image: {why}")]);
        }
    }

    #[test]
    fn working_directories_are_guest_paths() {
        assert_eq!(accept("workdir = \"/\"").workdir(), &GuestPath::root());
        for workdir in ["work", "/work/", "/work/.."] {
            assert_eq!(refuse(&format!("workdir = \"{workdir}\"")).len(), 1);
        }
    }

    #[test]
    fn working_directories_in_kernel_file_systems_are_refused() {
        for workdir in ["/proc/self/fd/7", "/sys", "/dev/fd/7"] {
            let found = refuse(&format!("workdir = \"{workdir}\""));
            assert!(found[0].contains("no place to work in"), "{found:?}");
        }
        accept("workdir = \"/processes\"");
    }
}

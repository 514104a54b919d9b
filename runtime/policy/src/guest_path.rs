//! Paths inside a sandbox.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// Longest path, in bytes with its terminating NUL, that the kernel accepts.
const PATH_MAX: usize = 4096;
/// Longest name, in bytes, of one component.
const NAME_MAX: usize = 255;

/// A path inside a sandbox: absolute, in normal form (no `.`, `..`, empty
/// component or trailing `/`), free of NUL and other control characters, and
/// short enough for the kernel.
///
/// It names a place in the guest's tree and says nothing about the host's.
/// The only way to make one is the checking conversion from text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestPath(String);

/// Why a text is not a [`GuestPath`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuestPathError {
    /// The text is empty.
    #[error("the path is empty")]
    Empty,
    /// The path does not start with `/`.
    #[error("the path is not absolute")]
    Relative,
    /// The path holds a NUL byte, at which the kernel would cut it.
    #[error("the path holds a NUL byte")]
    Nul,
    /// The path holds a control character, which could forge a line of a log.
    #[error("the path holds a control character")]
    Control,
    /// A component is `..`, whose meaning depends on links inside the sandbox.
    #[error("the path holds \"..\"")]
    Parent,
    /// A component is empty or `.`.
    #[error("the path is not in normal form")]
    NotNormal,
    /// The path, or one name in it, is longer than the kernel accepts.
    #[error("the path is too long")]
    TooLong,
}

impl GuestPathError {
    /// What to write instead.
    pub fn remedy(self) -> &'static str {
        match self {
            GuestPathError::Empty | GuestPathError::Relative => {
                "write the whole path inside the sandbox, starting with \"/\""
            }
            GuestPathError::Nul => "remove the NUL byte",
            GuestPathError::Control => "use printable characters",
            GuestPathError::Parent => "write the path without \"..\"",
            GuestPathError::NotNormal => "remove \"//\", \"/./\" and a trailing \"/\"",
            GuestPathError::TooLong => {
                "use at most 4095 bytes, and at most 255 between two slashes"
            }
        }
    }
}

impl GuestPath {
    /// Checks `text`.
    ///
    /// # Errors
    ///
    /// A [`GuestPathError`] that names the first thing wrong with it.
    pub fn new(text: impl Into<String>) -> Result<GuestPath, GuestPathError> {
        let text = text.into();
        check(&text)?;
        Ok(GuestPath(text))
    }

    /// `/`.
    pub fn root() -> GuestPath {
        GuestPath("/".to_owned())
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path as a [`Path`]; it must not be resolved outside the sandbox.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// Whether this is `/`.
    pub fn is_root(&self) -> bool {
        self.0 == "/"
    }

    /// The names between the slashes; none for `/`.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|name| !name.is_empty())
    }

    /// Whether this path is `ancestor` or lies beneath it, name by name
    /// (`/database` is not beneath `/data`).
    pub fn starts_with(&self, ancestor: &GuestPath) -> bool {
        self.as_path().starts_with(ancestor.as_path())
    }
}

/// The order of the refusals is from the most to the least surprising for the
/// reader: one cause is reported.
fn check(text: &str) -> Result<(), GuestPathError> {
    if text.is_empty() {
        return Err(GuestPathError::Empty);
    }
    if text.contains('\0') {
        return Err(GuestPathError::Nul);
    }
    if text.chars().any(char::is_control) {
        return Err(GuestPathError::Control);
    }
    let Some(rest) = text.strip_prefix('/') else {
        return Err(GuestPathError::Relative);
    };
    if rest.split('/').any(|name| name == "..") {
        return Err(GuestPathError::Parent);
    }
    if !rest.is_empty() && rest.split('/').any(|name| name.is_empty() || name == ".") {
        return Err(GuestPathError::NotNormal);
    }
    if text.len() >= PATH_MAX || rest.split('/').any(|name| name.len() > NAME_MAX) {
        return Err(GuestPathError::TooLong);
    }
    Ok(())
}

impl FromStr for GuestPath {
    type Err = GuestPathError;

    fn from_str(text: &str) -> Result<GuestPath, GuestPathError> {
        GuestPath::new(text)
    }
}

impl AsRef<Path> for GuestPath {
    fn as_ref(&self) -> &Path {
        self.as_path()
    }
}

/// The path as it is.
impl fmt::Display for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_absolute_paths_are_accepted() {
        for text in ["/", "/data", "/data/x.csv", "/a b/..c/d..", "/ä"] {
            assert_eq!(GuestPath::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn other_paths_are_refused_with_their_cause() {
        let long_name = format!("/{}", "n".repeat(256));
        let long_path = "/a".repeat(2048);
        for (text, cause) in [
            ("", GuestPathError::Empty),
            ("data", GuestPathError::Relative),
            ("./data", GuestPathError::Relative),
            ("/da\0ta", GuestPathError::Nul),
            ("/da\nta", GuestPathError::Control),
            ("/da\u{1b}[2Jta", GuestPathError::Control),
            ("/data/../etc", GuestPathError::Parent),
            ("/..", GuestPathError::Parent),
            ("//", GuestPathError::NotNormal),
            ("/data//x", GuestPathError::NotNormal),
            ("/data/./x", GuestPathError::NotNormal),
            ("/data/", GuestPathError::NotNormal),
            (&long_name, GuestPathError::TooLong),
            (&long_path, GuestPathError::TooLong),
        ] {
            assert_eq!(GuestPath::new(text), Err(cause), "{text:?}");
        }
    }

    #[test]
    fn beneath_is_by_whole_names() {
        let path = |text: &str| GuestPath::new(text).unwrap();
        assert!(path("/data/x").starts_with(&path("/data")));
        assert!(path("/data").starts_with(&path("/data")));
        assert!(path("/data").starts_with(&path("/")));
        assert!(!path("/database").starts_with(&path("/data")));
    }
}

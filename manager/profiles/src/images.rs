//! Which images a profile allows.

use globset::{Glob, GlobBuilder, GlobMatcher};

use crate::show::quoted;

/// The name of the host's own system folders, read-only.
pub(crate) const HOST: &str = "host";

/// One allowed image, or a pattern of allowed images.
#[derive(Clone, Debug)]
pub struct ImageRule {
    text: String,
    /// `None` for exactly one image.
    pattern: Option<GlobMatcher>,
}

impl PartialEq for ImageRule {
    fn eq(&self, other: &ImageRule) -> bool {
        self.text == other.text
    }
}

impl Eq for ImageRule {}

/// A text that allows no image: why, and what to write.
pub(crate) type BadImage = (String, &'static str);

impl ImageRule {
    pub(crate) fn new(text: &str) -> Result<ImageRule, BadImage> {
        if text != HOST && !is_name(text) {
            normal(text).map_err(|why| (why.to_owned(), REMEDY))?;
        }
        let pattern = if text.contains(PATTERN_CHARS) {
            Some(compile(text)?.compile_matcher())
        } else {
            None
        };
        Ok(ImageRule {
            text: text.to_owned(),
            pattern,
        })
    }

    /// The image or pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this is one image and no pattern.
    pub fn is_exact(&self) -> bool {
        self.pattern.is_none()
    }

    /// Whether `image` is allowed. An image in another spelling of the same
    /// path (`..`, `.`, `//`) never is.
    pub fn allows(&self, image: &str) -> bool {
        match &self.pattern {
            None => self.text == image,
            Some(pattern) => (normal(image).is_ok() || is_name(image)) && pattern.is_match(image),
        }
    }

    /// Whether everything that `other` allows is allowed here. Only what is
    /// plain to see counts: the same rule, one allowed image, or a rule below a
    /// folder that is allowed whole with `/**`.
    pub(crate) fn covers(&self, other: &ImageRule) -> bool {
        if self.text == other.text || (other.is_exact() && self.allows(&other.text)) {
            return true;
        }
        let Some(folder) = self.text.strip_suffix("/**") else {
            return false;
        };
        let below = other.text.strip_prefix(folder);
        !folder.contains(PATTERN_CHARS) && below.is_some_and(|rest| rest.starts_with('/'))
    }
}

/// Characters that make a pattern of a text.
const PATTERN_CHARS: [char; 6] = ['*', '?', '[', ']', '{', '}'];

const REMEDY: &str = "write \"host\", an absolute folder, an image's name in full such as \"docker.io/library/python:3.12\", or a pattern such as \"/srv/images/**\"";

/// Whether it is the name of an image of the store's in full, with registry and tag or digest, or a
/// pattern of such names. The registry is no part of a pattern.
fn is_name(text: &str) -> bool {
    let Some((registry, rest)) = text.split_once('/') else {
        return false;
    };
    let host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':');
    let named = registry == "localhost" || registry.contains(['.', ':']);
    if !named || !registry.bytes().all(host) || registry.starts_with('.') {
        return false;
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:@".contains(c);
    let parts = rest.split('/');
    let good = |part: &str| !["", ".", ".."].contains(&part);
    let last = rest.rsplit('/').next().unwrap_or_default();
    parts.clone().all(good)
        && rest
            .chars()
            .all(|c| plain(c) || c == '/' || PATTERN_CHARS.contains(&c))
        && last.contains([':', '@', '*'])
}

fn compile(text: &str) -> Result<Glob, BadImage> {
    let mut builder = GlobBuilder::new(text);
    // `*` stops at a slash; a backslash is a backslash.
    builder.literal_separator(true).backslash_escape(false);
    builder
        .build()
        .map_err(|error| (format!("not a pattern: {}", error.kind()), REMEDY))
}

/// Refuses what is not an absolute path in normal form.
fn normal(text: &str) -> Result<(), &'static str> {
    if text.chars().any(char::is_control) {
        return Err("the path holds a control character");
    }
    let rest = text.strip_prefix('/').ok_or("the path is not absolute")?;
    if rest.is_empty() {
        return Err("the host's whole file system is not an image");
    }
    match rest.split('/').find(|part| ["", ".", ".."].contains(part)) {
        Some("..") => Err("the path holds \"..\", whose meaning depends on links"),
        Some(_) => Err("the path is not in normal form"),
        None => Ok(()),
    }
}

/// The rules as a list for the reader.
pub(crate) fn listed(rules: &[ImageRule]) -> String {
    let shown: Vec<String> = rules.iter().map(|rule| quoted(&rule.text)).collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> ImageRule {
        ImageRule::new(text).unwrap()
    }

    #[test]
    fn patterns_stop_at_slashes_and_know_no_detours() {
        assert!(rule("host").allows("host"));
        assert!(!rule("/**").allows("host"));
        assert!(rule("/srv/i/*").allows("/srv/i/py"));
        assert!(!rule("/srv/i/*").allows("/srv/i/py/x"));
        assert!(rule("/srv/i/**").allows("/srv/i/py/x"));
        for detour in [
            "/srv/i/../../etc",
            "/srv/i/./py",
            "/srv/i//py",
            "/srv/i/py/",
            "srv/i/x",
        ] {
            assert!(!rule("/srv/i/**").allows(detour), "{detour}");
        }
    }

    #[test]
    fn names_are_written_in_full() {
        let python = "docker.io/library/python:3.12";
        assert!(rule(python).allows(python));
        assert!(!rule(python).allows("docker.io/library/python:3.13"));
        assert!(rule("docker.io/library/python:*").allows(python));
        assert!(rule("docker.io/library/*").allows(python));
        assert!(rule("localhost:5000/**").allows("localhost:5000/a/b:c"));
        assert!(!rule("docker.io/library/*").allows("docker.io/other/python:3.12"));
        assert!(!rule("docker.io/library/*").allows("docker.io/library/../other:1"));
        // Neither is a folder, nor is a folder one of them.
        assert!(!rule("docker.io/**").allows("/docker.io/a:b"));
        assert!(!rule("/**").allows(python));
        assert!(rule("docker.io/**").covers(&rule(python)));
        assert!(!rule("docker.io/**").covers(&rule("ghcr.io/a/b:c")));
    }

    #[test]
    fn bad_rules_are_refused() {
        for text in [
            "python:3.12",
            "library/python:3.12",
            "docker.io/library/python",
            "*.io/a:b",
            "docker.io//a:b",
            "docker.io/../a:b",
            "docker.io/a b:c",
            "",
            "py",
            "/",
            "/a/../b",
            "/a/",
            "/a[",
            "/a\nb",
            "hos*",
        ] {
            assert!(ImageRule::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn covering_is_what_is_plain_to_see() {
        assert!(rule("/srv/**").covers(&rule("/srv/a/*")));
        assert!(rule("/srv/**").covers(&rule("/srv/a")));
        assert!(rule("/srv/*").covers(&rule("/srv/a")));
        assert!(rule("/srv/*").covers(&rule("/srv/*")));
        assert!(!rule("/srv/*").covers(&rule("/srv/**")));
        assert!(!rule("/srv/**").covers(&rule("/srvx/*")));
        assert!(!rule("/srv/**").covers(&rule("host")));
    }
}

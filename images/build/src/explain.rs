//! What a failure of uv's means, and what to do.
//!
//! uv's own words go to the reader as they are. What follows here adds what uv cannot know: which
//! connection the sandbox did not let out, and which of our flags helps. It looks for words of uv's
//! that have been the same for long; where there are none it says less, and nothing else depends on it.

use crate::spec::Choice;

/// What is known of a step that failed.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// The last of what it wrote.
    pub said: &'a str,
    /// The first connection that was not let out, in the firewall's words.
    pub denied: Option<&'a str>,
    /// What was wanted.
    pub choice: &'a Choice,
    /// Bytes that came from outside.
    pub received: u64,
}

/// Words of uv's, and what they mean.
const KNOWN: [(&str, &str); 6] = [
    (
        "Hash mismatch",
        "a file is not the one that was locked: it was changed, on the index or on the way; if the index \
         replaced it on purpose, resolve anew with --upgrade",
    ),
    (
        "invalid peer certificate",
        "the index's certificate is not trusted; name its authority with --ca-file",
    ),
    (
        "401 Unauthorized",
        "the index wants a user and a password: --index https://USER:PASSWORD@HOST/simple",
    ),
    (
        "was not found in the package registry",
        "no index has a package of that name; check its spelling, or name the index that has it (--index, --extra-index)",
    ),
    (
        "No solution found",
        "no versions fit together that the indexes have for this interpreter; loosen the list, or name \
         another index or interpreter (--index, --extra-index, --python)",
    ),
    (
        "No space left",
        "the disk of the cache folder is full; free some, or set XDG_CACHE_HOME to a folder with more",
    ),
];

/// Words with which uv says that there is a source distribution only.
const SOURCES: [&str; 3] = [
    "no wheels",
    "no usable wheels",
    "building from source is disabled",
];

/// One sentence, without a full stop.
pub fn explain(failure: &Failure<'_>) -> String {
    if let Some(denied) = failure.denied {
        let who = match failure.choice.sources {
            true => " uv, or code of a package that was built, tried to;",
            false => "",
        };
        return format!(
            "{denied};{who} if packages shall come from there, add it to this build with --egress"
        );
    }
    let said = failure.said.to_lowercase();
    if !failure.choice.sources && SOURCES.iter().any(|words| said.contains(words)) {
        return "there is no wheel for this interpreter, and source distributions run their authors' code when they \
                are built; --allow-source lets them, in the sandbox"
            .to_owned();
    }
    let known = KNOWN
        .iter()
        .find(|(words, _)| said.contains(&words.to_lowercase()));
    match known {
        Some((_, meaning)) => (*meaning).to_owned(),
        None if failure.received == 0 => {
            "nothing came from the index; is its address right, and can this host reach it?"
                .to_owned()
        }
        None => "uv's words above tell more".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_remedy() {
        let explained = |said: &str, denied, sources| {
            explain(&Failure {
                said,
                denied,
                choice: &Choice {
                    sources,
                    ..Choice::default()
                },
                received: 0,
            })
        };
        let cases = [
            ("error: Hash mismatch for `a==1`", "--upgrade"),
            (
                "a==1 has no wheels with a matching Python",
                "--allow-source",
            ),
            (
                "because a was not found in the package registry",
                "spelling",
            ),
            ("invalid peer certificate: UnknownIssuer", "--ca-file"),
            ("connection refused", "reach"),
        ];
        for (said, word) in cases {
            let text = explained(said, None, false);
            assert!(text.contains(word), "{said}: {text}");
        }
        let denied = Some("denied egress to x.example:443: no rule");
        assert!(explained("Hash mismatch", denied, false).contains("--egress"));
        assert!(!explained("a has no wheels", None, true).contains("--allow-source"));
    }
}

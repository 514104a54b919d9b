//! The texts of errors, as the user reads them.
//!
//! `LAKEKEEP_BLESS=1 cargo test -p lakekeep-policy` rewrites `errors.golden`.

#[cfg(test)]
mod tests {
    use lakekeep_policy::{Policy, PolicyDoc};

    const CASES: &str = include_str!("errors.cases");

    /// Cases are separated by lines of `---`; a case that starts with `{` or
    /// `[1` is JSON.
    fn outcome(case: &str) -> String {
        let json = case.starts_with('{') || case.starts_with("[1");
        let doc = if json {
            PolicyDoc::from_json("policy.json", case)
        } else {
            PolicyDoc::from_toml("policy.toml", case)
        };
        match doc.map(Policy::check) {
            Err(error) => error.to_string(),
            Ok(Err(errors)) => errors.to_string(),
            Ok(Ok(_)) => "accepted".to_owned(),
        }
    }

    #[test]
    fn error_texts_are_as_agreed() {
        let actual: Vec<String> = CASES
            .split("---\n")
            .map(|case| format!("{case}>>> {}\n", outcome(case).replace('\n', "\n>>> ")))
            .collect();
        let actual = actual.join("\n");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/errors.golden");
        if std::env::var_os("LAKEKEEP_BLESS").is_some() {
            std::fs::write(path, &actual).unwrap();
        }
        let agreed = std::fs::read_to_string(path).unwrap();
        assert!(
            actual == agreed,
            "set LAKEKEEP_BLESS=1 to accept:\n{actual}"
        );
        assert!(!actual.contains(">>> accepted"));
    }
}

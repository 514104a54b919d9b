//! Documents broken at random, with a fixed seed: reading never panics, and an
//! error always says where.

#[cfg(test)]
mod tests {
    use lakekeep_policy::{Policy, PolicyDoc};

    const ROUNDS: usize = 6000;

    /// Fragments that mean something to the parsers.
    const FRAGMENTS: &[&str] = &[
        "[",
        "]",
        "{",
        "}",
        "\"",
        "'",
        "=",
        ":",
        ",",
        ".",
        "\n",
        "\\",
        "#",
        "[[",
        "]]",
        "\"\"\"",
        "null",
        "true",
        "-1",
        "1e999",
        "nan",
        "99999999999999999999",
        "0x",
        "\u{0}",
        "\u{feff}",
        "\u{202e}",
        "é",
        "[[mounts]]\n",
        "[env]\n",
        "\\u0000",
        "\\ud800",
        "..",
        "/proc",
        "limits",
        "1979-05-27T07:32:00Z",
    ];

    /// xorshift64*: the same documents on every run.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let value = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
            value as usize % bound.max(1)
        }
    }

    /// Cuts, repeats, moves, overwrites or inserts somewhere.
    fn mutate(text: &mut Vec<u8>, random: &mut Random) {
        let (at, len) = (random.below(text.len()), random.below(24));
        let end = (at + len).min(text.len());
        match random.below(5) {
            0 => drop(text.drain(at..end)),
            1 => {
                let piece = text[at..end].to_vec();
                let to = random.below(text.len());
                text.splice(to..to, piece);
            }
            2 => text.truncate(at.max(1)),
            3 if at < text.len() => text[at] = random.below(256) as u8,
            _ => {
                let piece = FRAGMENTS[random.below(FRAGMENTS.len())];
                text.splice(at..at, piece.bytes());
            }
        }
    }

    type Read = fn(&str, &str) -> Result<PolicyDoc, lakekeep_policy::DocumentError>;

    /// How many mutants were read, and how many were even valid.
    fn run(original: &str, read: Read) -> (usize, usize) {
        let mut random = Random(0x1a4e_4ee9);
        let (mut readable, mut valid) = (0, 0);
        for _ in 0..ROUNDS {
            let mut bytes = original.as_bytes().to_vec();
            for _ in 0..=random.below(4) {
                mutate(&mut bytes, &mut random);
            }
            let text = String::from_utf8_lossy(&bytes);
            match read("mutant", &text) {
                Ok(doc) => {
                    readable += 1;
                    match Policy::check(doc) {
                        Ok(policy) => valid += usize::from(policy.digest().len() == 64),
                        Err(errors) => assert!(!errors.violations().is_empty()),
                    }
                }
                Err(error) => {
                    assert!(error.line() > 0 && error.line() <= text.lines().count().max(1) + 1);
                    assert!(!error.cause().is_empty() && !error.remedy().is_empty());
                    let shown = error.to_string();
                    assert!(
                        shown.len() < 2000 && !shown.chars().any(char::is_control),
                        "{shown:?}"
                    );
                }
            }
        }
        (readable, valid)
    }

    /// The mutants must reach all three outcomes, or the test proves little.
    fn assert_varied((readable, valid): (usize, usize)) {
        assert!(
            valid > ROUNDS / 100 && readable > valid && readable < ROUNDS,
            "{readable} {valid}"
        );
    }

    #[test]
    fn broken_toml_is_refused_with_its_place() {
        assert_varied(run(include_str!("full.toml"), PolicyDoc::from_toml));
    }

    #[test]
    fn broken_json_is_refused_with_its_place() {
        assert_varied(run(include_str!("full.json"), PolicyDoc::from_json));
    }

    #[test]
    fn hostile_shapes_end_quickly() {
        let key = "k".repeat(200_000);
        let shapes = [
            "[".repeat(1 << 20),
            "{\"a\":".repeat(100_000),
            format!("{{\"{key}\": {{{}}}}}", "\"a\": 1, ".repeat(80_000)),
            format!("{{\"env\": {{{}}}}}", "\"a\": \"\", ".repeat(80_000)),
            format!("{key} = [{}]", "1, ".repeat(200_000)),
            "a.".repeat(500_000),
            "[[mounts]]\n".repeat(90_000),
            format!(
                "version = 1\n{}",
                "[[mounts]]\nsource=''\ntarget=''\n".repeat(30_000)
            ),
        ];
        for text in shapes {
            let outcomes = [
                PolicyDoc::from_toml("shape", &text),
                PolicyDoc::from_json("shape", &text),
            ];
            for doc in outcomes.into_iter().flatten() {
                assert!(Policy::check(doc).is_err());
            }
        }
    }
}

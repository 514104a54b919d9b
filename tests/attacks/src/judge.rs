//! What a run of the program means.

use crate::case::Case;

/// How a run of the program ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The exit code, or 128 plus the signal's number.
    pub code: i32,
    /// All that it wrote to its standard error.
    pub stderr: String,
    /// The sandbox's verdict, when there was a sandbox.
    pub verdict: Option<String>,
}

/// What it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// The attack reached what it wanted; what that was.
    Succeeded(String),
    /// It was refused; how.
    Blocked(String),
    /// Nothing is known: the program never reached the attack, or failed by itself.
    Broken(String),
}

const SIGSYS: i32 = 128 + 31;

/// Judges a run. A case that was never reached is broken, not blocked: a refusal
/// on the way to the attack proves nothing about the attack.
#[must_use]
pub fn judge(case: &Case, ended: &Ended) -> Judgement {
    let reached = ended
        .stderr
        .contains(&format!("attack: start: {}", case.name));
    let last = ended
        .stderr
        .lines()
        .rfind(|line| line.starts_with("attack: "));
    let said = last.unwrap_or("").to_owned();
    if !reached {
        return Judgement::Broken(format!(
            "the attack was never started (exit {}): {}",
            ended.code,
            ended.stderr.trim()
        ));
    }
    let verdict = ended.verdict.as_deref();
    if let Some(kind) = verdict.filter(|kind| case.ends.contains(kind)) {
        return Judgement::Blocked(format!("the sandbox's verdict: {kind}"));
    }
    match ended.code {
        0 => Judgement::Succeeded(said),
        1 => Judgement::Blocked(said),
        SIGSYS => Judgement::Blocked("killed by SIGSYS".to_owned()),
        _ if verdict == Some("denied_syscall") => {
            Judgement::Blocked("the sandbox's verdict: denied_syscall".to_owned())
        }
        code => Judgement::Broken(format!(
            "exit {code}, verdict {}: {said}",
            verdict.unwrap_or("none")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(code: i32, stderr: &str, verdict: Option<&str>) -> Ended {
        Ended {
            code,
            stderr: stderr.to_owned(),
            verdict: verdict.map(str::to_owned),
        }
    }

    const CASE: Case =
        Case::new("probe", 1, "a probe").limit("memory_limit", &[], &["out_of_memory"]);

    #[test]
    fn a_case_that_never_started_is_broken_whatever_the_code() {
        for code in [0, 1, 2, 125, SIGSYS] {
            assert!(matches!(
                judge(&CASE, &ended(code, "nothing", None)),
                Judgement::Broken(_)
            ));
        }
    }

    #[test]
    fn codes_after_the_start() {
        let start = "attack: start: probe\nattack: x: y\n";
        assert!(matches!(
            judge(&CASE, &ended(0, start, None)),
            Judgement::Succeeded(_)
        ));
        assert!(matches!(
            judge(&CASE, &ended(1, start, None)),
            Judgement::Blocked(_)
        ));
        assert!(matches!(
            judge(&CASE, &ended(2, start, None)),
            Judgement::Broken(_)
        ));
        assert!(matches!(
            judge(&CASE, &ended(125, start, None)),
            Judgement::Broken(_)
        ));
        assert!(matches!(
            judge(&CASE, &ended(SIGSYS, start, None)),
            Judgement::Blocked(_)
        ));
    }

    #[test]
    fn only_the_case_s_own_verdicts_count() {
        let start = "attack: start: probe\n";
        assert!(matches!(
            judge(&CASE, &ended(137, start, Some("out_of_memory"))),
            Judgement::Blocked(_)
        ));
        assert!(matches!(
            judge(&CASE, &ended(137, start, Some("signal"))),
            Judgement::Broken(_)
        ));
    }
}

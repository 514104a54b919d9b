//! The same attempts in sandboxes that were made ahead: their network, its routes and its rules
//! were there before anybody had asked, and a task of one may be forked from a zygote, which has
//! no part in them.

use lakekeep_tests::internet::WORDS;
use lakekeep_tests::{Privilege, run_pool};

use crate::ground::{Ground, Outcome, RULES};

/// How a task comes into a sandbox that was made ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ahead {
    /// It is executed in one that was claimed.
    Claimed,
    /// It is forked from an interpreter that has made its imports.
    Forked,
}

impl Ahead {
    pub const ALL: [Self; 2] = [Self::Claimed, Self::Forked];
}

impl Ground {
    /// Makes the attempt there, and then the permitted connection.
    pub fn ahead(&self, how: Ahead, words: &str) -> Outcome {
        let script = format!("{WORDS}\n{}\npermitted()\n", self.script(words));
        let script = match how {
            Ahead::Claimed => format!("exec /usr/bin/python3 - <<'END'\n{script}\nEND\n"),
            Ahead::Forked => script,
        };
        let rules = format!("egress:{}", RULES.join(";"));
        let mut arguments = vec![rules.as_str(), "1", &script];
        if how == Ahead::Forked {
            arguments.insert(0, "zygote:/usr/bin/python3:socket,ssl:general");
        }
        self.observe(|| {
            let tasks = run_pool(self.place(), Privilege::Root, &arguments);
            let task = &tasks[0];
            assert_eq!(task["forked"], how == Ahead::Forked, "{task:#}");
            task["output"].as_str().unwrap_or_default().to_owned()
        })
    }
}

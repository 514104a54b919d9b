//! The report for a reader: plain text, the same on a terminal and in a log.

use std::fmt;

use super::{Check, Report, Status};

/// Wide enough for every status, and for every name but the longest.
const STATUS_WIDTH: usize = 8;
const NAME_WIDTH: usize = 26;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            write!(f, "{check}")?;
        }
        writeln!(
            f,
            "{} ok, {} degraded, {} missing",
            self.count(Status::Ok),
            self.count(Status::Degraded),
            self.count(Status::Missing)
        )
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status.to_string();
        writeln!(
            f,
            "{status:STATUS_WIDTH$}  {:NAME_WIDTH$}  {}",
            self.name, self.found
        )?;
        if !self.effect.is_empty() {
            writeln!(f, "{:STATUS_WIDTH$}  effect: {}", "", self.effect)?;
        }
        match &self.remedy {
            Some(remedy) => writeln!(f, "{:STATUS_WIDTH$}  remedy: {remedy}", ""),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Missing => "missing",
        })
    }
}

//! Closed sets of words in columns.

use std::fmt;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

/// An enum with one word a value.
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $( $variant:ident = $word:literal, $doc:literal; )+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $( #[doc = $doc] $variant, )+
        }

        impl $name {
            /// Every value.
            pub const ALL: &'static [$name] = &[$( $name::$variant, )+];

            /// The word that stands for it.
            pub const fn as_str(self) -> &'static str {
                match self { $( $name::$variant => $word, )+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.as_str().as_bytes())))
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<$name> {
                let word = value.as_str()?;
                let found = $name::ALL.iter().find(|known| known.as_str() == word);
                found.copied().ok_or(FromSqlError::InvalidType)
            }
        }
    };
}

words! {
    /// What a sandbox is for.
    pub enum SandboxKind {
        Udf = "udf", "Functions of a query; ends with its engine.";
        Interactive = "interactive", "A person's commands.";
        Kernel = "kernel", "A notebook's kernel.";
        Batch = "batch", "One job.";
    }
}

words! {
    /// Where a sandbox is in its life.
    pub enum SandboxState {
        Creating = "creating", "Asked for, not yet there.";
        Live = "live", "There.";
        Frozen = "frozen", "There, and stopped.";
        Ended = "ended", "It ended.";
        Failed = "failed", "It could not be made.";
        Lost = "lost", "It ended, and nobody saw how.";
    }
}

words! {
    /// Where a task is in its life.
    pub enum TaskState {
        Running = "running", "It runs.";
        Ended = "ended", "It ended.";
        Lost = "lost", "It ended, and nobody saw how.";
    }
}

words! {
    /// Whose a variable or a secret is. A later one replaces an earlier one.
    pub enum Scope {
        Profile = "profile", "A profile's, for everybody in it.";
        Project = "project", "A project's, for everybody in it.";
        User = "user", "A user's own.";
    }
}

impl SandboxState {
    /// Whether nothing comes after it.
    pub const fn is_over(self) -> bool {
        matches!(
            self,
            SandboxState::Ended | SandboxState::Failed | SandboxState::Lost
        )
    }
}

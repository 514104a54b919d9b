//! Environment variables of profiles, projects and users.
//!
//! A variable of a profile or a project is set by one person and is in the
//! tasks of others. Names that make a loader, an interpreter or a shell run
//! what the value says would let the one act as the others, and are refused
//! unless the caller says otherwise. For a user's own variables they are refused
//! as well: the worker that receives the user's code runs before it.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::connection::{Store, transaction};
use super::error::{Sql, StoreError, bounded};
use super::rows;
use super::sandboxes::LONGEST_NAME;
use super::vocabulary::Scope;
use crate::Timestamp;

/// Longest value in bytes: a quarter of what execve(2) takes in one string.
pub const LONGEST_VALUE: usize = 32 << 10;
/// Most variables, or secrets, of one owner.
pub const MOST_VARIABLES: usize = 256;
/// Longest name of a variable in bytes.
const LONGEST_VARIABLE: usize = 128;

/// Owners, one a level, whose variables or secrets a task gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels<'a> {
    /// The profile.
    pub profile: &'a str,
    /// The project, if the task is of one.
    pub project: Option<&'a str>,
    /// The user.
    pub user: &'a str,
}

impl<'a> Levels<'a> {
    /// From the weakest to the strongest.
    pub(crate) fn each(&self) -> impl Iterator<Item = (Scope, &'a str)> + use<'a> {
        [
            (Scope::Profile, Some(self.profile)),
            (Scope::Project, self.project),
            (Scope::User, Some(self.user)),
        ]
        .into_iter()
        .filter_map(|(scope, owner)| Some((scope, owner?)))
    }
}

/// A variable to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetVariable<'a> {
    /// At which level.
    pub scope: Scope,
    /// The profile, project or user.
    pub owner: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its value.
    pub value: &'a str,
    /// Whether a name that runs code is taken (see [`check_name`]).
    pub allow_code: bool,
}

/// A variable that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// When it was set.
    pub updated: Timestamp,
}

/// What a task gets under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The value of the strongest level.
    pub value: String,
    /// That level.
    pub from: Scope,
    /// The levels whose values it replaced, weakest first.
    pub replaced: Vec<Scope>,
}

/// A name that no variable, or no secret, may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is not a name that every shell takes.
    #[error(
        "{name:?} is not a name of a variable: letters, digits and _, no digit first, at most {LONGEST_VARIABLE} bytes"
    )]
    Form {
        /// The name.
        name: String,
    },
    /// It is not a name of a secret, which is one of a file as well.
    #[error(
        "{name:?} is not a name of a secret: letters, digits, \"-\", \"_\" and \".\", from letter or digit to letter or digit, at most {LONGEST_SECRET_NAME} bytes"
    )]
    SecretForm {
        /// The name.
        name: String,
    },
    /// The manager sets it itself.
    #[error("{name} is set by the manager, from who the user is; choose another name")]
    Reserved {
        /// The name.
        name: String,
    },
    /// Its value is run as code by the loader, an interpreter or a shell.
    #[error(
        "{name} makes programs run what its value names, in the tasks of everybody who gets it; put it into the image, or have an administrator allow it explicitly"
    )]
    RunsCode {
        /// The name.
        name: String,
    },
}

/// Set by the manager from the identity: a user who could set them would be
/// another one to an engine that believes them.
const RESERVED: &[&str] = &["HADOOP_PROXY_USER", "HADOOP_USER_NAME"];
const RESERVED_PREFIX: &str = "LAKEKEEP_";

/// The dynamic loader's (`LD_PRELOAD`, `LD_LIBRARY_PATH`, `LD_AUDIT`, …).
const CODE_PREFIXES: &[&str] = &["LD_", "DYLD_", "BASH_FUNC_"];
/// Read by glibc (ld.so(8), "secure-execution mode", ignores nearly all of
/// these), by shells, and by interpreters, before the program's first line.
const CODE: &[&str] = &[
    "GCONV_PATH",
    "GETCONF_DIR",
    "GLIBC_TUNABLES",
    "HOSTALIASES",
    "LOCPATH",
    "MALLOC_TRACE",
    "NIS_PATH",
    "NLSPATH",
    "RESOLV_HOST_CONF",
    "RES_OPTIONS",
    "BASH_ENV",
    "ENV",
    "IFS",
    "PROMPT_COMMAND",
    "PS4",
    "SHELLOPTS",
    "BASHOPTS",
    "ZDOTDIR",
    "PYTHONSTARTUP",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONUSERBASE",
    "PYTHONBREAKPOINT",
    "PYTHONINSPECT",
    "PYTHONPLATLIBDIR",
    "PYTHONPYCACHEPREFIX",
    "PYTHONWARNINGS",
    "PERL5OPT",
    "PERL5LIB",
    "PERLLIB",
    "PERL5DB",
    "RUBYOPT",
    "RUBYLIB",
    "NODE_OPTIONS",
    "NODE_PATH",
    "LUA_INIT",
    "LUA_PATH",
    "LUA_CPATH",
    "R_PROFILE",
    "R_PROFILE_USER",
    "R_ENVIRON",
    "R_ENVIRON_USER",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "CLASSPATH",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_EXTERNAL_DIFF",
    "GIT_CONFIG_GLOBAL",
    "GIT_EXEC_PATH",
    "OPENSSL_CONF",
    "OPENSSL_ENGINES",
    "OPENSSL_MODULES",
];

/// Longest name of a secret in bytes.
const LONGEST_SECRET_NAME: usize = 63;

/// Whether a secret may have a name: any that a profile may declare. The variable that
/// it is given as has a name of its own, which the profile says.
///
/// # Errors
/// [`NameError::SecretForm`].
pub fn check_secret_name(name: &str) -> Result<(), NameError> {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    let inner = |byte: &u8| edge(Some(byte)) || b"-_.".contains(byte);
    let good = edge(bytes.first())
        && edge(bytes.last())
        && bytes.len() <= LONGEST_SECRET_NAME
        && bytes.iter().all(inner);
    match good {
        true => Ok(()),
        false => Err(NameError::SecretForm {
            name: name.to_owned(),
        }),
    }
}

/// Whether a variable may have a name. Upper and lower case are
/// different names. Names that the manager sets are never allowed.
///
/// # Errors
/// [`NameError`] says which rule it breaks.
pub fn check_name(name: &str, allow_code: bool) -> Result<(), NameError> {
    let owned = || name.to_owned();
    let portable = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let digit_first = name.bytes().next().is_none_or(|byte| byte.is_ascii_digit());
    if digit_first || name.len() > LONGEST_VARIABLE || !name.bytes().all(portable) {
        return Err(NameError::Form { name: owned() });
    }
    if name.starts_with(RESERVED_PREFIX) || RESERVED.contains(&name) {
        return Err(NameError::Reserved { name: owned() });
    }
    let runs_code =
        CODE.contains(&name) || CODE_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    if runs_code && !allow_code {
        return Err(NameError::RunsCode { name: owned() });
    }
    Ok(())
}

impl Store {
    /// Sets a variable, or replaces its value.
    ///
    /// # Errors
    /// [`StoreError::Name`], [`StoreError::TooLong`], [`StoreError::TooMany`], …
    pub fn set_variable(&self, set: SetVariable<'_>, now: Timestamp) -> Result<(), StoreError> {
        const OPERATION: &str = "set the variable";
        check_name(set.name, set.allow_code)?;
        check_owner(set.owner)?;
        if !set.value.is_empty() {
            bounded("the value", set.value, LONGEST_VALUE)?;
        }
        let mut connection = self.durable();
        let transaction = transaction(&mut connection, OPERATION)?;
        let sql = "INSERT INTO variables (scope, owner, name, value, updated)
             VALUES (:scope, :owner, :name, :value, :now) ON CONFLICT (scope, owner, name)
             DO UPDATE SET value = excluded.value, updated = excluded.updated";
        transaction
            .execute(
                sql,
                named_params! {
                    ":scope": set.scope, ":owner": set.owner, ":name": set.name,
                    ":value": set.value, ":now": now.to_sql(),
                },
            )
            .sql(OPERATION)?;
        let sql = "SELECT count(*) FROM variables WHERE scope = ?1 AND owner = ?2";
        check_count(&transaction, sql, "variables", (set.scope, set.owner))?;
        transaction.commit().sql(OPERATION)
    }

    /// Removes a variable; `false` if there was none.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be written.
    pub fn remove_variable(
        &self,
        (scope, owner): (Scope, &str),
        name: &str,
    ) -> Result<bool, StoreError> {
        const OPERATION: &str = "remove the variable";
        let sql = "DELETE FROM variables WHERE scope = ?1 AND owner = ?2 AND name = ?3";
        let connection = self.durable();
        let removed = connection
            .execute(sql, (scope, owner, name))
            .sql(OPERATION)?;
        Ok(removed > 0)
    }

    /// The variables of one owner by name; at most 256.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn variables(&self, scope: Scope, owner: &str) -> Result<Vec<Variable>, StoreError> {
        of_owner(&self.relaxed(), scope, owner)
    }

    /// What a task gets: the user's variables over the project's over the
    /// profile's, each with where it comes from.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be read.
    pub fn effective(&self, levels: Levels<'_>) -> Result<BTreeMap<String, Effective>, StoreError> {
        const OPERATION: &str = "merge variables";
        let mut merged: BTreeMap<String, Effective> = BTreeMap::new();
        let connection = self.relaxed();
        // One view of all levels.
        let view = connection.unchecked_transaction().sql(OPERATION)?;
        for (scope, owner) in levels.each() {
            for Variable { name, value, .. } in of_owner(&view, scope, owner)? {
                let before = merged.remove(&name);
                let replaced = before.map_or(Vec::new(), |mut before| {
                    before.replaced.push(before.from);
                    before.replaced
                });
                merged.insert(
                    name,
                    Effective {
                        value,
                        from: scope,
                        replaced,
                    },
                );
            }
        }
        Ok(merged)
    }
}

fn of_owner(
    connection: &Connection,
    scope: Scope,
    owner: &str,
) -> Result<Vec<Variable>, StoreError> {
    const OPERATION: &str = "list variables";
    let sql =
        "SELECT name, value, updated FROM variables WHERE scope = ?1 AND owner = ?2 ORDER BY name";
    let mut statement = connection.prepare_cached(sql).sql(OPERATION)?;
    let found = statement.query_map((scope, owner), read).sql(OPERATION)?;
    found.collect::<rusqlite::Result<_>>().sql(OPERATION)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Variable> {
    Ok(Variable {
        name: row.get("name")?,
        value: row.get("value")?,
        updated: rows::time(row, "updated")?,
    })
}

/// Refuses an owner that is no name.
pub(crate) fn check_owner(owner: &str) -> Result<(), StoreError> {
    bounded("the owner", owner, LONGEST_NAME)
}

/// Refuses the change if the owner has too many after it.
pub(crate) fn check_count(
    connection: &Connection,
    sql: &str,
    what: &'static str,
    (scope, owner): (Scope, &str),
) -> Result<(), StoreError> {
    let count: Option<i64> = connection
        .query_row(sql, (scope, owner), |row| row.get(0))
        .optional()
        .sql("count what the owner has")?;
    if count.unwrap_or(0).cast_unsigned() > MOST_VARIABLES as u64 {
        return Err(StoreError::TooMany {
            what,
            owner: owner.to_owned(),
            most: MOST_VARIABLES,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_portable() {
        for name in ["A", "_", "a1", "PATH", "http_proxy", &"A".repeat(128)] {
            assert_eq!(check_name(name, false), Ok(()), "{name}");
        }
        for name in [
            "",
            "1A",
            "A B",
            "A=B",
            "A-B",
            "Ä",
            "A\0",
            "A\n",
            &"A".repeat(129),
        ] {
            let refused = Err(NameError::Form {
                name: name.to_owned(),
            });
            assert_eq!(check_name(name, true), refused, "{name}");
        }
    }

    #[test]
    fn names_that_run_code_need_the_flag() {
        for name in [
            "LD_PRELOAD",
            "LD_X",
            "GCONV_PATH",
            "PYTHONSTARTUP",
            "BASH_ENV",
            "NODE_OPTIONS",
        ] {
            assert!(
                matches!(check_name(name, false), Err(NameError::RunsCode { .. })),
                "{name}"
            );
            assert_eq!(check_name(name, true), Ok(()), "{name}");
        }
    }

    #[test]
    fn the_managers_names_are_never_given_away() {
        for name in ["LAKEKEEP_USER", "LAKEKEEP_", "HADOOP_PROXY_USER"] {
            assert!(
                matches!(check_name(name, true), Err(NameError::Reserved { .. })),
                "{name}"
            );
        }
    }
}

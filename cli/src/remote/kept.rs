//! Variables and secrets that the manager keeps.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::ExitCode;

use lakekeep_client::{Client, v1};

use super::error::RemoteError;
use super::show::{self, Cell, Colour};
use super::tell;
use super::{Answer, print};
use crate::args::remote::{
    ListVariablesArgs, NameArgs, Scope, ScopeArgs, SetSecretArgs, SetVariableArgs,
};
use crate::run::kernel;
use crate::terminal::Quiet;

/// Largest secret, bytes; the manager may take less.
const MOST: usize = 1 << 20;

fn reference(scope: ScopeArgs, name: String, secret: bool) -> v1::VariableRef {
    let of = match scope.scope {
        Scope::User => v1::Scope::User,
        Scope::Project => v1::Scope::Project,
        Scope::Profile => v1::Scope::Profile,
    };
    v1::VariableRef {
        scope: of.into(),
        owner: scope.owner,
        name,
        secret,
    }
}

/// `lakekeep variable set`
pub async fn set_variable(client: Client, arguments: SetVariableArgs) -> Answer {
    let variable = reference(arguments.scope, arguments.name, false);
    client
        .set_variable(variable, arguments.value.into_bytes())
        .await?;
    Ok(ExitCode::SUCCESS)
}

/// `lakekeep secret set`
pub async fn set_secret(client: Client, arguments: SetSecretArgs) -> Answer {
    let value = value(&arguments.file)?;
    let secret = reference(arguments.scope, arguments.name, true);
    client.set_variable(secret, value).await?;
    Ok(ExitCode::SUCCESS)
}

/// A secret's value: a file's bytes, what is typed unseen, or all of standard input.
fn value(file: &Path) -> Result<Vec<u8>, RemoteError> {
    let unread = |error| RemoteError::File {
        path: file.display().to_string(),
        done: "read",
        error,
    };
    let bounded = u64::try_from(MOST).unwrap_or(u64::MAX).saturating_add(1);
    let mut value = Vec::new();
    if file != Path::new("-") {
        let file = File::open(file).map_err(unread)?;
        file.take(bounded).read_to_end(&mut value).map_err(unread)?;
    } else if let Some(_quiet) = Quiet::enter().map_err(kernel("tcsetattr"))? {
        let mut line = BufReader::new(std::io::stdin().take(bounded));
        line.read_until(b'\n', &mut value).map_err(unread)?;
        value.pop_if(|last| *last == b'\n');
    } else {
        let mut all = std::io::stdin().take(bounded);
        all.read_to_end(&mut value).map_err(unread)?;
    }
    match value.len() {
        0..=MOST => Ok(value),
        _ => Err(RemoteError::LongSecret(MOST)),
    }
}

/// `lakekeep variable rm`, `lakekeep secret rm`
pub async fn remove(client: Client, arguments: NameArgs, secret: bool) -> Answer {
    let variable = reference(arguments.scope, arguments.name, secret);
    client.delete_variable(variable).await?;
    Ok(ExitCode::SUCCESS)
}

/// `lakekeep variable ls`, `lakekeep secret ls`
pub async fn list(client: Client, arguments: ListVariablesArgs, secrets: bool) -> Answer {
    let mut all = client.variables(&arguments.profile).await?;
    let is_secret = |one: &v1::Variable| one.variable.as_ref().is_some_and(|which| which.secret);
    all.retain(|one| is_secret(one) == secrets);
    all.sort_by_key(|one| one.variable.as_ref().map(|which| which.name.clone()));
    print(&match arguments.via.json {
        true => {
            let lines = all.iter();
            lines
                .map(|one| format!("{}\n", tell::variable(one)))
                .collect()
        }
        false => listing(&all, secrets, show::colours()),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn listing(all: &[v1::Variable], secrets: bool, colours: bool) -> String {
    let rows = all.iter().map(|one| {
        let which = one.variable.clone().unwrap_or_default();
        let (counts, colour) = match one.effective {
            true => ("yes", Colour::Plain),
            false => ("no", Colour::Dim),
        };
        let mut row = vec![
            which.name.as_str().into(),
            tell::scope(which.scope()).into(),
            which.owner.as_str().into(),
            Cell::from(counts).coloured(colour),
            tell::stamp(one.set.as_ref()).into(),
        ];
        if !secrets {
            row.push(one.value.as_str().into());
        }
        row
    });
    let mut heading = vec!["NAME", "SCOPE", "OF", "COUNTS", "SET"];
    if !secrets {
        heading.push("VALUE");
    }
    show::table(&heading, &rows.collect::<Vec<_>>(), colours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_show_which_of_them_counts() {
        let variable = |scope: v1::Scope, value: &str, effective| v1::Variable {
            variable: Some(v1::VariableRef {
                scope: scope.into(),
                owner: "ann".to_owned(),
                name: "A".to_owned(),
                secret: false,
            }),
            value: value.to_owned(),
            effective,
            set: None,
        };
        let all = [
            variable(v1::Scope::User, "mine", true),
            variable(v1::Scope::Profile, "theirs", false),
        ];
        assert_eq!(
            listing(&all, false, false),
            "NAME  SCOPE    OF   COUNTS  SET  VALUE\n\
             A     user     ann  yes          mine\n\
             A     profile  ann  no           theirs\n"
        );
    }

    #[test]
    fn a_secret_is_its_files_bytes_up_to_a_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, b"\0binary\n").unwrap();
        assert_eq!(value(&path).unwrap(), b"\0binary\n");
        std::fs::write(&path, vec![0; MOST + 1]).unwrap();
        assert!(matches!(value(&path), Err(RemoteError::LongSecret(_))));
    }
}

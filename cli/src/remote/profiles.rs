//! Profiles.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use lakekeep_client::{Client, Reason, v1};

use super::error::RemoteError;
use super::show::{self};
use super::tell;
use super::{Answer, print};
use crate::args::remote::{ProfileArgs, PutArgs, Via, ViaArgs};

/// Largest document, bytes; the manager takes less.
const MOST: u64 = 1 << 20;

/// `lakekeep profile ls`
pub async fn list(client: Client, arguments: ViaArgs) -> Answer {
    let mut all = client.profiles().await?;
    all.sort_by(|one, other| one.name.cmp(&other.name));
    print(&match arguments.via.json {
        true => {
            let lines = all.iter();
            lines
                .map(|one| format!("{}\n", tell::profile(one)))
                .collect()
        }
        false => listing(&all),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn listing(all: &[v1::Profile]) -> String {
    let rows = all.iter().map(|profile| {
        let kept = if profile.declared { "file" } else { "users" };
        vec![
            profile.name.as_str().into(),
            profile.owner.as_str().into(),
            profile.role.as_str().into(),
            kept.into(),
            profile.version.as_str().into(),
        ]
    });
    let heading = ["PROFILE", "OWNER", "YOU", "FROM", "VERSION"];
    show::table(&heading, &rows.collect::<Vec<_>>(), false)
}

/// `lakekeep profile show`
pub async fn show(client: Client, arguments: ProfileArgs) -> Answer {
    let profile = client.profile(&arguments.name).await?;
    print(&match arguments.via.json {
        true => format!("{}\n", tell::profile(&profile)),
        // As it is: it can be changed and put back.
        false => profile.document,
    })?;
    Ok(ExitCode::SUCCESS)
}

/// `lakekeep profile put`
pub async fn put(client: Client, arguments: PutArgs) -> Answer {
    let document = document(&arguments.file)?;
    let version = match arguments.version_is {
        Some(version) => version,
        None => present(&client, &arguments.name).await?,
    };
    let profile = client
        .put_profile(&arguments.name, &document, &version)
        .await?;
    one(&arguments.via, &profile)
}

fn one(via: &Via, profile: &v1::Profile) -> Answer {
    print(&match via.json {
        true => format!("{}\n", tell::profile(profile)),
        false => format!("{}\n", show::clean(&profile.version)),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The version that is there; empty for none.
async fn present(client: &Client, name: &str) -> Result<String, RemoteError> {
    match client.profile(name).await {
        Ok(profile) => Ok(profile.version),
        Err(error) if error.reason() == Some(Reason::NotFound) => Ok(String::new()),
        Err(error) => Err(error.into()),
    }
}

fn document(path: &Path) -> Result<String, RemoteError> {
    let unread = |error| RemoteError::File {
        path: path.display().to_string(),
        done: "read",
        error,
    };
    let mut text = String::new();
    match path == Path::new("-") {
        true => std::io::stdin().take(MOST).read_to_string(&mut text),
        false => {
            std::fs::File::open(path).and_then(|file| file.take(MOST).read_to_string(&mut text))
        }
    }
    .map_err(unread)?;
    Ok(text)
}

/// `lakekeep profile rm`
pub async fn remove(client: Client, arguments: ProfileArgs) -> Answer {
    let profile = client.profile(&arguments.name).await?;
    client
        .delete_profile(&arguments.name, &profile.version)
        .await?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_show_what_you_are_in_them() {
        let profile = v1::Profile {
            name: "churn".to_owned(),
            owner: "ann".to_owned(),
            role: "contributor".to_owned(),
            declared: true,
            version: "abc".to_owned(),
            document: String::new(),
        };
        assert_eq!(
            listing(&[profile]),
            "PROFILE  OWNER  YOU          FROM  VERSION\n\
             churn    ann    contributor  file  abc\n"
        );
    }
}

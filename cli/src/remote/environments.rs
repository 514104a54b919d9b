//! Environments of a manager.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use lakekeep_client::{Client, Pack, Push, Pushed, Pushing, v1};
use lakekeep_environment::FileNode;
use lakekeep_tree::TreeError;
use serde_json::json;

use super::error::RemoteError;
use super::tell::stamp;
use super::{Answer, ask, print};
use crate::args::environment::{CaptureArgs, GcArgs, PushArgs, RemoveArgs, What};
use crate::args::remote::Via;
use crate::environment::{self, EnvironmentError, Kept, show};
use crate::report::Messages;

/// What is sent, and to whom.
struct Sending<'a> {
    digest: Option<&'a lakekeep_environment::Digest>,
    what: &'a What,
    share: Option<&'a String>,
    json: bool,
}

/// `lakekeep env push`
pub fn push(arguments: &PushArgs) -> ExitCode {
    ask(&arguments.via, |client| {
        let sending = Sending {
            digest: arguments.digest.as_ref(),
            what: &arguments.what,
            share: arguments.share.as_ref(),
            json: arguments.via.json,
        };
        send(client, sending)
    })
}

/// Sends one of this machine's store.
pub fn push_stored(digest: &lakekeep_environment::Digest, via: &Via) -> ExitCode {
    let what = What {
        python: PathBuf::new(),
        modules: Vec::new(),
        include: Vec::new(),
    };
    ask(via, |client| {
        let sending = Sending {
            digest: Some(digest),
            what: &what,
            share: None,
            json: via.json,
        };
        send(client, sending)
    })
}

/// `lakekeep env capture`, with a manager: what is taken up is sent to it.
pub fn capture(arguments: &CaptureArgs) -> ExitCode {
    ask(&arguments.at.via, |client| {
        let sending = Sending {
            digest: None,
            what: &arguments.what,
            share: None,
            json: arguments.at.via.json,
        };
        send(client, sending)
    })
}

async fn send(client: Client, sending: Sending<'_>) -> Answer {
    // This thread has nothing else to do: the connection is quiet.
    let kept = Arc::new(environment::kept(sending.digest, sending.what)?);
    let manifest = kept.manifest();
    let push = Push {
        digest: manifest.digest().to_string(),
        manifest: manifest.to_text(),
        profile: sending.share.cloned(),
    };
    let pushed = match client.push(&push).await? {
        Pushing::Stored(pushed) => pushed,
        Pushing::Wanted(wanted, pack) => packed(&kept, &wanted, *pack).await?,
    };
    let (files, bytes) = show::amount(manifest);
    let stored = &pushed.stored;
    if sending.json {
        print(&format!(
            "{}\n",
            json!({
                "digest": push.digest,
                "files": files,
                "bytes": bytes,
                "sent_files": stored.contents,
                "sent_bytes": stored.bytes,
                "wire_bytes": pushed.sent,
                "known": stored.known,
                "notes": kept.notes(),
            })
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    let messages = Messages { json: false };
    for note in kept.notes() {
        messages.say("note", note);
    }
    messages.say("info", &summary(&pushed, files, bytes));
    print(&format!("{}\n", push.digest))?;
    Ok(ExitCode::SUCCESS)
}

/// What was sent of how much.
fn summary(pushed: &Pushed, files: usize, bytes: u64) -> String {
    let stored = &pushed.stored;
    if stored.known {
        return format!("the manager has it already: 0 of {files} files sent, 0 of {bytes} bytes");
    }
    format!(
        "{} of {files} files sent, {} of {bytes} bytes ({} on the way, with the manifest)",
        stored.contents, stored.bytes, pushed.sent
    )
}

/// Sends what is wanted, from a thread of its own: reading and compressing block.
async fn packed(
    kept: &Arc<Kept>,
    wanted: &[Vec<u8>],
    mut pack: Pack,
) -> Result<Pushed, RemoteError> {
    let wanted = nodes(kept, wanted)?;
    let kept = Arc::clone(kept);
    let written = tokio::task::spawn_blocking(move || {
        let written = lakekeep_tree::send(&wanted, &*kept, &mut pack);
        (pack, written)
    });
    let (pack, written) = written.await.map_err(RemoteError::Thread)?;
    match written {
        Ok(()) => Ok(pack.finish().await?),
        // The manager takes no more, and says why.
        Err(TreeError::Pack { error }) => match pack.finish().await {
            Err(refused) => Err(refused.into()),
            Ok(_) => Err(EnvironmentError::from(TreeError::Pack { error }).into()),
        },
        Err(error) => Err(EnvironmentError::from(error).into()),
    }
}

/// The files that a manager names. One that is none of the environment's is no answer of a manager's.
fn nodes(kept: &Kept, wanted: &[Vec<u8>]) -> Result<Vec<FileNode>, RemoteError> {
    let contents = kept.manifest().contents();
    let known: HashMap<&[u8], &FileNode> = contents
        .map(|file| (file.digest.as_bytes().as_slice(), file))
        .collect();
    let found = wanted.iter().map(|digest| {
        let file = known.get(digest.as_slice());
        file.map(|file| **file).ok_or(RemoteError::Foreign)
    });
    found.collect()
}

/// `lakekeep env ls`
pub fn list(via: &Via) -> ExitCode {
    ask(via, |client| async move {
        let mut all = client.list_environments().await?;
        all.sort_by_key(|one| std::cmp::Reverse(super::tell::moment(one.used.as_ref())));
        for one in &all {
            print(&match via.json {
                true => format!("{}\n", shown(one)),
                false => line(one),
            })?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn shown(one: &v1::Environment) -> serde_json::Value {
    json!({
        "digest": one.digest,
        "profile": one.profile,
        "used": stamp(one.used.as_ref()),
        "files": one.files,
        "bytes": one.bytes,
        "python": one.python,
        "prefix": one.prefix,
    })
}

fn line(one: &v1::Environment) -> String {
    let of = match one.profile.as_str() {
        "" => String::new(),
        profile => format!("  shared in {}", super::clean::clean(profile)),
    };
    format!(
        "{}  {:>6} files {:>6} MiB  Python {} {}{of}\n",
        one.digest,
        one.files,
        one.bytes >> 20,
        super::clean::clean(&one.python),
        super::clean::clean(&one.prefix)
    )
}

/// `lakekeep env rm`
pub fn remove(arguments: &RemoveArgs) -> ExitCode {
    ask(&arguments.at.via, |client| async move {
        for digest in &arguments.digests {
            let profile = arguments.share.as_deref();
            client
                .remove_environment(&digest.to_string(), profile)
                .await?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// `lakekeep env gc`
pub fn collect(arguments: &GcArgs) -> ExitCode {
    ask(&arguments.at.via, |client| async move {
        let done = client.collect_environments(arguments.keep.get()).await?;
        print(&show::collected(done.removed, done.in_use, done.bytes))?;
        Ok(ExitCode::SUCCESS)
    })
}

//! Sandboxes: made, listed, looked at, ended.

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;
use std::time::SystemTime;

use lakekeep_client::{Client, ClientError, Create, v1};

use super::error::RemoteError;
use super::show::{self, Cell, Colour, age};
use super::tell::{self, moment, stamp};
use super::{Answer, parse, print};
use crate::args::remote::{
    CreateArgs, Kind, PsArgs, SandboxesArgs, SignalArgs, Via, VolumeArgs,
};
use crate::args::{Format, InspectArgs};
use crate::report::Messages;
use crate::request;

/// `lakekeep create`
pub async fn create(client: Client, arguments: CreateArgs) -> Answer {
    let (policy, variables) = request::for_manager(&arguments.policy)?;
    let mut create = Create::new()
        .kind(kind(arguments.kind))
        .policy(with_variables(policy, variables)?);
    if let Some(name) = arguments.profile {
        create = create.profile(name);
    }
    for (name, value) in arguments.labels {
        create = create.label(name, value);
    }
    for volume in arguments.volumes {
        create = create.volume(volume);
    }
    if let Some(time) = arguments.idle_timeout {
        create = create.idle_timeout(time);
    }
    if let Some(time) = arguments.lifetime {
        create = create.lifetime(time);
    }
    if let Some(time) = arguments.deadline {
        create = create.deadline(time);
    }
    if let Some(user) = arguments.code_owner {
        create = create.code_owner(user);
    }
    if let Some(path) = arguments.policy.interpreter {
        let text = path.into_os_string().into_string();
        create = create.interpreter(text.map_err(RemoteError::NotText)?);
    }
    let sandbox = match arguments.claim {
        true => client.claim(create).await?,
        false => client.create(create).await?,
    };
    one(&arguments.via, &sandbox)
}

//! Between the interface's messages and what they mean.

use std::time::{Duration, SystemTime};

use lakekeep_api::v1;
use tonic::{Response, Status};

use crate::fault::Fault;
use crate::meta::{Kind, Meta, VolumeQuota};
use crate::sandbox::{Phase, Sandbox};
use crate::task::Task;

/// The answer to a call.
pub fn answer<T>(result: Result<T, Fault>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(Status::from)
}

/// A span of time; `None` where it is missing or negative.
pub fn duration(wire: Option<&prost_types::Duration>) -> Option<Duration> {
    // Nanoseconds add less than three seconds. Nearer to the least number of seconds the
    // conversion overflows.
    let wire = wire.filter(|wire| wire.seconds >= -3)?;
    Duration::try_from(*wire).ok()
}

/// A moment.
pub fn timestamp(time: SystemTime) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp::from(time))
}

/// A sandbox, as callers see it.
pub fn sandbox(sandbox: &Sandbox) -> v1::Sandbox {
    let meta = &sandbox.meta;
    let phase = sandbox.phase();
    let (state, ended, verdict) = match &phase {
        Phase::Running => (v1::State::Running, None, String::new()),
        Phase::Frozen => (v1::State::Frozen, None, String::new()),
        Phase::Ended(verdict, at) => (
            v1::State::Ended,
            timestamp(*at),
            serde_json::to_string(verdict).unwrap_or_default(),
        ),
    };
    let now = v1::Sandbox {
        state: state.into(),
        ended,
        last_used: timestamp(sandbox.last_used()),
        tasks: sandbox.tasks().iter().map(|one| task(one)).collect(),
        verdict,
        pid: sandbox.pid().unwrap_or(0),
        quotas: sandbox.quotas().into_iter().map(quota).collect(),
        egress: egress(sandbox),
        ..v1::Sandbox::default()
    };
    of_meta(meta, now)
}

fn quota(quota: VolumeQuota) -> v1::VolumeQuota {
    v1::VolumeQuota {
        volume: quota.volume,
        bytes: quota.bytes,
        used: quota.used,
        enforced: quota.missing.is_none(),
        missing: quota.missing.unwrap_or_default(),
    }
}

/// What does not change of a sandbox, over what does.
pub fn of_meta(meta: &Meta, now: v1::Sandbox) -> v1::Sandbox {
    v1::Sandbox {
        id: meta.id.clone(),
        owner: meta.owner.clone(),
        identity: meta.identity.name.clone(),
        profile: meta.profile.clone(),
        kind: kind(meta.kind).into(),
        trust_key: meta.trust_key.clone(),
        policy_digest: meta.policy_digest.clone(),
        image: meta.image.clone(),
        labels: meta.labels.clone().into_iter().collect(),
        created: timestamp(meta.created),
        volumes: meta.volumes.clone(),
        environment: environment(meta),
        ..now
    }
}

/// The digest of the rules of egress that hold for it now; empty: nothing leaves.
fn egress(sandbox: &Sandbox) -> String {
    sandbox
        .outlet()
        .map_or(String::new(), |outlet| outlet.digest())
}

/// The digest of its environment; empty: it has none.
fn environment(meta: &Meta) -> String {
    let environment = meta.environment.as_ref();
    environment.map_or(String::new(), |found| found.digest.clone())
}

fn kind(kind: Kind) -> v1::Kind {
    match kind {
        Kind::Interactive => v1::Kind::Interactive,
        Kind::Kernel => v1::Kind::Kernel,
        Kind::Udf => v1::Kind::Udf,
        Kind::Batch => v1::Kind::Batch,
    }
}

fn task(task: &Task) -> v1::Task {
    let ended = task.ended();
    let state = match ended {
        Some(_) => v1::State::Ended,
        None => v1::State::Running,
    };
    v1::Task {
        task: task.number,
        state: state.into(),
        tty: task.is_tty(),
        program: task.program(),
        started: timestamp(task.record.started),
        ended: ended.as_ref().and_then(|ended| timestamp(ended.at)),
        exit_code: ended.map_or(0, |ended| ended.exit_code),
    }
}

//! For programs: the interface's messages as JSON.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use lakekeep_client::v1;
use serde_json::{Value, json};

/// A moment of a message's.
pub fn moment(time: Option<&prost_types::Timestamp>) -> Option<SystemTime> {
    SystemTime::try_from(*time?).ok()
}

/// A moment as RFC 3339; empty where there is none.
pub fn stamp(time: Option<&prost_types::Timestamp>) -> String {
    let time = moment(time).filter(|time| *time >= SystemTime::UNIX_EPOCH);
    time.map_or_else(String::new, |time| {
        humantime::format_rfc3339_millis(time).to_string()
    })
}

fn stamped(time: Option<&prost_types::Timestamp>) -> Value {
    match stamp(time) {
        text if text.is_empty() => Value::Null,
        text => text.into(),
    }
}

/// The word for a state.
pub fn state(state: v1::State) -> &'static str {
    match state {
        v1::State::Unspecified => "unknown",
        v1::State::Creating => "creating",
        v1::State::Running => "running",
        v1::State::Frozen => "frozen",
        v1::State::Ended => "ended",
    }
}

/// The word for a kind.
pub fn kind(kind: v1::Kind) -> &'static str {
    match kind {
        v1::Kind::Unspecified | v1::Kind::Interactive => "interactive",
        v1::Kind::Kernel => "kernel",
        v1::Kind::Udf => "udf",
        v1::Kind::Batch => "batch",
    }
}

fn sorted(map: &HashMap<String, String>) -> BTreeMap<&str, &str> {
    let pairs = map.iter();
    pairs
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

/// A verdict, which is JSON already; `null` where there is none.
fn verdict(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// A sandbox.
pub fn sandbox(sandbox: &v1::Sandbox) -> Value {
    json!({
        "id": sandbox.id,
        "owner": sandbox.owner,
        "identity": sandbox.identity,
        "profile": sandbox.profile,
        "state": state(sandbox.state()),
        "kind": kind(sandbox.kind()),
        "trust_key": sandbox.trust_key,
        "egress": sandbox.egress,
        "policy_digest": sandbox.policy_digest,
        "image": sandbox.image,
        "labels": sorted(&sandbox.labels),
        "volumes": sandbox.volumes,
        "quotas": sandbox.quotas.iter().map(quota).collect::<Vec<_>>(),
        "pid": sandbox.pid,
        "created": stamped(sandbox.created.as_ref()),
        "ended": stamped(sandbox.ended.as_ref()),
        "last_used": stamped(sandbox.last_used.as_ref()),
        "verdict": verdict(&sandbox.verdict),
        "tasks": sandbox.tasks.iter().map(task).collect::<Vec<_>>(),
    })
}

fn quota(quota: &v1::VolumeQuota) -> Value {
    let missing = (!quota.enforced).then_some(quota.missing.as_str());
    json!({
        "volume": quota.volume,
        "bytes": quota.bytes,
        "used": quota.used,
        "enforced": quota.enforced,
        "missing": missing,
    })
}

fn task(task: &v1::Task) -> Value {
    let ended = task.state() == v1::State::Ended;
    json!({
        "task": task.task,
        "state": state(task.state()),
        "tty": task.tty,
        "program": task.program,
        "started": stamped(task.started.as_ref()),
        "ended": stamped(task.ended.as_ref()),
        "exit_code": ended.then_some(task.exit_code),
    })
}

/// What a sandbox uses.
pub fn stats(time: Option<&prost_types::Timestamp>, stats: &v1::SandboxStats) -> Value {
    json!({
        "time": stamped(time),
        "sandbox": stats.sandbox,
        "owner": stats.owner,
        "profile": stats.profile,
        "memory": stats.memory,
        "memory_peak": stats.memory_peak,
        "memory_limit": stats.memory_limit,
        "cpu_us": stats.cpu_us,
        "cpus_milli": stats.cpus_milli,
        "throttled_us": stats.throttled_us,
        "pids": stats.pids,
        "pids_limit": stats.pids_limit,
        "oom_kills": stats.oom_kills,
    })
}

/// An event.
pub fn event(event: &v1::Event) -> Value {
    json!({
        "number": event.number,
        "time": stamped(event.time.as_ref()),
        "what": event.what,
        "sandbox": event.sandbox,
        "task": event.task,
        "owner": event.owner,
        "profile": event.profile,
        "detail": event.detail,
    })
}

/// An identity.
pub fn identity(identity: &v1::Identity) -> Value {
    json!({
        "name": identity.name,
        "uid": identity.uid,
        "gid": identity.gid,
        "rule": identity.rule,
        "variables": sorted(&identity.variables),
    })
}

/// Who the caller is.
pub fn caller(who: &v1::WhoAmIResponse) -> Value {
    json!({
        "user": who.user,
        "groups": who.groups,
        "authenticated_by": who.authenticated_by,
        "actor": who.actor,
        "administrator": who.administrator,
        "identity": who.identity.as_ref().map(identity),
        "identity_error": who.identity_error,
    })
}

/// A profile.
pub fn profile(profile: &v1::Profile) -> Value {
    json!({
        "name": profile.name,
        "owner": profile.owner,
        "role": profile.role,
        "declared": profile.declared,
        "version": profile.version,
        "document": profile.document,
    })
}

/// The word for a scope.
pub fn scope(scope: v1::Scope) -> &'static str {
    match scope {
        v1::Scope::Unspecified | v1::Scope::User => "user",
        v1::Scope::Project => "project",
        v1::Scope::Profile => "profile",
    }
}

/// A variable, or a secret without its value.
pub fn variable(variable: &v1::Variable) -> Value {
    let which = variable.variable.clone().unwrap_or_default();
    let value = (!which.secret).then_some(&variable.value);
    json!({
        "name": which.name,
        "scope": scope(which.scope()),
        "of": which.owner,
        "secret": which.secret,
        "value": value,
        "effective": variable.effective,
        "set": stamped(variable.set.as_ref()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_no_value() {
        let secret = v1::Variable {
            variable: Some(v1::VariableRef {
                name: "token".to_owned(),
                secret: true,
                ..v1::VariableRef::default()
            }),
            value: "never sent".to_owned(),
            effective: true,
            set: None,
        };
        assert_eq!(
            variable(&secret),
            json!({
                "name": "token", "scope": "user", "of": "", "secret": true,
                "value": null, "effective": true, "set": null,
            })
        );
    }

    #[test]
    fn a_running_task_has_no_exit_code() {
        let mut sandbox_message = v1::Sandbox {
            id: "x".to_owned(),
            state: v1::State::Running.into(),
            created: Some(prost_types::Timestamp {
                seconds: 1,
                nanos: 0,
            }),
            tasks: vec![v1::Task {
                task: 1,
                state: v1::State::Running.into(),
                ..v1::Task::default()
            }],
            ..v1::Sandbox::default()
        };
        let value = sandbox(&sandbox_message);
        assert_eq!(value["created"], "1970-01-01T00:00:01.000Z");
        assert_eq!(value["tasks"][0]["exit_code"], Value::Null);
        sandbox_message.tasks[0].state = v1::State::Ended.into();
        assert_eq!(sandbox(&sandbox_message)["tasks"][0]["exit_code"], 0);
    }
}

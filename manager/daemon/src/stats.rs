//! What sandboxes use, again and again.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lakekeep_api::v1::{SandboxStats, StatsSample};
use tokio::sync::mpsc;
use tonic::Status;

use crate::sandbox::{Phase, Sandbox};
use crate::wire;

/// Nobody is told more often: each sample asks the launcher for every sandbox.
const SHORTEST: Duration = Duration::from_millis(100);

/// Nor more seldom: a moment too far off has no number.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Samples of `which` until nobody listens; one, without an interval.
pub fn stream(
    which: impl Fn() -> Vec<Arc<Sandbox>> + Send + 'static,
    interval: Option<Duration>,
) -> mpsc::Receiver<Result<StatsSample, Status>> {
    let (to, samples) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut ticks =
            interval.map(|interval| tokio::time::interval(interval.clamp(SHORTEST, LONGEST)));
        loop {
            if let Some(ticks) = &mut ticks {
                ticks.tick().await;
            }
            let sample = sample(which()).await;
            if to.send(Ok(sample)).await.is_err() || ticks.is_none() {
                return;
            }
        }
    });
    samples
}

async fn sample(sandboxes: Vec<Arc<Sandbox>>) -> StatsSample {
    let mut found = Vec::new();
    for sandbox in sandboxes {
        if matches!(sandbox.phase(), Phase::Ended(..)) {
            continue;
        }
        // One that ends meanwhile is left out.
        if let Ok(stats) = of(&sandbox).await {
            found.push(stats);
        }
    }
    StatsSample {
        time: wire::timestamp(SystemTime::now()),
        sandboxes: found,
    }
}

async fn of(sandbox: &Sandbox) -> Result<SandboxStats, crate::fault::Fault> {
    let usage = sandbox.usage().await?;
    let limits = &sandbox.created().limits;
    Ok(SandboxStats {
        sandbox: sandbox.id().to_owned(),
        memory: usage.memory.unwrap_or(0),
        memory_peak: usage.memory_peak.unwrap_or(0),
        memory_limit: limits.memory.unwrap_or(0),
        cpu_us: usage.cpu_us.unwrap_or(0),
        pids: usage.pids.unwrap_or(0),
        pids_limit: limits.pids.unwrap_or(0),
        oom_kills: usage.oom_kills,
        throttled_us: usage.throttled_us.unwrap_or(0),
        cpus_milli: sandbox.maker.policy().limits().cpus().millis(),
        owner: sandbox.meta.owner.clone(),
        profile: sandbox.meta.profile.clone(),
    })
}

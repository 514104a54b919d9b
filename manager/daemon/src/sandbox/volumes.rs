//! What is mounted in a running sandbox: volumes, and with its claim an environment.

use std::os::fd::{AsFd, OwnedFd};

use lakekeep_api::Reason;
use lakekeep_plan::Extension;
use lakekeep_protocol::InitRequest;
use lakekeep_protocol::launch::{MAX_TREES, RootfsStep};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{Sandbox, lock};
use crate::fault::Fault;
use crate::meta::VolumeQuota;

/// Where attached volumes are written down, in the sandbox's folder.
const RECORD: &str = "volumes";

/// A folder of the host to show in a running sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Volume {
    /// On the host.
    pub source: String,
    /// Inside.
    pub target: String,
    /// Nothing on it can be changed.
    pub read_only: bool,
    /// Programs on it can be run.
    pub executable: bool,
    /// User and group on disk whose files it shows as the sandbox's user's.
    pub disk: (u32, u32),
    /// Its quota, and what became of it.
    #[serde(default)]
    pub quota: Option<VolumeQuota>,
}

impl Sandbox {
    /// Shows a volume. Tasks that start from now on see it.
    ///
    /// # Errors
    /// `BadRequest` for a place below a task's own directories; of the launcher and the
    /// init.
    pub async fn attach_volume(&self, volume: Volume) -> Result<(), Fault> {
        self.check_running()?;
        let target = volume.target.clone();
        let own = self.plan.task.scratch.directories.iter();
        if own
            .clone()
            .any(|(place, _)| target.starts_with(&format!("{place}/")))
        {
            return Err(Fault::new(
                Reason::BadRequest,
                format!(
                    "{target} is below a directory of the tasks' own; name the volume when the sandbox is made"
                ),
            ));
        }
        let task = &self.plan.task;
        let step = RootfsStep::Bind {
            source: volume.source.clone(),
            target: target.clone(),
            read_only: volume.read_only,
            executable: volume.executable,
            owner: Some((task.user, task.group)),
            disk: Some(volume.disk),
        };
        self.show(step).await?;
        self.maker.attach(target, volume.read_only);
        lock(&self.bounded).extend(volume.quota.clone());
        let mut all = self.attached();
        all.push(volume);
        let text = serde_json::to_vec(&all)
            .map_err(|error| Fault::internal("write down a volume", &error))?;
        crate::files::replace(&self.folder.join(RECORD), &text)
            .map_err(|error| Fault::internal("write down a volume", &error))
    }

    /// Mounts one more tree, for tasks that start from now on: a [`RootfsStep::Bind`] at an
    /// empty directory of the root.
    ///
    /// # Errors
    /// Of the launcher and the init; `Ended`.
    pub async fn show(&self, step: RootfsStep) -> Result<(), Fault> {
        let RootfsStep::Bind { target, .. } = &step else {
            return Err(Fault::new(Reason::Internal, "not a mount"));
        };
        let target = target.clone();
        let id = self.meta.id.clone();
        let tree = self
            .launcher
            .ask("volume", move |service| service.volume(&id, step))
            .await?;
        let request = InitRequest::Place {
            target: target.clone(),
        };
        self.place(&request, &[tree], &[target]).await
    }

    /// Shows a client's environment, before any task has run. A task that is ready stays so.
    ///
    /// # Errors
    /// Of the launcher and the init; `Ended`. End the sandbox then: some of it may be in sight.
    pub async fn extend(&self, extension: Extension) -> Result<(), Fault> {
        let Extension { mut places, mounts } = extension;
        for some in mounts.chunks(MAX_TREES) {
            let mut steps = std::mem::take(&mut places);
            steps.extend_from_slice(some);
            let id = self.meta.id.clone();
            let trees = self
                .launcher
                .ask("extend", move |service| service.extend(&id, steps))
                .await?;
            let targets: Vec<String> = some.iter().filter_map(bind_target).collect();
            let request = InitRequest::Show {
                targets: targets.clone(),
            };
            self.place(&request, &trees, &targets).await?;
        }
        Ok(())
    }

    /// Has the init mount trees.
    async fn place(
        &self,
        request: &InitRequest,
        trees: &[OwnedFd],
        targets: &[String],
    ) -> Result<(), Fault> {
        let (answer, placed) = oneshot::channel();
        lock(&self.placing).push_back(answer);
        let trees: Vec<_> = trees.iter().map(AsFd::as_fd).collect();
        let sent = self.line()?.init.send(request, &trees);
        sent.map_err(|error| Fault::internal("ask an init to mount", &error))?;
        match placed.await {
            Ok(0) => Ok(()),
            Ok(errno) => {
                let (why, targets) = (std::io::Error::from_raw_os_error(errno), targets.join(", "));
                Err(Fault::new(
                    Reason::Internal,
                    format!("mount at {targets}: {why}"),
                ))
            }
            Err(_) => Err(Fault::new(Reason::Ended, "the sandbox has ended")),
        }
    }

    /// The quotas of all its volumes, also of those attached since.
    pub fn quotas(&self) -> Vec<VolumeQuota> {
        let attached = lock(&self.bounded).clone();
        self.meta.quotas.iter().cloned().chain(attached).collect()
    }

    /// Says in a receipt which image it has, and what of its wishes and of its volumes' quotas is not
    /// enforced.
    pub fn tell_quotas(&self, receipt: &mut lakekeep_sandbox::Receipt) {
        let quotas = self.quotas();
        let missing = quotas.iter().filter_map(VolumeQuota::warning);
        receipt.warnings.extend(missing);
        if let Some(stored) = &self.meta.stored_image {
            receipt.image = Some(self.meta.image.clone());
            receipt.warnings.extend(stored.note.clone());
        }
    }

    fn attached(&self) -> Vec<Volume> {
        let text = std::fs::read(self.folder.join(RECORD)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Lets the tasks of an adopted sandbox use what was attached before.
    pub fn recall_volumes(&self) {
        for volume in self.attached() {
            self.maker.attach(volume.target, volume.read_only);
            lock(&self.bounded).extend(volume.quota);
        }
    }
}

fn bind_target(step: &RootfsStep) -> Option<String> {
    match step {
        RootfsStep::Bind { target, .. } => Some(target.clone()),
        _ => None,
    }
}

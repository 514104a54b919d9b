//! Sandboxes that were made ahead, and become their caller's.

use std::sync::Arc;

use lakekeep_api::Reason;
use lakekeep_plan::Plan;

use super::{Registry, give_up};
use crate::fault::Fault;
use crate::maker::{Kept, Maker};
use crate::meta::Meta;
use crate::metrics::Stage;
use crate::parked::{Divided, Parked, Planned, ZygoteDoc, divide};
use crate::record::{remove_folder, write_record};
use crate::sandbox::{Sandbox, lock};

impl Registry {
    /// What of this sandbox can be made ahead, and what comes with the claim; `None` where all of
    /// it is made when it is asked for.
    pub(super) fn divide(
        &self,
        meta: &Meta,
        (maker, plan): (&Maker, &Plan),
        (kept, later): (&Kept, &[String]),
    ) -> Option<Divided> {
        let late = maker.late_mounts().filter(|_| self.stock.is_kept())?;
        let Some((known, _)) = &kept.environment else {
            return Some(divide(plan, late)?.on_image(kept.image.clone()));
        };
        // What is made ahead has none. Of its rules only that there are some.
        let (_, blank) = self
            .plan(meta, (maker.policy().clone(), Kept::default(), None), later)
            .ok()?;
        let zygote = self.zygote_doc(maker).is_some();
        divide(&blank, late)?.with_environment(&known.view, zygote)
    }

    fn zygote_doc(&self, maker: &Maker) -> Option<&ZygoteDoc> {
        self.zygotes.iter().find(|it| it.serves(maker.policy()))
    }

    /// What tasks of sandboxes like this one's are forked of, where that is configured.
    pub(super) fn zygote(&self, maker: &Maker) -> Option<Planned> {
        let doc = self.zygote_doc(maker)?;
        match maker.zygote(&doc.preload()) {
            Ok(plan) => Some(Planned {
                plan,
                age: doc.age(),
            }),
            Err(error) => {
                tracing::warn!("{error}");
                None
            }
        }
    }

    /// Makes a parked sandbox its caller's. Where that cannot be done, one of its own is
    /// made, as if none had been ready.
    pub(super) async fn claim(
        &self,
        parked: Parked,
        divided: Divided,
        (mut meta, mut maker, mut plan): (Meta, Maker, Plan),
        (kept, later): (Kept, &[String]),
    ) -> Result<Arc<Sandbox>, Fault> {
        let made_of = (maker.policy().clone(), kept, plan.egress.clone());
        let (again, id) = (meta.clone(), meta.id.clone());
        meta.id.clone_from(&parked.id);
        maker.rename(&parked.id);
        plan.rename(&parked.id);
        if parked.zygote.is_some() {
            maker.fork();
            plan.task.forked = true;
        }
        let folder = self.folder.join(&meta.id);
        // Meanwhile: without one, a successor ends what nobody was told of.
        let record = {
            let (folder, meta, plan) = (folder.clone(), meta.clone(), plan.clone());
            tokio::task::spawn_blocking(move || write_record(&folder, &meta, &plan))
        };
        let mut parts = self.parts((meta, maker, plan), parked.launcher, parked.held);
        parts.zygote = parked.zygote;
        let (shape, unready) = (divided.shape, !divided.has_task());
        let claimed = async {
            let (admitted, written) = tokio::join!(self.admit(parts, divided.late), record);
            let sandbox = admitted?;
            let written = written.unwrap_or_else(|error| Err(error.into()));
            if let Err(error) = written {
                lock(&self.sandboxes).remove(sandbox.id());
                give_up(&sandbox).await;
                return Err(Fault::internal("write a sandbox's record", &error));
            }
            if unready {
                sandbox.get_ready();
            }
            Ok(sandbox)
        };
        let claimed = self.metrics.stage(Stage::Claim, claimed).await;
        let Err(fault) = claimed else {
            return claimed;
        };
        remove_folder(&folder);
        if fault.reason() == Reason::Internal {
            self.stock.spoiled(shape).await;
        }
        let meta = Meta { id, ..again };
        let (maker, plan) = self.plan(&meta, made_of, later)?;
        self.make(meta, maker, plan).await
    }
}

//! Quotas of volumes on their disks, set by the launcher where the file system can.

use lakekeep_profiles::VolumeGrant;
use lakekeep_protocol::facts::{QuotaFacts, QuotaObstacle};

use crate::launchers::Launchers;
use crate::meta::VolumeQuota;

/// Bounds each volume that has a quota, and says what became of it. What cannot be
/// enforced is no refusal: it stands in the receipt.
pub async fn bound(launchers: &Launchers, volumes: &[VolumeGrant]) -> Vec<VolumeQuota> {
    let mut quotas = Vec::new();
    for volume in volumes {
        if let Some(bytes) = volume.quota {
            quotas.push(one(launchers, volume, bytes.get()).await);
        }
    }
    quotas
}

async fn one(launchers: &Launchers, volume: &VolumeGrant, bytes: u64) -> VolumeQuota {
    let folder = volume.source.display().to_string();
    let shown = folder.clone();
    let facts = match launchers.idlest() {
        Some(launcher) => {
            let asked = launcher.ask("quota", move |service| service.quota(&folder, bytes));
            asked.await.map_err(|error| lakekeep_sandbox::chain(&error))
        }
        None => Err("no launcher".to_owned()),
    };
    let (used, missing) = match facts {
        Ok(QuotaFacts::Enforced { used, .. }) => (used, None),
        Ok(QuotaFacts::Missing(obstacle)) => (0, Some(why(obstacle, &shown))),
        Err(why) => (0, Some(why)),
    };
    VolumeQuota {
        volume: volume.name.clone(),
        bytes,
        used,
        missing,
    }
}

fn why(obstacle: QuotaObstacle, folder: &str) -> String {
    match obstacle {
        QuotaObstacle::NoProjects => {
            "its file system knows no project quotas; put it on ext4 or xfs, mounted with prjquota"
                .to_owned()
        }
        QuotaObstacle::NotEnforcing => {
            "its file system does not enforce project quotas; mount it with prjquota".to_owned()
        }
        QuotaObstacle::OtherProject(project) => format!(
            "its folder is of project {project}, which is not the manager's to bound; set that project's limit by hand"
        ),
        QuotaObstacle::HoldsFiles(project) => format!(
            "it held files before it had a quota; count them: chattr -R +P -p {project} {folder}"
        ),
        QuotaObstacle::Unprivileged => {
            "only root may bound a volume; run the manager's supervisor as root".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_obstacle_tells_what_to_do() {
        for obstacle in [
            QuotaObstacle::NoProjects,
            QuotaObstacle::NotEnforcing,
            QuotaObstacle::OtherProject(7),
            QuotaObstacle::HoldsFiles(8),
            QuotaObstacle::Unprivileged,
        ] {
            assert!(why(obstacle, "/data/v").contains("; "), "{obstacle:?}");
        }
    }
}

//! Rules for quotas.

use crate::document::QuotasDoc;
use crate::fault::Findings;

/// A quota of zero, or a user's above the profile's.
pub(crate) fn contradictions(doc: &QuotasDoc, findings: &mut Findings<'_>) {
    let pairs = doc.amounts().into_iter().zip(doc.per_user.amounts());
    for ((name, whole), (_, each)) in pairs {
        // Zero kernels or waiting requests is a choice; zero of these is nothing.
        let needed = !["kernels", "queued", "disk"].contains(&name);
        for (field, amount) in [
            (format!("quotas.{name}"), whole),
            (format!("quotas.per_user.{name}"), each),
        ] {
            if needed && amount.is_some_and(|amount| amount.get() == 0) {
                findings.add(
                    &field,
                    "0",
                    "a quota of zero leaves nothing to run with",
                    "write more than zero, or leave the field out for the administrator's ceiling",
                );
            }
        }
        if let (Some(whole), Some(each)) = (whole, each)
            && each > whole
        {
            findings.add(
                &format!("quotas.per_user.{name}"),
                each.to_string(),
                format!("above the whole profile's quotas.{name} = {whole}"),
                format!("write at most {whole}, or raise quotas.{name}"),
            );
        }
    }
}

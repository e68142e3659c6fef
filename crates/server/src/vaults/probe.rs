//! Whether a store can hold a vault.

use api::{CheckStatus, CheckView, ProbeStore, ProbeView};
use vault::{Check, StoreLocation, Verdict};

use crate::{failure::Result, site::Site};

/// Tries out a store: that of a vault, by its name, or the one at a URL.
pub(crate) async fn probe(site: &Site, request: ProbeStore) -> Result<ProbeView> {
    let url = match request.store.contains("://") {
        true => request.store,
        false => site.vaults.find(&request.store).await?.url,
    };
    let report = vault::probe(&StoreLocation::parse(&url)?, &site.env).await?;
    Ok(ProbeView {
        url,
        is_fit: report.is_fit(),
        checks: report.checks.iter().map(check).collect(),
        clock_skew_us: report.clock_skew_us,
    })
}

fn check(check: &Check) -> CheckView {
    let (status, detail) = match &check.verdict {
        Verdict::Passed => (CheckStatus::Ok, "as it should be"),
        Verdict::Noted(what) => (CheckStatus::Warning, what.as_str()),
        Verdict::Failed(why) => (CheckStatus::Failed, why.as_str()),
    };
    CheckView {
        name: check.name.to_owned(),
        status,
        detail: detail.to_owned(),
        hint: Some(check.meaning.to_owned()),
    }
}

//! What a guest shows.

use std::{path::Path, time::Duration};

use catalog::KnownVm;

use super::access;
use crate::site::Site;

/// How long a picture may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Keeps a picture of a VM's screen in this file, and says whether there is one. A VM without a screen has none.
pub(crate) async fn keep_screenshot(site: &Site, vm: &KnownVm, file: &Path) -> bool {
    let access = access(vm);
    let taken = tokio::time::timeout(LIMIT, site.hypervisor.screenshot(&access)).await;
    let Ok(Ok(picture)) = taken else { return false };
    let written = std::fs::write(file, picture);
    written.inspect_err(|error| tracing::warn!(%error, "a screenshot could not be kept")).is_ok()
}

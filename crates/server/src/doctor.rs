//! What `doctor` checks: the host, through the hypervisor's adapter, and the site itself.

use api::{CheckStatus, CheckView};
use futures::future;
use hypervisor_qemu::host::{self, HostCheck, Verdict};
use model::ByteCount;

use crate::{drills, failure::Result, groups, peers, replications, site::Site, vaults};

/// Below this, the site's own bookkeeping and the scratch of a small capture are at risk.
const SPACE_WANTED: ByteCount = ByteCount(1 << 30);

/// Runs all checks.
pub(crate) async fn examine(site: &Site) -> Result<Vec<CheckView>> {
    let mut checks: Vec<_> = host::examine(&site.qemu).await.into_iter().map(host_check).collect();
    checks.push(space(site));
    checks.push(files_inside_images(site));
    checks.extend(peers::check(site).await?);
    checks.extend(replications::check(site).await?);
    checks.extend(groups::check(site).await?);
    checks.extend(drills::check(site).await?);
    let known = site.vaults.list().await?;
    checks.extend(future::join_all(known.into_iter().map(|known| vault(site, known))).await);
    Ok(checks)
}

fn host_check(check: HostCheck) -> CheckView {
    CheckView {
        name: check.name.to_owned(),
        status: match check.verdict {
            Verdict::Ok => CheckStatus::Ok,
            Verdict::Warn => CheckStatus::Warning,
            Verdict::Fail => CheckStatus::Failed,
        },
        detail: check.detail,
        hint: check.guidance,
    }
}

/// What reads files inside images: a kernel, and tools for what some images have.
fn files_inside_images(site: &Site) -> CheckView {
    let name = "files inside images".to_owned();
    let (found, missing): (Vec<_>, Vec<_>) = files::capabilities(site.files.config())
        .into_iter()
        .partition(|capability| capability.found.is_some());
    if missing.iter().any(|capability| capability.is_required) {
        let hint = "install a kernel (Debian: apt install linux-image-cloud-amd64)".to_owned();
        let detail = "there is no kernel that could read them".to_owned();
        return CheckView { name, status: CheckStatus::Warning, detail, hint: Some(hint) };
    }
    let mut detail = found.iter().map(|capability| capability.name).collect::<Vec<_>>().join(", ");
    for capability in missing {
        detail.push_str(&format!("; without {} ({})", capability.name, capability.purpose));
    }
    CheckView { name, status: CheckStatus::Ok, detail, hint: None }
}

fn space(site: &Site) -> CheckView {
    let name = "space in the data directory".to_owned();
    let path = site.directory.path();
    match rustix::fs::statvfs(path) {
        Ok(found) => {
            let free = ByteCount(found.f_bavail.saturating_mul(found.f_frsize));
            let enough = free >= SPACE_WANTED;
            CheckView {
                name,
                status: if enough { CheckStatus::Ok } else { CheckStatus::Warning },
                detail: format!("{free} free in {}", path.display()),
                hint: (!enough)
                    .then(|| "free some space: captures keep what the guest overwrites there".to_owned()),
            }
        }
        Err(error) => CheckView {
            name,
            status: CheckStatus::Failed,
            detail: format!("{}: {error}", path.display()),
            hint: None,
        },
    }
}

async fn vault(site: &Site, known: catalog::KnownVault) -> CheckView {
    let view = vaults::glance(site, known).await;
    let (status, detail) = match view.problem {
        Some(problem) => (CheckStatus::Failed, problem),
        None if view.warnings.is_empty() => (CheckStatus::Ok, format!("{} opens", view.url)),
        None => (CheckStatus::Warning, view.warnings.join("; ")),
    };
    CheckView { name: format!("vault {}", view.name), status, detail, hint: None }
}

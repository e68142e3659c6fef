//! Vaults on the wire.

use std::time::Duration;

use api::VaultView;
use catalog::KnownVault;
use model::ByteCount;

use super::Vaults;
use crate::failure::Result;

/// How long a vault may take to tell what it holds before it is shown without.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// The view of a vault. One that does not open is shown with the reason.
pub(crate) async fn view(vaults: &Vaults, known: KnownVault) -> VaultView {
    let contents = match tokio::time::timeout(LOOK_LIMIT, look(vaults, &known)).await {
        Ok(Ok(contents)) => Ok(contents),
        Ok(Err(failure)) => Err(failure.detail().to_owned()),
        Err(_) => Err(format!("the store has not answered for {} s", LOOK_LIMIT.as_secs())),
    };
    let (contents, problem) = match contents {
        Ok(contents) => (Some(contents), None),
        Err(problem) => (None, Some(problem)),
    };
    VaultView {
        id: known.id,
        name: known.name.into(),
        url: known.url,
        problem: problem.or_else(|| contents.as_ref()?.problem.clone()),
        point_count: contents.as_ref().map(|contents| contents.point_count),
        stored_bytes: contents.as_ref().map(|contents| contents.stored_bytes),
        protected_bytes: contents.as_ref().map(|contents| contents.protected_bytes),
    }
}

struct Contents {
    point_count: u64,
    stored_bytes: ByteCount,
    protected_bytes: ByteCount,
    problem: Option<String>,
}

async fn look(vaults: &Vaults, known: &KnownVault) -> Result<Contents> {
    let vault = vaults.open(known).await?;
    let points = vault.points().await?;
    let unreadable = points.unreadable.len();
    Ok(Contents {
        point_count: points.points.len() as u64,
        stored_bytes: vault.stats().await?.stored_bytes(),
        protected_bytes: points.points.iter().map(|point| point.summary.size_bytes()).sum(),
        problem: (unreadable > 0).then(|| {
            format!("{unreadable} recovery points cannot be read; see what is lost with: holdfast vault verify {}", known.name)
        }),
    })
}

//! Copies on the wire.

use std::time::Duration;

use api::{CopyState, CopyView};
use catalog::{KnownCopy, KnownVault};
use vault::{Sequence, StoreLocation};

use crate::{failure::Failure, site::Site};

/// How long a copy may take to tell how far behind it is.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// The copy as the catalog knows it; nobody is asked.
pub(crate) fn glance(site: &Site, known: &KnownVault, copy: KnownCopy) -> CopyView {
    let state = match &copy.failure {
        _ if site.syncs.has(&(known.id, copy.name.clone())) => CopyState::Syncing,
        Some(_) => CopyState::Failing,
        None => CopyState::Unknown,
    };
    CopyView {
        vault: known.name.to_string(),
        name: copy.name.into(),
        url: copy.url,
        state,
        added_at: copy.added_at,
        last_synced_at: copy.last_synced_at,
        points_behind: None,
        behind_since: None,
        problem: copy.failure.map(|failure| failure.problem),
        object_lock: None,
    }
}

/// The copy, and how far it is behind now.
pub(crate) async fn view(site: &Site, known: &KnownVault, copy: KnownCopy) -> CopyView {
    let mut view = glance(site, known, copy);
    let looked = tokio::time::timeout(LOOK_LIMIT, look(site, known, &view)).await;
    let problem = match looked {
        Ok(Ok(lag)) => {
            view.points_behind = Some(lag.points_behind);
            view.behind_since = lag.behind_since;
            view.state = match (view.state, lag.is_behind) {
                (CopyState::Syncing, _) => CopyState::Syncing,
                (_, false) => CopyState::UpToDate,
                (CopyState::Failing, true) => CopyState::Failing,
                (_, true) => CopyState::Behind,
            };
            if !lag.is_behind {
                view.problem = None;
            }
            return view;
        }
        Ok(Err(Unseen::Vault)) => {
            if view.state == CopyState::Failing {
                view.state = CopyState::Unknown;
            }
            view.problem = Some(format!(
                "the vault itself cannot be read; restore from this copy with: holdfast restore vm point:VM/latest \
                 --from-copy {}, or without the server: holdfast rescue --url '{}' list",
                view.name, view.url
            ));
            return view;
        }
        Ok(Err(Unseen::Copy(failure))) => failure.detail().to_owned(),
        Err(_) => format!("the store has not answered for {} s", LOOK_LIMIT.as_secs()),
    };
    if view.state != CopyState::Syncing {
        view.state = CopyState::Failing;
    }
    view.problem.get_or_insert(problem);
    view
}

struct Lag {
    is_behind: bool,
    points_behind: u64,
    behind_since: Option<model::Timestamp>,
}

/// Why it cannot be told how far a copy is.
enum Unseen {
    /// Nobody knows how far the vault is.
    Vault,
    Copy(Failure),
}

async fn look(site: &Site, known: &KnownVault, view: &CopyView) -> std::result::Result<Lag, Unseen> {
    let vault = site.vaults.open(known).await.map_err(|_| Unseen::Vault)?;
    vault.head().await.map_err(|_| Unseen::Vault)?;
    let location = StoreLocation::parse(&view.url).map_err(|error| Unseen::Copy(error.into()))?;
    let status = vault.copy_status(&location).await.map_err(|error| Unseen::Copy(error.into()))?;
    if status.copied == Sequence::default() && view.last_synced_at.is_some() {
        let context = format!("nothing is left of it at {}: its disk or share may not be mounted", view.url);
        return Err(Unseen::Copy(Failure::not_found(context)));
    }
    Ok(Lag {
        is_behind: status.copied != status.head,
        points_behind: status.points_behind,
        behind_since: status.behind_since,
    })
}

//! Copies on the wire.

use std::time::Duration;

use api::{CopyState, CopyView};
use catalog::{KnownCopy, KnownVault};
use vault::StoreLocation;

use crate::{failure::Result, site::Site};

/// How long a copy may take to tell how far behind it is.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// The copy as the catalog knows it; nobody is asked.
pub(crate) fn glance(site: &Site, known: &KnownVault, copy: KnownCopy) -> CopyView {
    let state = match &copy.failure {
        _ if site.syncs.has(known.id, &copy.name) => CopyState::Syncing,
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
    }
}

/// The copy, and how far it is behind now.
pub(crate) async fn view(site: &Site, known: &KnownVault, copy: KnownCopy) -> CopyView {
    let mut view = glance(site, known, copy);
    let looked = tokio::time::timeout(LOOK_LIMIT, look(site, known, &view.url)).await;
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
        Ok(Err(failure)) => failure.detail().to_owned(),
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

async fn look(site: &Site, known: &KnownVault, url: &str) -> Result<Lag> {
    let location = StoreLocation::parse(url)?;
    let status = site.vaults.open(known).await?.copy_status(&location).await?;
    Ok(Lag {
        is_behind: status.copied != status.head,
        points_behind: status.points_behind,
        behind_since: status.behind_since,
    })
}

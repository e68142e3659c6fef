//! Vaults on the wire.

use std::time::Duration;

use api::{Code, CopyState, CopyView, SettingsView, VaultView};
use catalog::KnownVault;
use futures::future;
use model::{ByteCount, Immutability};

use crate::{
    copies,
    failure::{Failure, Result},
    object_locks,
    site::Site,
};

/// How long a vault may take to tell what it holds before it is shown without.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// The view of a vault, and how far its copies are behind. A vault that does not open is shown with the reason.
pub(crate) async fn view(site: &Site, known: KnownVault) -> VaultView {
    let known_copies = site.catalog.copies_of(known.id).await.unwrap_or_default();
    let copies = future::join_all(known_copies.into_iter().map(|copy| copies::view(site, &known, copy)));
    let (mut view, copies) = future::join(glance_inside(site, known.clone()), copies).await;
    view.warnings =
        copies.iter().filter_map(|copy| failure_warning(copy).or_else(|| lag_warning(copy))).collect();
    view.copies = copies;
    with_object_locks(site, &known, view)
}

/// The view of a vault whose copies are not asked.
pub(crate) async fn glance(site: &Site, known: KnownVault) -> VaultView {
    let view = glance_inside(site, known.clone()).await;
    with_object_locks(site, &known, view)
}

/// The view, and how stores lock the vault and its copies where it is immutable.
fn with_object_locks(site: &Site, known: &KnownVault, mut view: VaultView) -> VaultView {
    if view.settings.is_none_or(|settings| settings.immutability == Immutability::Disabled) {
        return view;
    }
    let lock = object_locks::view(site, known, None, &known.url);
    view.warnings.extend(lock.problem.clone());
    view.object_lock = Some(lock);
    for copy in &mut view.copies {
        let lock = object_locks::view(site, known, copy.name.parse().ok().as_ref(), &copy.url);
        view.warnings
            .extend(lock.problem.as_ref().map(|problem| format!("the copy {}: {problem}", copy.name)));
        copy.object_lock = Some(lock);
    }
    view
}

async fn glance_inside(site: &Site, known: KnownVault) -> VaultView {
    let contents = match tokio::time::timeout(LOOK_LIMIT, look(site, &known)).await {
        Ok(Ok(contents)) => Ok(contents),
        Ok(Err(failure)) => Err(told(site, &known, &failure).await),
        Err(_) => Err(format!("the store has not answered for {} s", LOOK_LIMIT.as_secs())),
    };
    let (contents, problem) = match contents {
        Ok(contents) => (Some(contents), None),
        Err(problem) => (None, Some(problem)),
    };
    let known_copies = site.catalog.copies_of(known.id).await.unwrap_or_default();
    let copies: Vec<_> = known_copies.into_iter().map(|copy| copies::glance(site, &known, copy)).collect();
    VaultView {
        id: known.id,
        name: known.name.into(),
        url: known.url,
        problem: problem.or_else(|| contents.as_ref()?.problem.clone()),
        point_count: contents.as_ref().map(|contents| contents.point_count),
        stored_bytes: contents.as_ref().map(|contents| contents.stored_bytes),
        protected_bytes: contents.as_ref().map(|contents| contents.protected_bytes),
        can_read: contents.as_ref().map(|contents| contents.can_read),
        settings: contents.as_ref().map(|contents| contents.settings),
        object_lock: None,
        warnings: copies.iter().filter_map(failure_warning).collect(),
        copies,
    }
}

/// Why a vault cannot be looked at, and what to do about it.
async fn told(site: &Site, known: &KnownVault, failure: &Failure) -> String {
    let hint = match failure.code() {
        Code::NotFound | Code::NoVault => Some(site.vaults.hint_where_lost(known).await),
        _ => failure.hint().map(str::to_owned),
    };
    let detail = failure.detail();
    hint.map_or_else(|| detail.to_owned(), |hint| format!("{detail}; {hint}"))
}

fn failure_warning(copy: &CopyView) -> Option<String> {
    let problem = copy.problem.as_ref().filter(|_| copy.state == CopyState::Failing)?;
    Some(format!("the copy {} is not up to date: {problem}", copy.name))
}

fn lag_warning(copy: &CopyView) -> Option<String> {
    let behind = copy.points_behind.filter(|points| *points > 0)?;
    Some(format!("the copy {} lacks {behind} recovery points", copy.name))
}

struct Contents {
    point_count: u64,
    stored_bytes: ByteCount,
    protected_bytes: ByteCount,
    can_read: bool,
    settings: SettingsView,
    problem: Option<String>,
}

async fn look(site: &Site, known: &KnownVault) -> Result<Contents> {
    let vault = site.vaults.open_own(known).await?;
    let points = vault.points().await?;
    let unreadable = points.unreadable.len();
    Ok(Contents {
        point_count: points.points.len() as u64,
        stored_bytes: vault.stats().await?.stored_bytes(),
        protected_bytes: points.points.iter().map(|point| point.summary.size_bytes()).sum(),
        can_read: vault.can_read_data(),
        settings: vault.settings().await?.into(),
        problem: (unreadable > 0).then(|| {
            format!("{unreadable} recovery points cannot be read; see what is lost with: holdfast vault verify {}", known.name)
        }),
    })
}

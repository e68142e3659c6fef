//! Immutable vaults and their copies, retained by their stores: looked after when something came to them, when their promises
//! change, when the server starts, and every hour. Nobody waits for it, and a failure fails nothing: it warns, and the next
//! occasion tries again.

mod view;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use catalog::{KnownCopy, KnownVault};
use model::{CopyName, VaultId};
use tokio::time::MissedTickBehavior;
use vault::{Monitor, Retained, Retentions, StoreLocation};

pub(crate) use self::view::view;
use crate::{failure::Result, site::Site, turns::Turns};

/// How often all places are looked after, whatever happens.
const WATCH_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// A vault, or a copy of it.
type Place = (VaultId, Option<CopyName>);

/// How the stores of immutable vaults retain them.
#[derive(Debug, Default)]
pub(crate) struct ObjectLocks {
    turns: Arc<Turns<Place>>,
    /// How it went last.
    outcomes: Mutex<BTreeMap<Place, Outcome>>,
}

/// How a place was last looked after: how it is retained, or none where it is not; or why that is not known.
type Outcome = std::result::Result<Option<Retained>, String>;

impl ObjectLocks {
    fn outcome(&self, place: &Place) -> Option<Outcome> {
        self.lock().get(place).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Outcome>> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks after a vault, or a copy of it, in the background.
pub(crate) fn renew(site: &Site, known: &KnownVault, copy: Option<&KnownCopy>) {
    if !can_retain(copy.map_or(&known.url, |copy| &copy.url)) {
        return;
    }
    let place = (known.id, copy.map(|copy| copy.name.clone()));
    let Some(mut turn) = site.object_locks.turns.take(&place) else { return };
    let (site, known, copy) = (site.clone(), known.clone(), copy.cloned());
    tokio::spawn(async move {
        loop {
            let outcome = run(&site, &known, copy.as_ref()).await;
            if site.stopping.is_cancelled() {
                return;
            }
            if let Err(failure) = &outcome {
                let (vault, copy) = (&known.name, place.1.as_ref().map(CopyName::as_str));
                tracing::warn!(%vault, copy, reason = failure.detail(), "a store could not be told to retain a vault");
            }
            let outcome = outcome.map_err(|failure| failure.detail().to_owned());
            site.object_locks.lock().insert(place.clone(), outcome);
            match turn.end() {
                Some(again) => turn = again,
                None => return,
            }
        }
    });
}

/// Looks after a vault and all of its copies.
pub(crate) async fn renew_all_of(site: &Site, known: &KnownVault) {
    renew(site, known, None);
    match site.catalog.copies_of(known.id).await {
        Ok(copies) => copies.iter().for_each(|copy| renew(site, known, Some(copy))),
        Err(error) => tracing::warn!(%error, "the copies of a vault were not looked after"),
    }
}

/// Looks after all vaults now and every hour, until the server stops.
pub(crate) async fn watch(site: &Site) {
    let mut hours = tokio::time::interval(WATCH_INTERVAL);
    hours.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        hours.tick().await;
        match site.vaults.list().await {
            Ok(vaults) => {
                for known in vaults {
                    renew_all_of(site, &known).await;
                }
            }
            Err(failure) => tracing::warn!(reason = failure.detail(), "vaults were not looked after"),
        }
    }
}

async fn run(site: &Site, known: &KnownVault, copy: Option<&KnownCopy>) -> Result<Option<Retained>> {
    let vault = site.vaults.open(known).await?;
    let path = memory(site, known, copy);
    let mut retentions = load(&path);
    let monitor = Monitor::new(site.stopping.clone(), Arc::new(|_, _| {}));
    let location = copy.map(|copy| StoreLocation::parse(&copy.url)).transpose()?;
    let retained = match &location {
        None => vault.retain(&mut retentions, &monitor).await,
        Some(location) => vault.retain_copy(location, &mut retentions, &monitor).await,
    };
    // Also what was asked for before a failure.
    if retentions != Retentions::default()
        && let Err(error) = save(&path, &retentions.encode())
    {
        tracing::warn!(path = %path.display(), %error, "what a store was asked for could not be kept; it is asked again");
    }
    match (retained?, &location) {
        // What a copy does not have yet is on its way.
        (Some(found), Some(location)) if found.missing > 0 && !is_in_step(&vault, location).await? => {
            Ok(Some(Retained { missing: 0, ..found }))
        }
        (retained, _) => Ok(retained),
    }
}

async fn is_in_step(vault: &vault::Vault, location: &StoreLocation) -> Result<bool> {
    let status = vault.copy_status(location).await?;
    Ok(status.copied == status.head)
}

/// Whether there is Object Lock for such a place at all.
fn can_retain(url: &str) -> bool {
    url.starts_with("s3:")
}

fn memory(site: &Site, known: &KnownVault, copy: Option<&KnownCopy>) -> PathBuf {
    let name = match copy {
        None => known.id.to_string(),
        Some(copy) => format!("{}-{}", known.id, copy.name),
    };
    site.directory.retentions().join(name)
}

/// What was asked for before; nothing where that is lost.
fn load(path: &Path) -> Retentions {
    let read = fs::read(path);
    match read {
        Ok(bytes) => Retentions::decode(&bytes).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "a store is asked for everything again");
            Retentions::default()
        }),
        Err(_) => Retentions::default(),
    }
}

fn save(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let partial = path.with_extension("partial");
    fs::write(&partial, bytes)?;
    fs::rename(&partial, path)
}

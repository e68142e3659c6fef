//! Looks at the tap, at how far the other site is, and keeps what is measured.

use std::{sync::Arc, time::Duration};

use model::VmId;
use replication::{End, Event, Standing};
use tap::{ErrorKind, TapStatus};

use super::{checkpoints, tasks::Shared};

/// How often it is looked: as often as the tap marks moments, so that what is known of them is not older.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How often what is measured is kept in the catalog.
const KEEP_INTERVAL: Duration = Duration::from_secs(60);

/// A journal that is fuller was full when the tap gave up, in per cent of its share.
const FULL_PERCENT: u64 = 95;

/// In a journal that is emptier there is room, in per cent of its share.
const ROOM_PERCENT: u64 = 70;

/// Looks until the replication is kept no more.
pub(super) async fn run(shared: Arc<Shared>) {
    let interval = LOOK_INTERVAL.min(shared.site.look_interval);
    let mut kept_at = shared.now();
    let mut application = checkpoints::Schedule::new(&shared);
    loop {
        look(&shared).await;
        application.look(&shared).await;
        let now = shared.now();
        shared.figures().note_time(now, shared.site.env.clock.now());
        if now.saturating_sub(kept_at) >= KEEP_INTERVAL {
            kept_at = now;
            keep_figures(&shared).await;
        }
        tokio::time::sleep(interval).await;
    }
}

/// Keeps what is measured.
pub(super) async fn keep_figures(shared: &Shared) {
    let (durable_at, rpo) = {
        let figures = shared.figures();
        (figures.durable_at, serde_json::to_string(&figures.rpo).unwrap_or_default())
    };
    if let Err(error) = shared.site.catalog.set_replication_figures(shared.vm_id(), durable_at, &rpo).await {
        tracing::warn!(vm = %shared.vm_id(), %error, "how a replication went could not be kept");
    }
}

async fn look(shared: &Shared) {
    let client = shared.tap.borrow().clone();
    let Some(client) = client else { return };
    match client.status().await {
        Ok(status) => {
            let percent = {
                let mut figures = shared.figures();
                figures.note_tap(status, shared.now());
                figures.journal_percent()
            };
            if percent < ROOM_PERCENT {
                shared.tell(Event::Room);
            }
        }
        Err(error) if error.kind() == ErrorKind::Gone => {
            tracing::debug!(vm = %shared.vm_id(), %error, "there is no tap");
            shared.lose_tap(&client);
        }
        Err(error) => tracing::warn!(vm = %shared.vm_id(), %error, "the tap does not answer"),
    }
}

/// Why the tap let a guest go on without it, if it did.
pub(super) fn break_of(status: &TapStatus) -> Option<End> {
    let taken_bytes = u128::from(status.usage.disk_bytes + status.usage.memory_bytes);
    let percent = taken_bytes * 100 / u128::from(status.disk_limit_bytes.max(1));
    let broken = status.broken.as_ref()?;
    Some(match percent >= u128::from(FULL_PERCENT) {
        true => End::JournalFull,
        false => End::Broken(broken.reason.clone()),
    })
}

/// What the tap knows of writes that have passed it by since an epoch began, if it knows of any.
pub(super) fn missed_since(status: &TapStatus, vm_id: VmId, epoch: tap::Epoch) -> Option<End> {
    let mut disks = status.disks.iter().filter(|disk| disk.vm_id == vm_id);
    disks.any(|disk| disk.epoch != epoch).then(|| {
        let told = break_of(status);
        told.unwrap_or_else(|| End::Broken("a connection to the tap has ended".to_owned()))
    })
}

/// Whether every write is taken now.
pub(super) fn is_whole(shared: &Shared) -> bool {
    shared.figures().standing == Standing::Protected
}

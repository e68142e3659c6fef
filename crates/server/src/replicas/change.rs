//! What the operator changes of a replica.

use api::shell_word;
use catalog::KnownReplica;
use model::JournalId;
use peer::replicas::{RETENTION_MAX_SECONDS, RETENTION_MIN_SECONDS};
use recovery::{Action, Event, Step, step};

use super::{find, groups, replaced, upkeep::reads};
use crate::{
    dependents::Owner,
    failure::{Failure, Result},
    site::Site,
};

/// Puts an event into a replica's state machine. What comes out is durable; what is to be done then is the caller's.
pub(crate) async fn put_in(site: &Site, id: JournalId, event: Event) -> Result<(KnownReplica, Vec<Action>)> {
    let kept = site.replicas.get(id)?;
    let _gate = kept.gate.lock().await;
    let mut known = find(site, id.as_str()).await?;
    let Step { standing, actions } = step(&known.standing, event)?;
    known.standing = standing;
    site.catalog.put_replica(&known).await?;
    Ok((known, actions))
}

/// Sets how long moments stay reachable; the source's wish counts no more.
pub(crate) async fn retain(site: &Site, name: &str, retention_seconds: u64) -> Result<KnownReplica> {
    if !(RETENTION_MIN_SECONDS..=RETENTION_MAX_SECONDS).contains(&retention_seconds) {
        return Err(Failure::invalid("moments stay reachable for a minute at least and 30 days at most"));
    }
    let id = find(site, name).await?.journal_id;
    let kept = site.replicas.get(id)?;
    let _gate = kept.gate.lock().await;
    let mut known = find(site, id.as_str()).await?;
    (known.retention_seconds, known.retention_is_set) = (retention_seconds, true);
    site.catalog.put_replica(&known).await?;
    Ok(known)
}

/// Removes a replica that nobody uses, and all that it has. That its VM was failed over stays known.
pub(crate) async fn remove(site: &Site, known: &KnownReplica, dry_run: bool) -> Result<()> {
    let id = known.journal_id;
    let _admission = site.admission.lock().await;
    let kept = site.replicas.get(id)?;
    let _gate = kept.gate.lock().await;
    let known = find(site, id.as_str()).await?;
    let tests = site.catalog.failover_tests().await?;
    let running_tests =
        tests.iter().filter(|test| test.journal_id == id && test.cleaned_up_at.is_none()).count();
    step(&known.standing, Event::Delete { running_tests }).map_err(|refusal| {
        Failure::from(refusal).with_hint(match running_tests {
            0 => format!("commit it first: holdfast failover commit {}", shell_word(known.vm_name.as_str())),
            _ => format!("clean up first: holdfast failover cleanup {}", shell_word(known.vm_name.as_str())),
        })
    })?;
    if let Some(owner) = readers(site, id).await?.first() {
        return Err(owner.needs("a moment of the replica"));
    }
    if dry_run {
        return Ok(());
    }
    // Nobody would know of it any more.
    replaced::discard(site, &known).await?;
    groups::forget(site, id).await?;
    let away = site.replicas.put_away(id)?;
    site.catalog.remove_replica_settings(id).await?;
    site.catalog.remove_replica_points(id, None).await?;
    site.catalog.remove_replica(id).await?;
    site.replicas.forget(id);
    tracing::info!(vm = %known.vm_name, journal = %id, "a replica was deleted");
    site.replicas.discard(away).await
}

/// Who has disks that read from a replica.
pub(super) async fn readers(site: &Site, journal: JournalId) -> Result<Vec<Owner>> {
    let mut owners = Owner::all(&site.catalog).await?;
    owners.retain(|owner| reads(owner, journal));
    Ok(owners)
}

/// Keeps from which moment the VM of a failover is made.
pub(crate) async fn note_moment(site: &Site, id: JournalId, sequence: u64) -> Result<()> {
    let kept = site.replicas.get(id)?;
    let _gate = kept.gate.lock().await;
    let mut known = find(site, id.as_str()).await?;
    known.failed_over_to = Some(sequence);
    site.catalog.put_replica(&known).await?;
    Ok(())
}

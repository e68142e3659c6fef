//! Policies are created, changed and forgotten.

use api::{CreatePolicy, EditPolicy, KeepRules, shell_word};
use catalog::KnownPolicy;
use model::{PolicyName, RunKind, Timestamp};
use policy::{Retention, Schedule, Zone};

use crate::{
    failure::{Failure, Result},
    site::Site,
};

/// How long a policy that was made to keep less deletes nothing, unless it says otherwise.
const GRACE_DEFAULT_HOURS: u32 = 24;

/// More than a year of grace is a mistake.
const GRACE_HOURS_MAX: u32 = 366 * 24;

/// More than a day of jitter is a mistake.
const JITTER_SECONDS_MAX: u32 = 86_400;

/// Creates a policy.
pub(crate) async fn create(site: &Site, request: CreatePolicy) -> Result<KnownPolicy> {
    let name: PolicyName =
        request.name.parse().map_err(|error| Failure::invalid(format!("the policy's name: {error}")))?;
    let now = site.env.clock.now();
    let policy = KnownPolicy {
        schedule: schedule(&request.schedule)?,
        zone: request.zone.as_deref().map_or_else(|| Ok(Zone::system()), zone)?,
        scheduled_at: now,
        retention: retention(None, &request.keep),
        shortened_at: now,
        grace_hours: request.grace_hours.unwrap_or(GRACE_DEFAULT_HOURS),
        jitter_seconds: request.jitter_seconds.unwrap_or(0),
        created_at: now,
        name,
    };
    check_limits(&policy)?;
    site.catalog.add_policy(&policy).await?;
    tracing::info!(policy = %policy.name, schedule = %policy.schedule, "a policy was created");
    Ok(policy)
}

/// Changes a policy.
pub(crate) async fn edit(site: &Site, name: &str, request: &EditPolicy) -> Result<KnownPolicy> {
    // Of two changes at once, neither undoes the other.
    let _admission = site.admission.lock().await;
    let policy = changed(&super::find(site, name).await?, request, site.env.clock.now())?;
    site.catalog.set_policy(&policy).await?;
    tracing::info!(policy = %policy.name, schedule = %policy.schedule, "a policy was changed");
    Ok(policy)
}

/// Forgets a policy that nothing follows.
pub(crate) async fn remove(site: &Site, policy: &KnownPolicy) -> Result<()> {
    let followers = super::view::followers(site, policy).await?;
    if let Some(first) = followers.first() {
        let words = followers.iter().map(|it| format!("the {}s of {}", it.kind, it.vm));
        let words = words.collect::<Vec<_>>().join(", ");
        let vm = shell_word(&first.vm);
        return Err(Failure::conflict(format!("the policy {} is followed by {words}", policy.name)).with_hint(
            match first.kind {
                RunKind::Backup => {
                    format!("protect them by another policy, or by none, first: holdfast protect {vm} --vault VAULT")
                }
                RunKind::Snapshot => {
                    format!("end that first: holdfast snapshot unschedule {vm}")
                }
            },
        ));
    }
    site.catalog.remove_policy(&policy.name).await?;
    tracing::info!(policy = %policy.name, "a policy was forgotten");
    Ok(())
}

/// The policy with these changes. What makes it keep less begins its time of grace.
pub(super) fn changed(policy: &KnownPolicy, request: &EditPolicy, now: Timestamp) -> Result<KnownPolicy> {
    let mut new = KnownPolicy {
        schedule: request.schedule.as_deref().map_or_else(|| Ok(policy.schedule.clone()), schedule)?,
        zone: request.zone.as_deref().map_or_else(|| Ok(policy.zone.clone()), zone)?,
        retention: retention(policy.retention, &request.keep),
        grace_hours: request.grace_hours.unwrap_or(policy.grace_hours),
        jitter_seconds: request.jitter_seconds.unwrap_or(policy.jitter_seconds),
        ..policy.clone()
    };
    check_limits(&new)?;
    if (&new.schedule, &new.zone, new.jitter_seconds)
        != (&policy.schedule, &policy.zone, policy.jitter_seconds)
    {
        new.scheduled_at = now;
    }
    if is_shorter(policy, &new) {
        new.shortened_at = now;
    }
    Ok(new)
}

/// Whether the new rules may delete what the old ones keep. In another zone, days begin at other moments.
fn is_shorter(old: &KnownPolicy, new: &KnownPolicy) -> bool {
    match (&old.retention, &new.retention) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(earlier), Some(later)) => old.zone != new.zone || !later.covers(earlier),
    }
}

/// The rules with these changes; none where no rule is left.
fn retention(earlier: Option<Retention>, keep: &KeepRules) -> Option<Retention> {
    let earlier = earlier.unwrap_or_default();
    let retention = Retention {
        last: keep.last.unwrap_or(earlier.last),
        hourly: keep.hourly.unwrap_or(earlier.hourly),
        daily: keep.daily.unwrap_or(earlier.daily),
        weekly: keep.weekly.unwrap_or(earlier.weekly),
        monthly: keep.monthly.unwrap_or(earlier.monthly),
        yearly: keep.yearly.unwrap_or(earlier.yearly),
        within_hours: keep.within_hours.unwrap_or(earlier.within_hours),
    };
    (!retention.is_empty()).then_some(retention)
}

fn check_limits(policy: &KnownPolicy) -> Result<()> {
    if policy.jitter_seconds > JITTER_SECONDS_MAX {
        return Err(Failure::invalid("runs are spread over 24 h at most"));
    }
    if policy.grace_hours > GRACE_HOURS_MAX {
        return Err(Failure::invalid("the time of grace is 366 days at most"));
    }
    Ok(())
}

fn schedule(text: &str) -> Result<Schedule> {
    text.parse().map_err(|error| Failure::invalid(format!("{error}")))
}

fn zone(text: &str) -> Result<Zone> {
    text.parse().map_err(|error| Failure::invalid(format!("{error}")))
}

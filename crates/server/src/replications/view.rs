//! Replications as the API shows them.

use std::{fmt::Write as _, sync::PoisonError};

use api::{
    CheckStatus, CheckView, HealthReasonView, ReplicationHealth, ReplicationState, ReplicationView,
    shell_word,
};
use catalog::{KnownReplication, KnownVm};
use replication::{Health, LinkState, Reason, Standing, health, seconds_to_in_sync};

use super::{
    figures::{Figures, Seeding},
    find, interval,
};
use crate::{failure::Result, groups, site::Site};

/// A link that is down for less changes nothing in how it stands.
const LINK_PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// All replications, by VM.
pub(crate) async fn list(site: &Site) -> Result<Vec<ReplicationView>> {
    let (mut views, groups) = (Vec::new(), site.catalog.groups().await?);
    for known in site.catalog.replications().await? {
        let Some(vm) = site.catalog.vm(known.vm_id.as_str()).await? else { continue };
        let group = groups.iter().find(|group| group.members.contains(&vm.id));
        let group = group.map(|group| group.name.to_string());
        views.push(ReplicationView { group, ..show(site, &vm, &known) });
    }
    views.sort_by(|one, other| one.vm.cmp(&other.vm));
    Ok(views)
}

/// The replication of a VM.
pub(crate) async fn view(site: &Site, vm: &KnownVm) -> Result<ReplicationView> {
    let known = find(site, vm).await?;
    let group = groups::of_vm(site, vm.id).await?.map(|group| group.name.to_string());
    Ok(ReplicationView { group, ..show(site, vm, &known) })
}

fn show(site: &Site, vm: &KnownVm, known: &KnownReplication) -> ReplicationView {
    let shown = site.replications.with(vm.id, |handle| {
        let figures = handle.figures.lock().unwrap_or_else(PoisonError::into_inner);
        show_figures(site, vm, known, &figures)
    });
    shown.unwrap_or_else(|| {
        show_figures(site, vm, known, &Figures::new(known, standing_unkept(known), site.env.clock.now()))
    })
}

/// How a replication stands that nobody keeps: the server is about to begin, or to stop.
pub(super) fn standing_unkept(known: &KnownReplication) -> Standing {
    match (&known.fenced, known.is_paused) {
        (Some(why), _) => Standing::Fenced(why.clone()),
        (None, true) => Standing::Paused,
        (None, false) => Standing::Starting,
    }
}

fn show_figures(site: &Site, vm: &KnownVm, known: &KnownReplication, figures: &Figures) -> ReplicationView {
    let now = site.env.clock.now();
    let (health, mut reasons) = health(&figures.facts(interval::mode(&known.settings), now));
    let mut health = health;
    if let Some(problem) = &figures.application_problem {
        let guidance = "look at the guest's agent, and at its hooks".to_owned();
        let what = format!("the last checkpoint for applications failed: {problem}");
        reasons.push(Reason { health: Health::Warning, what, guidance });
        health = health.max(Health::Warning);
    }
    let (state, why) = match known.ends_with_replica {
        None => state(figures, now),
        Some(_) => (ReplicationState::Paused, Some("it is being ended".to_owned())),
    };
    let copies = matches!(state, ReplicationState::Copying | ReplicationState::Resyncing);
    let total_bytes = figures.copy.total_bytes.load(std::sync::atomic::Ordering::Relaxed);
    let (written, sent) = (figures.written.per_second(), figures.sent.per_second());
    let to_copy_bytes = if copies { figures.to_copy_bytes() } else { 0 };
    let settings = &known.settings;
    ReplicationView {
        vm: vm.name.to_string(),
        site: known.peer_name.to_string(),
        group: None,
        journal_id: known.journal_id,
        state,
        why,
        since: figures.since,
        copied_bytes: copies.then(|| total_bytes - figures.to_copy_bytes().min(total_bytes)),
        to_copy_bytes: copies.then_some(total_bytes),
        had_bytes: figures.copy.had_bytes.load(std::sync::atomic::Ordering::Relaxed),
        sent_bytes: figures.sent_bytes,
        seed: figures.seed.clone(),
        seed_problem: figures.seed_problem.clone(),
        health: of(health),
        reasons: reasons.into_iter().map(reason).collect(),
        rpo_seconds: figures.rpo_seconds(now),
        rpo_p99_seconds: figures.rpo.p99_seconds(now),
        newest_checkpoint_at: figures.durable_at,
        reaches_back_to: figures.progress.and_then(|progress| progress.reaches_back_to),
        lag_bytes: figures.lag_bytes(),
        lag_seconds: figures.lag_seconds(now),
        journal_bytes: figures.tap.as_ref().map_or(0, |tap| tap.usage.disk_bytes),
        journal_size_bytes: settings.journal_size_bytes.0,
        replica_bytes: figures.progress.map_or(0, |progress| progress.size_bytes),
        write_bytes_per_second: written,
        link_bytes_per_second: sent,
        in_sync_in_seconds: seconds_to_in_sync(figures.lag_bytes() + to_copy_bytes, sent, written),
        breaks: figures.breaks,
        retention_hours: settings.retention_hours,
        interval_seconds: settings.interval_seconds,
        application_every_seconds: settings.application_every_seconds,
        application_checkpoint_at: figures.application_at,
        rate_limit_bytes_per_second: settings.rate_limit_bytes_per_second.map(|rate| rate.0),
        rate_windows: settings.rate_windows.clone(),
        generation: known.generation,
        created_at: known.created_at,
    }
}

/// How it stands: what is taken and not sent protects as little as what is not taken.
fn state(figures: &Figures, now: model::Timestamp) -> (ReplicationState, Option<String>) {
    let state = match &figures.standing {
        Standing::Starting => ReplicationState::Starting,
        Standing::Copying => return (ReplicationState::Copying, figures.seeding.as_ref().map(seeding)),
        Standing::Resyncing => ReplicationState::Resyncing,
        Standing::Paused => ReplicationState::Paused,
        Standing::VmStopped => ReplicationState::VmStopped,
        Standing::Degraded(why) => return (ReplicationState::Degraded, Some(why.clone())),
        Standing::Fenced(why) => return (ReplicationState::Fenced, Some(why.clone())),
        Standing::Protected => match figures.link(now) {
            LinkState::Down { why, lasting } if lasting >= LINK_PATIENCE => {
                return (ReplicationState::Degraded, Some(format!("the other site is not reached: {why}")));
            }
            LinkState::Refuses(why) => return (ReplicationState::Degraded, Some(why)),
            LinkState::Up | LinkState::Down { .. } => ReplicationState::Protected,
        },
    };
    (state, None)
}

fn seeding(seeding: &Seeding) -> String {
    let Seeding { from, done_bytes, total_bytes } = seeding;
    let percent = u128::from(*done_bytes) * 100 / u128::from(*total_bytes).max(1);
    format!("the other site begins with {from}: {percent} % of that is done")
}

fn of(health: Health) -> ReplicationHealth {
    match health {
        Health::Ok => ReplicationHealth::Ok,
        Health::Warning => ReplicationHealth::Warning,
        Health::Critical => ReplicationHealth::Critical,
    }
}

fn reason(reason: Reason) -> HealthReasonView {
    HealthReasonView { health: of(reason.health), what: reason.what, guidance: reason.guidance }
}

/// What `doctor` says of each replication.
pub(crate) async fn check(site: &Site) -> Result<Vec<CheckView>> {
    let checks = list(site).await?.into_iter().map(|view| {
        let rpo = view.rpo_seconds.map(|rpo| format!(", RPO {rpo:.1} s")).unwrap_or_default();
        let told = view.reasons.first().map(|reason| reason.what.clone());
        CheckView {
            name: format!("replication of {}", view.vm),
            status: match view.health {
                ReplicationHealth::Ok => CheckStatus::Ok,
                ReplicationHealth::Warning => CheckStatus::Warning,
                ReplicationHealth::Critical => CheckStatus::Failed,
            },
            detail: told.unwrap_or_else(|| format!("to {}{rpo}", view.site)),
            hint: view.reasons.first().map(|reason| {
                let status = format!("holdfast replication status {}", shell_word(&view.vm));
                format!("{}; see {status}", reason.guidance)
            }),
        }
    });
    Ok(checks.collect())
}

/// All replications in the text format of Prometheus.
pub(crate) async fn metrics(site: &Site) -> Result<String> {
    type Figure = (&'static str, &'static str, fn(&ReplicationView) -> Option<f64>);
    const FIGURES: [Figure; 10] = [
        ("rpo_seconds", "Age of the newest checkpoint that the other site durably has.", |view| {
            view.rpo_seconds
        }),
        ("rpo_p99_seconds", "What that did not exceed in 99 of 100 looks of the last day.", |view| {
            view.rpo_p99_seconds
        }),
        ("lag_bytes", "Bytes that were taken and that the other site lacks.", |view| {
            Some(view.lag_bytes as f64)
        }),
        ("journal_bytes", "Bytes of the journal here.", |view| Some(view.journal_bytes as f64)),
        ("journal_size_bytes", "The journal's share of the disk.", |view| {
            Some(view.journal_size_bytes as f64)
        }),
        ("replica_bytes", "Bytes of the replica at the other site.", |view| Some(view.replica_bytes as f64)),
        ("write_bytes_per_second", "What the guest writes.", |view| Some(view.write_bytes_per_second as f64)),
        ("link_bytes_per_second", "What is sent.", |view| Some(view.link_bytes_per_second as f64)),
        ("breaks_total", "How often writes were missed since the server started.", |view| {
            Some(view.breaks as f64)
        }),
        ("health", "0 ok, 1 warning, 2 critical.", |view| Some(f64::from(view.health as u8))),
    ];
    let views = list(site).await?;
    let mut text = String::new();
    for (name, help, figure) in FIGURES {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        let name = format!("holdfast_replication_{name}");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for view in &views {
            let Some(value) = figure(view) else { continue };
            let (vm, site) = (label(&view.vm), label(&view.site));
            let _ = writeln!(text, "{name}{{vm=\"{vm}\",site=\"{site}\"}} {value}");
        }
    }
    Ok(text)
}

fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

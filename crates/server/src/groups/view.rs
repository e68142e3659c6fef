//! Groups as the API shows them.

use std::{fmt::Write as _, time::Duration};

use api::{
    CheckStatus, CheckView, ReplicationGroupMemberView, ReplicationGroupState, ReplicationGroupView,
    SharedCheckpointView, shell_word,
};
use catalog::KnownGroup;
use model::Timestamp;

use super::{figures::Numbered, members};
use crate::{failure::Result, replications, site::Site};

/// Where the newest shared checkpoint that the other site has is older than this, and than a few of them, somebody should look.
const RPO_WARNING: Duration = Duration::from_secs(60);
const INTERVALS_WARNING: u32 = 5;

/// All groups, by name.
pub(crate) async fn list(site: &Site) -> Result<Vec<ReplicationGroupView>> {
    let mut views = Vec::new();
    for group in site.catalog.groups().await? {
        views.push(view(site, &group).await?);
    }
    Ok(views)
}

/// A group, and how it stands now.
pub(crate) async fn view(site: &Site, group: &KnownGroup) -> Result<ReplicationGroupView> {
    let mut member_views = Vec::with_capacity(group.members.len());
    for vm in members(site, group).await? {
        let shown = replications::view(site, &vm).await?;
        member_views.push(ReplicationGroupMemberView { vm: shown.vm, state: shown.state, why: shown.why });
    }
    let now = site.env.clock.now();
    let kept = site.groups.kept(group.id);
    let figures = kept.as_ref().map(|kept| kept.settled(site));
    let figures = figures.as_deref();
    let there = figures.and_then(|figures| figures.newest_there);
    let holds = figures.and_then(super::figures::Figures::holds);
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let trouble = figures.and_then(|figures| figures.trouble.clone());
    let state = match (&trouble, there) {
        (Some(_), _) => ReplicationGroupState::Degraded,
        (None, None) => ReplicationGroupState::Starting,
        (None, Some(_)) => ReplicationGroupState::Consistent,
    };
    Ok(ReplicationGroupView {
        id: group.id,
        name: group.name.to_string(),
        site: group.peer_name.to_string(),
        members: member_views,
        every_ms: group.every_ms,
        state,
        why: trouble,
        shared_rpo_seconds: there.map(|there| age(there.at, now).as_secs_f64()),
        newest_there: there.map(shown),
        newest: figures.and_then(|figures| figures.newest).map(shown),
        made: figures.map_or(0, |figures| figures.made),
        missed: figures.map_or(0, |figures| figures.missed),
        last_missed_at: figures.and_then(|figures| figures.last_missed.as_ref()).map(|(at, _)| *at),
        last_missed_because: figures
            .and_then(|figures| figures.last_missed.as_ref())
            .map(|(_, why)| why.clone()),
        held_p50_us: holds.map(|holds| micros(holds.p50)),
        held_p99_us: holds.map(|holds| micros(holds.p99)),
        held_longest_us: holds.map(|holds| micros(holds.longest)),
        created_at: group.created_at,
    })
}

fn shown(checkpoint: Numbered) -> SharedCheckpointView {
    SharedCheckpointView { number: checkpoint.number, time: checkpoint.at }
}

fn age(at: Timestamp, now: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(now.microseconds_since(at)).unwrap_or(0))
}

/// What `doctor` says of each group.
pub(crate) async fn check(site: &Site) -> Result<Vec<CheckView>> {
    let checks = list(site).await?.into_iter().map(|view| {
        let limit = RPO_WARNING.max(Duration::from_millis(view.every_ms.into()) * INTERVALS_WARNING);
        let is_late = view.shared_rpo_seconds.is_none_or(|rpo| rpo > limit.as_secs_f64());
        let (status, detail) = match (&view.why, is_late, view.shared_rpo_seconds) {
            (Some(why), ..) => (CheckStatus::Warning, format!("no shared checkpoint is made: {why}")),
            (None, true, _) => {
                (CheckStatus::Warning, "the other site has no recent shared checkpoint".to_owned())
            }
            (None, false, rpo) => {
                let rpo = rpo.map(|rpo| format!(", RPO {rpo:.1} s")).unwrap_or_default();
                (CheckStatus::Ok, format!("to {}{rpo}", view.site))
            }
        };
        let show = format!("see holdfast replication group show {}", shell_word(&view.name));
        CheckView {
            name: format!("consistency group {}", view.name),
            status,
            detail,
            hint: (status != CheckStatus::Ok).then_some(show),
        }
    });
    Ok(checks.collect())
}

/// All groups in the text format of Prometheus.
pub(crate) async fn metrics(site: &Site) -> Result<String> {
    type Figure = (&'static str, &'static str, fn(&ReplicationGroupView) -> Option<f64>);
    const FIGURES: [Figure; 5] = [
        ("rpo_seconds", "Age of the newest shared checkpoint that the other site durably has.", |view| {
            view.shared_rpo_seconds
        }),
        ("checkpoints_total", "Shared checkpoints since the server started.", |view| Some(view.made as f64)),
        ("missed_total", "Shared checkpoints that came to nothing since the server started.", |view| {
            Some(view.missed as f64)
        }),
        (
            "held_p99_seconds",
            "What acknowledgements were held for in 99 of 100 shared checkpoints.",
            |view| view.held_p99_us.map(|held| held as f64 / 1e6),
        ),
        ("consistent", "1 where the last shared checkpoint was made.", |view| {
            Some(f64::from(view.state == ReplicationGroupState::Consistent))
        }),
    ];
    let views = list(site).await?;
    let mut text = String::new();
    for (name, help, figure) in FIGURES {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        let name = format!("holdfast_group_{name}");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for view in &views {
            if let Some(value) = figure(view) {
                // Names of groups and sites need no escaping.
                let _ = writeln!(text, "{name}{{group=\"{}\",site=\"{}\"}} {value}", view.name, view.site);
            }
        }
    }
    Ok(text)
}

//! Runbooks of this site that are run for plans of other sites: only those whose document lets other sites have them run.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use api::Code;
use catalog::KnownPeer;
use model::SiteId;
use peer::runbooks::{RUN_NAME_MAX_BYTES, RunbookOrder, RunbookRun};
use plan::{Action, Outcome, RunbookCall, Where};
use runbook::Log;
use tokio_util::sync::CancellationToken;

use super::{elsewhere, filled, find, read};
use crate::{
    actions::{self, Told},
    failure::{Failure, Result},
    site::Site,
};

/// The most runs that are under way for one site, and that are remembered of it.
const UNDER_WAY_MAX: usize = 8;
const REMEMBERED_MAX: usize = 64;

/// How long a run may take at most.
const TIME_LIMIT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// How much of what a run printed is told, in bytes: its end.
const OUTPUT_MAX_BYTES: usize = 32 << 10;

/// The runs for other sites, as long as this server lives.
#[derive(Debug, Default)]
pub(crate) struct RunsForOthers(Mutex<BTreeMap<(SiteId, String), ForOther>>);

#[derive(Debug)]
struct ForOther {
    stop: CancellationToken,
    /// Counts up with each run, so that the oldest is forgotten first.
    place: u64,
    run: RunbookRun,
}

impl RunsForOthers {
    fn runs(&self) -> MutexGuard<'_, BTreeMap<(SiteId, String), ForOther>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, peer: SiteId, name: &str) -> Option<RunbookRun> {
        self.runs().get(&(peer, name.to_owned())).map(|known| known.run.clone())
    }

    /// Keeps that a run begins. Returns whether it has not before.
    fn begin(&self, peer: SiteId, name: &str, stop: &CancellationToken) -> Result<bool> {
        let mut runs = self.runs();
        let key = (peer, name.to_owned());
        if runs.contains_key(&key) {
            return Ok(false);
        }
        let (mut under_way, mut remembered, mut oldest) = (0, 0, None);
        for (key, known) in runs.iter().filter(|((owner, _), _)| *owner == peer) {
            remembered += 1;
            if known.run == RunbookRun::Running {
                under_way += 1;
            } else if oldest.as_ref().is_none_or(|(place, _)| known.place < *place) {
                oldest = Some((known.place, key.clone()));
            }
        }
        if under_way >= UNDER_WAY_MAX {
            let detail = format!("{UNDER_WAY_MAX} runbooks are run for this site already");
            return Err(Failure::conflict(detail).with_hint("try again when one of them has ended"));
        }
        if let Some((_, oldest)) = oldest.filter(|_| remembered >= REMEMBERED_MAX) {
            runs.remove(&oldest);
        }
        let place = runs.values().map(|known| known.place).max().unwrap_or(0) + 1;
        runs.insert(key, ForOther { stop: stop.clone(), place, run: RunbookRun::Running });
        Ok(true)
    }

    fn end(&self, peer: SiteId, name: &str, run: RunbookRun) {
        if let Some(known) = self.runs().get_mut(&(peer, name.to_owned())) {
            known.run = run;
        }
    }
}

/// Begins a run that a peer asks for, unless it was begun.
pub(crate) async fn begin(
    site: &Site,
    peer: &KnownPeer,
    name: &str,
    order: RunbookOrder,
) -> Result<RunbookRun> {
    let is_name = (1..=RUN_NAME_MAX_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !is_name {
        return Err(Failure::invalid("the name of a run is letters, digits and hyphens"));
    }
    if let Some(known) = site.plans.for_others.of(peer.id, name) {
        return Ok(known);
    }
    let known = find(site, &order.runbook).await?;
    // What came from another site was agreed to for plans that are run here.
    if known.origin.is_some() || !read(&known.document)?.other_sites {
        let detail = format!("other sites may not have the runbook {} run there", order.runbook);
        return Err(Failure::new(Code::Denied, detail)
            .with_hint("where they may, it says so at its site: other_sites = true"));
    }
    let call = RunbookCall { name: order.runbook.clone(), parameters: order.parameters, site: Where::Target };
    // What can be wrong with the parameters is said at once.
    filled(site, &call.name, &call.parameters).await?;
    let stop = site.stopping.child_token();
    if !site.plans.for_others.begin(peer.id, name, &stop)? {
        return Ok(RunbookRun::Running);
    }
    tracing::warn!(runbook = order.runbook, peer = %peer.name, run = name, "a runbook is run for another site");
    let told = Told {
        environment: elsewhere::environment(&order.environment),
        context: order.context,
        time_limit: Duration::from_secs(order.time_limit_seconds).min(TIME_LIMIT_MAX),
        guests: BTreeMap::new(),
    };
    let action = Action { runbook: Some(call), ..Action::named(&order.runbook) };
    let (site, peer, name) = (site.clone(), peer.id, name.to_owned());
    tokio::spawn(async move {
        let log = Log::default();
        let outcome = stop.run_until_cancelled(actions::perform(&site, &action, &told, &log)).await;
        site.plans.for_others.end(peer, &name, ended(outcome, &log));
    });
    Ok(RunbookRun::Running)
}

/// What a run has come to; none where it was ended.
fn ended(outcome: Option<Outcome>, log: &Log) -> RunbookRun {
    match outcome {
        Some(Outcome::Succeeded(output)) => RunbookRun::Succeeded {
            exit_code: output.exit_code,
            output: end_of(&output.text),
            variables: output.variables,
        },
        Some(Outcome::Failed { why, output }) => {
            RunbookRun::Failed { why, exit_code: output.exit_code, output: end_of(&output.text) }
        }
        Some(Outcome::Unknown { why }) => RunbookRun::Unknown { why },
        None => RunbookRun::Failed {
            why: "it was ended".to_owned(),
            exit_code: None,
            output: end_of(&log.text()),
        },
    }
}

/// How a run stands that a peer has asked for.
pub(crate) fn state(site: &Site, peer: &KnownPeer, name: &str) -> Result<RunbookRun> {
    site.plans.for_others.of(peer.id, name).ok_or_else(|| {
        let detail =
            "nothing is known of this run at its site: its server has started anew, or it was long ago";
        Failure::new(Code::Overtaken, detail)
    })
}

/// Ends a run that a peer has asked for.
pub(crate) fn end(site: &Site, peer: &KnownPeer, name: &str) {
    if let Some(known) = site.plans.for_others.runs().get(&(peer.id, name.to_owned())) {
        known.stop.cancel();
    }
}

fn end_of(text: &str) -> String {
    let mut start = text.len().saturating_sub(OUTPUT_MAX_BYTES);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text[start..].to_owned()
}

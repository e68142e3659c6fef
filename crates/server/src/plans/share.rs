//! Plans at several sites: each version is sent to those that its VMs come from or go to, until they have said that they keep it.
//!
//! A site keeps what it gets beside what it has; the newest counts, whoever wrote it. What a plan of another site would newly run on this host
//! is run only once somebody here has agreed to it: see [`accept`].

use std::{collections::BTreeSet, time::Duration};

use api::shell_word;
use catalog::{ErrorKind as CatalogErrorKind, KnownPeer, KnownPlan, KnownRunbook, PlanDelivery};
use model::VmName;
use peer::{
    ErrorKind, Patience,
    plans::{KeptPlan, RUNBOOKS_MAX, SharedPlan, SharedRunbook},
};
use plan::{ActionWork, Format, Plan, Where};

use super::edit::{history, read};
use crate::{
    drills,
    failure::{Failure, Result},
    runbooks,
    site::Site,
};

/// How often it is looked whether all sites have what they are to have; also that one which was away answers again.
const INTERVAL: Duration = Duration::from_secs(30);

/// A higher number of a version is a mistake or worse: after the highest that can be written there would be none.
const VERSION_MAX: u64 = 1 << 32;

/// A site takes no more plans in than this, and keeps so many versions of one that others have changed.
const PLANS_MAX: usize = 1000;
const VERSIONS_MAX: usize = 1000;

/// Sends plans until the server stops.
pub(crate) async fn watch(site: Site) {
    loop {
        let rest = async {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = site.plans.changed.notified() => {}
            }
        };
        let round = async {
            if let Err(failure) = deliver(&site).await {
                tracing::warn!(reason = failure.detail(), "plans could not be sent to other sites");
            }
            rest.await;
        };
        if site.stopping.run_until_cancelled(round).await.is_none() {
            return;
        }
    }
}

/// Sends each site what it lacks.
async fn deliver(site: &Site) -> Result<()> {
    let plans = site.catalog.plans().await?;
    if plans.is_empty() {
        return Ok(());
    }
    let deliveries = site.catalog.plan_deliveries().await?;
    for peer in site.catalog.peers().await?.iter().filter(|peer| peer.ended_at.is_none()) {
        for plan in &plans {
            let of_both = |one: &&PlanDelivery| one.plan == plan.name && one.peer_id == peer.id;
            let delivery = deliveries.iter().find(of_both);
            if !is_for(site, plan, peer, delivery).await? {
                continue;
            }
            let shared = shared(site, plan).await?;
            let content = digest(&shared)?;
            if delivery.is_some_and(|delivery| delivery.content == content && delivery.problem.is_none()) {
                continue;
            }
            if !send(site, peer, plan, shared, content, delivery).await? {
                break;
            }
        }
    }
    Ok(())
}

/// Whether a site has to do with the VMs of a plan. One that was forgotten goes to those that have it.
async fn is_for(
    site: &Site,
    plan: &KnownPlan,
    peer: &KnownPeer,
    delivery: Option<&PlanDelivery>,
) -> Result<bool> {
    if plan.is_deleted {
        return Ok(delivery.is_some_and(|delivery| delivery.version > 0));
    }
    if plan.primary_site == peer.id {
        return Ok(true);
    }
    let Ok(document) = read(&plan.text) else { return Ok(false) };
    let vms: BTreeSet<&VmName> = document.vms().map(|vm| &vm.name).collect();
    let replicas = site.catalog.replicas().await?;
    if replicas.iter().any(|replica| replica.peer_id == peer.id && vms.contains(&replica.vm_name)) {
        return Ok(true);
    }
    let own = site.catalog.vms().await?;
    let goes_there = |replication: &catalog::KnownReplication| {
        let vm = own.iter().find(|vm| vm.id == replication.vm_id);
        replication.peer_id == peer.id && vm.is_some_and(|vm| vms.contains(&vm.name))
    };
    Ok(site.catalog.replications().await?.iter().any(goes_there))
}

/// Sends a plan. Returns whether the site answered.
async fn send(
    site: &Site,
    peer: &KnownPeer,
    plan: &KnownPlan,
    shared: SharedPlan,
    content: String,
    before: Option<&PlanDelivery>,
) -> Result<bool> {
    let mut delivery = before.cloned().unwrap_or_else(|| PlanDelivery {
        plan: plan.name.clone(),
        peer_id: peer.id,
        version: 0,
        content: String::new(),
        problem: None,
    });
    let answer = match site.peers.client(peer, Patience::NONE)? {
        Some(client) => client.share_plan(&shared).await.map_err(|error| (error.kind(), error.to_string())),
        None => Err((ErrorKind::Unreachable, "it has no address at which it could be called".to_owned())),
    };
    let is_answered = !matches!(answer, Err((ErrorKind::Unreachable | ErrorKind::Busy, _)));
    match answer {
        Ok(KeptPlan { version }) => {
            tracing::info!(plan = %plan.name, version, peer = %peer.name, "a plan is kept at another site");
            (delivery.version, delivery.content, delivery.problem) = (version, content, None);
        }
        Err((_, why)) => delivery.problem = Some(why),
    }
    if before != Some(&delivery) {
        site.catalog.put_plan_delivery(&delivery).await?;
    }
    Ok(is_answered)
}

/// A plan with the runbooks that it names.
async fn shared(site: &Site, plan: &KnownPlan) -> Result<SharedPlan> {
    let mut shared = SharedPlan {
        name: plan.name.clone(),
        version: plan.version,
        origin: plan.origin.unwrap_or_else(|| site.peers.identity().id()),
        primary_site: plan.primary_site,
        created_at: plan.created_at,
        text: plan.text.clone(),
        format: plan.format.clone(),
        is_deleted: plan.is_deleted,
        runbooks: Vec::new(),
    };
    if let Ok(document) = read(&plan.text) {
        for name in runbook_names(&document).into_iter().take(RUNBOOKS_MAX) {
            if let Some(known) = site.catalog.runbook(name).await? {
                shared.runbooks.push(SharedRunbook { name: known.name, document: known.document });
            }
        }
    }
    Ok(shared)
}

fn runbook_names(document: &Plan) -> BTreeSet<&str> {
    let named = document.actions().filter_map(|(_, action)| match action.work() {
        // What is run at the other site is what that one keeps itself.
        Some(ActionWork::Runbook(call)) if call.site == Where::Target => Some(call.name.as_str()),
        _ => None,
    });
    named.collect()
}

fn digest(shared: &SharedPlan) -> Result<String> {
    let bytes = serde_json::to_vec(shared)
        .map_err(|error| Failure::invalid(format!("a plan cannot be written: {error}")))?;
    Ok(blake3::hash(&bytes).to_hex().to_string())
}

/// Keeps a plan that another site sends.
pub(crate) async fn receive(site: &Site, peer: &KnownPeer, shared: SharedPlan) -> Result<KeptPlan> {
    let own = site.peers.identity().id();
    if shared.primary_site != own && shared.primary_site != peer.id {
        return Err(Failure::invalid("the VMs of the plan are at home at neither of the two sites"));
    }
    if shared.version > VERSION_MAX {
        return Err(Failure::invalid(format!("a plan has at most {VERSION_MAX} versions")));
    }
    let versions = site.catalog.plan_versions(shared.name.as_str()).await?;
    if versions.is_empty() && site.catalog.plans().await?.len() >= PLANS_MAX {
        return Err(Failure::conflict(format!("this site keeps {PLANS_MAX} plans already")));
    }
    let newest = versions.first();
    if let Some(other) = newest.filter(|it| !it.is_deleted && it.primary_site != shared.primary_site) {
        let detail = format!("another plan is called {}, for VMs that are at home elsewhere", other.name);
        return Err(Failure::conflict(detail).with_hint("give one of the two another name"));
    }
    let origin = Some(shared.origin).filter(|origin| *origin != own);
    let is_known = |known: &KnownPlan| known.version == shared.version && known.origin == origin;
    if !versions.iter().any(is_known) {
        keep(site, &shared, origin, &versions).await?;
        tracing::warn!(plan = %shared.name, version = shared.version, peer = %peer.name, "a plan came from another site");
    }
    receive_runbooks(site, peer, &shared).await?;
    let counts = site.catalog.plan_versions(shared.name.as_str()).await?.into_iter().next();
    let version = counts.as_ref().map_or(0, |counts| counts.version);
    if let Some(counts) = counts.filter(|counts| is_known(counts)) {
        // It needs not be sent back.
        let content = digest(&self::shared(site, &counts).await?)?;
        let delivery = PlanDelivery { plan: counts.name, peer_id: peer.id, version, content, problem: None };
        site.catalog.put_plan_delivery(&delivery).await?;
    }
    Ok(KeptPlan { version })
}

async fn keep(
    site: &Site,
    shared: &SharedPlan,
    origin: Option<model::SiteId>,
    versions: &[KnownPlan],
) -> Result<()> {
    let is_accepted = if shared.is_deleted {
        true
    } else {
        let agreed =
            versions.iter().filter(|known| known.is_accepted).find_map(|known| read(&known.text).ok());
        let agreed = agreed.map(|document| on_this_host(&document)).unwrap_or_default();
        on_this_host(&read(&shared.text)?).is_subset(&agreed)
    };
    let known = KnownPlan {
        name: shared.name.clone(),
        version: shared.version,
        origin,
        text: shared.text.clone(),
        format: Format::of(&shared.text).as_str().to_owned(),
        primary_site: shared.primary_site,
        created_at: shared.created_at,
        is_deleted: shared.is_deleted,
        is_accepted,
    };
    site.catalog.add_plan(&known).await.map_err(|error| match error.kind() {
        CatalogErrorKind::Exists => Failure::conflict("the plan is being kept already"),
        _ => error.into(),
    })?;
    if let Some(oldest) = versions.get(VERSIONS_MAX - 1) {
        site.catalog.remove_plan_before(&shared.name, oldest.version).await?;
    }
    if shared.is_deleted && versions.iter().all(|before| before.version < shared.version) {
        site.catalog.remove_plan_before(&shared.name, shared.version).await?;
        drills::forget(site, &shared.name).await?;
    }
    Ok(())
}

/// What a plan does on the host of the site that runs it, each as it is written.
fn on_this_host(document: &Plan) -> BTreeSet<String> {
    let works = document.actions().filter_map(|(_, action)| {
        let written = match action.work()? {
            ActionWork::Script(script) => serde_json::to_string(script),
            ActionWork::Http(http) => serde_json::to_string(http),
            ActionWork::Ansible(ansible) => serde_json::to_string(ansible),
            ActionWork::Runbook(runbook) => serde_json::to_string(runbook),
            ActionWork::Guest(_) | ActionWork::Manual(_) => return None,
        };
        written.ok()
    });
    works.collect()
}

/// Keeps the runbooks of a plan that this site has none of its own in the place of.
async fn receive_runbooks(site: &Site, peer: &KnownPeer, shared: &SharedPlan) -> Result<()> {
    for SharedRunbook { name, document } in shared.runbooks.iter().take(RUNBOOKS_MAX) {
        runbooks::check(name, document)?;
        let now = site.env.clock.now();
        match site.catalog.runbook(name).await? {
            None => {
                let runbook = KnownRunbook {
                    name: name.clone(),
                    document: document.clone(),
                    created_at: now,
                    changed_at: now,
                    origin: Some(peer.id),
                    is_accepted: false,
                };
                site.catalog.add_runbook(&runbook).await?;
            }
            Some(known) if known.origin == Some(peer.id) && known.document != *document => {
                let document = document.clone();
                let changed = KnownRunbook { document, changed_at: now, is_accepted: false, ..known };
                site.catalog.set_runbook(&changed).await?;
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Somebody here agrees to what the newest version of a plan, and its runbooks, do on this host.
pub(crate) async fn accept(site: &Site, name: &str) -> Result<KnownPlan> {
    let mut known = history(site, name).await?.swap_remove(0);
    let document = read(&known.text)?;
    site.catalog.accept_plan(&known).await?;
    known.is_accepted = true;
    for name in runbook_names(&document) {
        if let Some(runbook) = site.catalog.runbook(name).await?.filter(|runbook| !runbook.is_accepted) {
            site.catalog.set_runbook(&KnownRunbook { is_accepted: true, ..runbook }).await?;
        }
    }
    tracing::warn!(plan = %known.name, version = known.version, "a plan of another site was accepted");
    Ok(known)
}

/// Fails where nobody here has agreed to what a plan does.
pub(super) fn check_accepted(known: &KnownPlan) -> Result<()> {
    if known.is_accepted {
        return Ok(());
    }
    let name = shell_word(known.name.as_str());
    let detail = format!(
        "version {} of the plan {} came from another site, and does on this host what nobody here has agreed to",
        known.version, known.name
    );
    Err(Failure::conflict(detail)
        .with_hint(format!("look at it: holdfast plan show {name}; then: holdfast plan accept {name}")))
}

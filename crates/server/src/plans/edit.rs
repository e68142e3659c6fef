//! Plans are written, changed and forgotten.

use api::{CreatePlan, EditPlan, EditedPlanView, PlanFindingView, ValidatePlan};
use catalog::KnownPlan;
use model::{PlanName, SiteId};
use plan::{Direction, Finding, Format, Plan, Severity};

use super::{check, share::check_accepted, view};
use crate::{
    drills,
    failure::{Failure, Result},
    peers,
    site::Site,
};

/// The plan with this name, and the document that it is.
pub(super) async fn find(site: &Site, name: &str) -> Result<(KnownPlan, Plan)> {
    let known = history(site, name).await?.swap_remove(0);
    let document = read(&known.text)?;
    Ok((known, document))
}

fn not_known(name: &str) -> Failure {
    Failure::not_found(format!("there is no plan {name}")).with_hint("see them with: holdfast plan list")
}

/// All plans, by name.
pub(crate) async fn list(site: &Site) -> Result<Vec<KnownPlan>> {
    let mut plans = site.catalog.plans().await?;
    plans.retain(|plan| !plan.is_deleted);
    Ok(plans)
}

/// All versions of a plan, newest first.
pub(crate) async fn history(site: &Site, name: &str) -> Result<Vec<KnownPlan>> {
    let versions = site.catalog.plan_versions(name).await?;
    if versions.first().is_none_or(|newest| newest.is_deleted) { Err(not_known(name)) } else { Ok(versions) }
}

/// Reads a document and refuses one that makes no sense.
pub(super) fn read(text: &str) -> Result<Plan> {
    let document = plan::read(text, Format::of(text)).map_err(|finding| refused(&finding))?;
    let findings = plan::validate(&document);
    match findings.iter().find(|finding| finding.severity == Severity::Error) {
        Some(finding) => Err(refused(finding)),
        None => Ok(document),
    }
}

fn refused(finding: &Finding) -> Failure {
    let failure = Failure::invalid(format!("the plan cannot be used: {finding}"));
    let hint = finding.hint.clone();
    failure.with_hint(
        hint.unwrap_or_else(|| "see all that is wrong with: holdfast plan validate FILE".to_owned()),
    )
}

/// Keeps a plan.
pub(crate) async fn create(site: &Site, request: CreatePlan) -> Result<KnownPlan> {
    let name: PlanName =
        request.name.parse().map_err(|error| Failure::invalid(format!("the plan's name: {error}")))?;
    let document = read(&request.text)?;
    let primary_site = match &request.primary_site {
        Some(wanted) => primary(site, wanted).await?,
        None => home(site, &document).await?,
    };
    let before = site.catalog.plan_versions(name.as_str()).await?.into_iter().next();
    let exists = || {
        Failure::conflict(format!("there is a plan {name} already"))
            .with_hint(format!("change it with: holdfast plan edit {name} FILE"))
    };
    if before.as_ref().is_some_and(|before| !before.is_deleted) {
        return Err(exists());
    }
    let known = KnownPlan {
        name: name.clone(),
        // One that was forgotten counts on, so that other sites know what is newer.
        version: before.map_or(0, |before| before.version) + 1,
        origin: None,
        format: Format::of(&request.text).as_str().to_owned(),
        text: request.text,
        primary_site,
        created_at: site.env.clock.now(),
        is_deleted: false,
        is_accepted: true,
    };
    site.catalog.add_plan(&known).await.map_err(|error| match error.kind() {
        catalog::ErrorKind::Exists => exists(),
        _ => error.into(),
    })?;
    site.plans.changed.notify_one();
    tracing::info!(plan = %known.name, "a plan was written");
    Ok(known)
}

/// The site that somebody names as the one where the VMs are at home.
async fn primary(site: &Site, wanted: &str) -> Result<SiteId> {
    let own = site.peers.identity().id();
    if wanted == site.peers.name().as_str() || wanted == own.as_str() {
        return Ok(own);
    }
    Ok(peers::find(site, wanted).await?.id)
}

/// Where the VMs of a plan are at home: where their replicas come from, or here.
async fn home(site: &Site, document: &Plan) -> Result<SiteId> {
    let replicas = site.catalog.replicas().await?;
    let is_in_plan = |name: &model::VmName| document.vms().any(|vm| vm.name == *name);
    let replica = replicas.iter().find(|replica| is_in_plan(&replica.vm_name));
    Ok(replica.map_or_else(|| site.peers.identity().id(), |replica| replica.peer_id))
}

/// Which way an application goes that comes up here: at its own site that is the way back.
pub(super) fn direction_to(site: &Site, primary_site: SiteId) -> Direction {
    match primary_site == site.peers.identity().id() {
        true => Direction::Failback,
        false => Direction::Failover,
    }
}

/// Keeps another version of a plan. Runs of earlier ones go on with theirs.
pub(crate) async fn edit(site: &Site, name: &str, request: EditPlan) -> Result<EditedPlanView> {
    let after = read(&request.text)?;
    let before = history(site, name).await?.swap_remove(0);
    // What a newer Holdfast wrote cannot be compared, and is not lost: it stays as a version.
    let dropped = plan::read(&before.text, Format::of(&before.text))
        .map(|document| plan::dropped(&document, &after))
        .unwrap_or_default();
    if !dropped.is_empty() && !request.drop {
        return Err(Failure::conflict(format!("this would take out of the plan: {}", dropped.join("; ")))
            .with_hint("where that is meant: add --drop"));
    }
    let known = KnownPlan {
        version: before.version + 1,
        origin: None,
        format: Format::of(&request.text).as_str().to_owned(),
        text: request.text,
        created_at: site.env.clock.now(),
        is_accepted: true,
        ..before
    };
    site.catalog.add_plan(&known).await.map_err(|error| match error.kind() {
        catalog::ErrorKind::Exists => {
            Failure::conflict("somebody else has changed the plan at the same time")
                .with_hint("look at it again: holdfast plan show")
        }
        _ => error.into(),
    })?;
    site.plans.changed.notify_one();
    tracing::info!(plan = %known.name, version = known.version, "a plan was changed");
    Ok(EditedPlanView { plan: view::plan_view(site, &known).await?, dropped })
}

/// Forgets a plan that nothing runs of.
pub(crate) async fn remove(site: &Site, name: &str) -> Result<()> {
    let known = history(site, name).await?.swap_remove(0);
    let unfinished = site.catalog.unfinished_plan_runs().await?;
    if let Some(run) = unfinished.iter().find(|run| run.plan == known.name) {
        return Err(Failure::conflict(format!("the run {} of the plan is {}", run.id, run.standing))
            .with_hint(format!("end it first: holdfast plan cancel {name}")));
    }
    drills::forget(site, &known.name).await?;
    let forgotten = KnownPlan {
        version: known.version + 1,
        origin: None,
        text: String::new(),
        created_at: site.env.clock.now(),
        is_deleted: true,
        ..known.clone()
    };
    site.catalog.add_plan(&forgotten).await?;
    site.catalog.remove_plan_before(&known.name, forgotten.version).await?;
    site.plans.changed.notify_one();
    tracing::info!(plan = %known.name, "a plan was forgotten; its runs and reports stay");
    Ok(())
}

/// All that is wrong with a document, or with a plan that is kept, as this site is now.
pub(crate) async fn validate(site: &Site, request: ValidatePlan) -> Result<Vec<PlanFindingView>> {
    let (text, known) = match (request.text, request.plan) {
        (Some(text), None) => (text, None),
        (None, Some(name)) => {
            let known = history(site, &name).await?.swap_remove(0);
            (known.text.clone(), Some(known))
        }
        _ => return Err(Failure::invalid("either a document is looked at, or a plan")),
    };
    let document = match plan::read(&text, Format::of(&text)) {
        Ok(document) => document,
        Err(finding) => return Ok(vec![view::finding_view(finding)]),
    };
    let mut findings = plan::validate(&document);
    if !findings.iter().any(|finding| finding.severity == Severity::Error) {
        let primary_site = match &known {
            Some(known) => known.primary_site,
            None => home(site, &document).await?,
        };
        if let Some(Err(failure)) = known.as_ref().map(check_accepted) {
            findings.push(check::finding_of(String::new(), &failure));
        }
        findings.extend(check::of_plan(site, &document, direction_to(site, primary_site)).await?);
    }
    Ok(findings.into_iter().map(view::finding_view).collect())
}

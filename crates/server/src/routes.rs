//! The routes of the API, one file for each noun, and their description as OpenAPI.
//!
//! A handler reads what was asked for, calls one function of the site, and shows what came of it.

mod copies;
mod creations;
mod disks;
mod doctor;
mod drills;
pub(crate) mod extract;
mod files;
mod groups;
mod images;
mod jobs;
mod keys;
mod metrics;
mod plans;
mod points;
mod policies;
mod replicas;
mod replications;
mod restores;
mod runbooks;
mod site;
mod sites;
mod snapshots;
mod stream;
mod task;
mod upkeep;
mod uploads;
mod vaults;
mod vms;

use axum::{Router, http::Uri, middleware};
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

use crate::{failure::Failure, site::Site};

/// The description's head; routes add themselves.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Holdfast",
        version = "1",
        description = "The API of a site. Sizes are bytes, times are RFC 3339 in UTC. Every error is a problem document \
                       (RFC 9457) with a stable code.",
        license(name = "Apache-2.0")
    ),
    tags(
        (name = "site", description = "The site and its host."),
        (name = "sites", description = "Other sites that this one is paired with."),
        (name = "vms", description = "VMs and their protection."),
        (name = "disks", description = "Disks that have names of their own, whatever VM has them."),
        (name = "policies", description = "Policies: backups that run by themselves, and points that go by rule."),
        (name = "runbooks", description = "Actions with names and parameters, which recovery plans use."),
        (name = "replications", description = "VMs that are replicated to other sites."),
        (name = "vaults", description = "Vaults."),
        (name = "copies", description = "Copies of vaults."),
        (name = "keys", description = "Keys of vaults."),
        (name = "points", description = "Recovery points."),
        (name = "snapshots", description = "Managed snapshots."),
        (name = "replicas", description = "VMs of other sites whose journals this one keeps, and failing over to them."),
        (name = "plans", description = "Recovery plans: what of an application comes up at this site in which order, and their runs."),
        (name = "drills", description = "Drills: recovery plans that are tested without anybody, and what came of it."),
        (name = "groups", description = "Consistency groups: replicated VMs that share moments, at either site."),
        (name = "files", description = "Files inside images."),
        (name = "restores", description = "Restores."),
        (name = "images", description = "Disks of recovery points, and image files: exported, compared, read."),
        (name = "jobs", description = "Long work.")
    )
)]
struct Description;

fn described() -> OpenApiRouter<Site> {
    OpenApiRouter::with_openapi(Description::openapi())
        .merge(site::routes())
        .merge(doctor::routes())
        .merge(metrics::routes())
        .merge(sites::routes())
        .merge(vms::routes())
        .merge(disks::routes())
        .merge(uploads::routes())
        .merge(vaults::routes())
        .merge(upkeep::routes())
        .merge(copies::routes())
        .merge(keys::routes())
        .merge(runbooks::routes())
        .merge(points::routes())
        .merge(policies::routes())
        .merge(replications::routes())
        .merge(snapshots::routes())
        .merge(replicas::routes())
        .merge(plans::routes())
        .merge(drills::routes())
        .merge(groups::routes())
        .merge(files::routes())
        .merge(restores::routes())
        .merge(creations::routes())
        .merge(images::routes())
        .merge(jobs::routes())
}

/// The API of a site.
pub(crate) fn router(site: Site) -> Router {
    let (router, _) = described().split_for_parts();
    router
        .fallback(|uri: Uri| async move { Failure::not_found(format!("there is no {} here", uri.path())) })
        .method_not_allowed_fallback(|uri: Uri| async move {
            Failure::invalid(format!("{} does not take this method", uri.path()))
        })
        .layer(middleware::from_fn(task::run))
        .with_state(site)
}

/// The OpenAPI description of the API, as JSON. The same for every site.
#[must_use]
pub fn openapi() -> String {
    let (_, description) = described().split_for_parts();
    // The description is plain data: writing it as JSON cannot fail.
    description.to_pretty_json().unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests;

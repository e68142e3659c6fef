//! Policies: backups and snapshots that run by themselves, and points and snapshots that go by rule.
//!
//! When a VM is due, and what then happens, is decided by [`plan`], which knows no clock and no task; [`run`] asks it again
//! and again. What is due is worked out from what the catalog holds, so that neither a restart nor a clock that is set
//! loses a run. Only what policies made is ever deleted by one.

mod edit;
mod follow;
mod plan;
mod retire;
mod run;
mod view;

use catalog::KnownPolicy;

pub(crate) use self::{
    edit::{create, edit, remove},
    follow::{schedule_snapshots, unschedule_snapshots},
    retire::{preview, settle_points, settle_snapshots},
    run::run,
    view::{followed, view},
};
use crate::{
    failure::{Failure, Result},
    site::Site,
};

/// The policy with this name.
pub(crate) async fn find(site: &Site, name: &str) -> Result<KnownPolicy> {
    site.catalog.policy(name).await?.ok_or_else(|| {
        Failure::not_found(format!("there is no policy {name}"))
            .with_hint("see them with: holdfast policy list")
    })
}

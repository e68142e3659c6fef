//! What becomes of recovery points: deleted, brought back, held, released. The vault's own rules decide; of the points that
//! are named, each vault changes all or none.

use std::collections::{BTreeMap, BTreeSet};

use api::{ChosenPoints, Code, DeletePoints, HoldPoints, PointView};
use catalog::{ImageSource, KnownVault};
use model::{PointId, PointReference, Timestamp, VaultId};
use vault::Vault;

use super::{FoundPoint, Survey, not_found, parse};
use crate::{
    dependents::Owner,
    failure::{Failure, Result},
    site::Site,
};

/// Points named at once.
const POINTS_MAX: usize = 1000;

/// The longest reason of a hold, in bytes.
const REASON_BYTES_MAX: usize = 1000;

/// Deletes points, or says whether they may be deleted.
pub(crate) async fn delete(site: &Site, request: &DeletePoints) -> Result<Vec<PointView>> {
    let chosen = choose(site, &request.references, |point| !point.is_deleted()).await?;
    // Said of all before any vault is changed: there may be several.
    let now = site.env.clock.now();
    let owners = Owner::all(&site.catalog).await?;
    for point in chosen.iter().flat_map(|(_, points)| points) {
        check_deletable(point, now, &owners)?;
    }
    if request.dry_run {
        return Ok(chosen.iter().flat_map(|(_, points)| points).map(FoundPoint::view).collect());
    }
    Change::Delete.make(site, chosen).await
}

/// Deletes points of one vault.
pub(crate) async fn delete_known(site: &Site, known: &KnownVault, ids: &[PointId]) -> Result<()> {
    for ids in ids.chunks(POINTS_MAX) {
        Change::Delete.make_in(site, known, ids).await?;
    }
    Ok(())
}

/// Brings deleted points back.
pub(crate) async fn undelete(site: &Site, request: &ChosenPoints) -> Result<Vec<PointView>> {
    let chosen = choose(site, &request.references, FoundPoint::is_deleted).await?;
    Change::Undelete.make(site, chosen).await
}

/// Puts points under a legal hold.
pub(crate) async fn hold(site: &Site, request: &HoldPoints) -> Result<Vec<PointView>> {
    let reason = request.reason.trim();
    if reason.is_empty() || reason.len() > REASON_BYTES_MAX || reason.chars().any(char::is_control) {
        return Err(Failure::invalid(format!(
            "a hold needs a reason, of {REASON_BYTES_MAX} bytes at most and without control characters"
        )));
    }
    let chosen = choose(site, &request.references, |point| !point.is_deleted()).await?;
    Change::Hold(reason).make(site, chosen).await
}

/// Releases points from their hold.
pub(crate) async fn release(site: &Site, request: &ChosenPoints) -> Result<Vec<PointView>> {
    let chosen = choose(site, &request.references, |point| !point.is_deleted()).await?;
    Change::Release.make(site, chosen).await
}

/// The points that references name, by vault.
type Chosen = Vec<(KnownVault, Vec<FoundPoint>)>;

async fn choose(site: &Site, references: &[String], is_wanted: fn(&FoundPoint) -> bool) -> Result<Chosen> {
    if references.is_empty() || references.len() > POINTS_MAX {
        return Err(Failure::invalid(format!("name 1 to {POINTS_MAX} recovery points")));
    }
    let survey = Survey::take_all(site).await?;
    let mut chosen: BTreeMap<VaultId, (KnownVault, Vec<FoundPoint>)> = BTreeMap::new();
    let mut seen: BTreeSet<PointId> = BTreeSet::new();
    for text in references {
        let reference: PointReference = parse(text)?;
        if reference.disk.is_some() {
            return Err(Failure::invalid(format!("{reference} is a disk; name the point as a whole")));
        }
        let known = Survey::ids_of(site, &reference.vm).await?;
        let fits = |point: &FoundPoint| point.is_of(&reference.vm, &known) && is_wanted(point);
        let point = match survey.select(&reference.point, fits) {
            Ok(point) => point.clone(),
            Err(error) => return Err(not_found(&reference, error, survey.failures)),
        };
        if seen.insert(point.record.summary.id) {
            let of_vault = chosen.entry(point.vault.id).or_insert_with(|| (point.vault.clone(), Vec::new()));
            of_vault.1.push(point);
        }
    }
    Ok(chosen.into_values().collect())
}

/// Fails while the disks of one of these owners read from a point, and where the vault would; said before anything is changed.
pub(crate) fn check_deletable(point: &FoundPoint, now: Timestamp, owners: &[Owner]) -> Result<()> {
    check_unused(point, owners)?;
    let Some(fate) = &point.fate else { return Ok(()) };
    let id = fate.id;
    if let Some(reason) = &fate.hold {
        return Err(Failure::new(
            Code::Refused,
            format!("the recovery point {id} is under a legal hold: {reason}"),
        )
        .with_hint(format!("release it first: holdfast point release point:{}/{id}", fate.vm_id)));
    }
    if fate.deletable_from > now {
        let from = fate.deletable_from;
        let detail =
            format!("the recovery point {id} cannot be deleted before {from}: the vault is immutable");
        return Err(Failure::new(Code::Refused, detail));
    }
    Ok(())
}

/// Fails while somebody's disks read from a point.
fn check_unused(point: &FoundPoint, owners: &[Owner]) -> Result<()> {
    let id = point.record.summary.id;
    let is_point = |source: &ImageSource| matches!(source, ImageSource::Point { vault_id, point_id, .. } if (*vault_id, *point_id) == (point.vault.id, id));
    match owners.iter().find(|owner| owner.reads(is_point)) {
        None => Ok(()),
        Some(owner) => Err(owner.needs(&format!("the recovery point {id}"))),
    }
}

/// What becomes of points.
#[derive(Debug, Clone, Copy)]
enum Change<'a> {
    Delete,
    Undelete,
    Hold(&'a str),
    Release,
}

impl Change<'_> {
    /// Changes the points and returns how they stand then.
    async fn make(self, site: &Site, chosen: Chosen) -> Result<Vec<PointView>> {
        let mut changed = BTreeSet::new();
        for (known, points) in &chosen {
            let ids: Vec<PointId> = points.iter().map(|point| point.record.summary.id).collect();
            self.make_in(site, known, &ids).await?;
            changed.extend(ids);
        }
        let survey = Survey::take_all(site).await?;
        let points = survey.points.iter().filter(|point| changed.contains(&point.record.summary.id));
        Ok(points.map(FoundPoint::view).collect())
    }

    async fn make_in(self, site: &Site, known: &KnownVault, ids: &[PointId]) -> Result<()> {
        let vault = site.vaults.open_checked(known).await?;
        self.apply(&vault, ids).await?;
        tracing::info!(vault = %known.name, change = ?self, points = ?ids, "recovery points were changed");
        Ok(())
    }

    async fn apply(self, vault: &Vault, ids: &[PointId]) -> vault::Result<()> {
        match self {
            Self::Delete => vault.delete_points(ids).await,
            Self::Undelete => vault.undelete_points(ids).await,
            Self::Hold(reason) => vault.hold_points(ids, reason).await,
            Self::Release => vault.release_points(ids).await,
        }
    }
}

//! The checker: what must hold of both sites, looked at from outside.

use std::sync::Arc;

use journal::{At, ErrorKind, Sequence};
use model::JournalId;

use super::{
    fail_over,
    guest::Disks,
    site::{Place, Site},
    world::World,
};

impl World {
    /// Looks at who may run the VM.
    pub(crate) fn check_rights(&self) {
        let sites = [self.site(0), self.site(1)];
        for site in &sites {
            if let Some(violation) = site.host().violation.clone() {
                self.violated(violation);
            }
            self.check_told(site);
            self.check_handed_over(site);
        }
        let rights = sites.each_ref().map(|site| right(site));
        if let [Some(one), Some(other)] = rights
            && one == other
        {
            self.violated(format!("two VMs of generation {one} may run"));
        }
    }

    /// A site that was told that its generation is over does not let it run.
    fn check_told(&self, site: &Site) {
        let over = site.truth().over;
        if let Some((right, over)) = right(site).zip(over).filter(|(right, over)| right <= over) {
            self.violated(format!(
                "{} was told that generation {over} is over, and {right} may run there",
                site.name
            ));
        }
    }

    /// A site whose VM the other one has been handed does not let it run.
    fn check_handed_over(&self, site: &Site) {
        let (handed, is_overridden) = {
            let truth = site.truth();
            (truth.handed, truth.is_overridden)
        };
        let Some(journal) = handed.filter(|_| !is_overridden) else { return };
        let other = self.site(1 - site.place);
        let has_begun =
            other.catalog().replicas.get(&journal).is_some_and(|known| known.standing.failover().is_some());
        let may_run = site.catalog().may_run();
        if has_begun && (may_run || site.host().runs()) {
            self.violated(format!("{} has handed the VM over, and it may run there", site.name));
        }
    }

    /// A moment shows what the disks held when its record was taken.
    pub(crate) fn check_moment(&self, journal: JournalId, at: Sequence, disks: &Disks, what: &str) {
        let shown = self.sites().iter().find_map(|site| {
            let host = site.host();
            host.histories.get(&journal).map(|history| history.shown.get(&at).cloned())
        });
        match shown.flatten() {
            Some(shown) if *shown == *disks => {}
            Some(_) => self.violated(format!("{what}: record {at} of {journal} shows what never was")),
            None => {
                self.violated(format!("{what}: record {at} of {journal} is shown, and nobody knows of it"))
            }
        }
    }

    /// A VM that was handed over is made of all that it had written.
    pub(crate) fn check_handed(&self, place: Place, journal: JournalId, disks: &Disks) {
        let source = self.site(1 - place);
        let is_meant = {
            let truth = source.truth();
            truth.handed == Some(journal) && !truth.is_overridden
        };
        let wrote = source.host().vm.as_ref().map(|vm| Arc::clone(&vm.disks));
        if let Some(wrote) = wrote.filter(|wrote| is_meant && **wrote != *disks) {
            drop(wrote);
            self.violated("a VM that was handed over lacks something that it had written".to_owned());
        }
    }

    /// In this world nothing rots, so damage is a mistake.
    pub(crate) fn check_damage(&self, doing: &str, error: &journal::Error) {
        if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::UnsupportedVersion) {
            self.violated(format!("{doing}: {error}"));
        }
    }

    /// Looks at some moments that a site shows.
    pub(crate) async fn look_at_moments(&self, place: Place, count: usize) {
        let Some(server) = self.site(place).server() else { return };
        let all: Vec<_> = server.kept().iter().map(|(id, kept)| (*id, Arc::clone(kept))).collect();
        for (journal, kept) in all {
            let reach = kept.replica.status().map_or(Sequence(0), |status| status.reaches_back_to);
            let durable = kept.replica.durable_through();
            for _ in 0..count {
                let at = Sequence(self.dice.number(reach.0.max(1)..durable.0 + 1));
                let Ok(moment) = kept.replica.moment(self.vm_id, At::Sequence(at)) else { continue };
                // What cannot be read now is no lie.
                if let Ok(disks) = fail_over::read(self.vm_id, &moment).await {
                    self.check_moment(journal, at, &disks, "a replica");
                }
            }
        }
    }
}

/// The generation of a site's VM, if it may run there.
fn right(site: &Site) -> Option<u64> {
    let is_overridden = site.truth().is_overridden;
    let catalog = site.catalog();
    catalog.vm.as_ref().filter(|_| catalog.may_run() && !is_overridden).map(|vm| vm.generation)
}

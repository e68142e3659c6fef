//! The upkeep of vaults: stores tried out, space given back, damage healed, promises about deletion.

use api::{
    CollectView, FindingView, HeldView, ObjectLockState, ObjectLockView, ProbeView, RepairView,
    RetentionMode, SettingsView,
};
use model::{Immutability, Timestamp};

use super::{Identified, Page, Row, Times, or_dash, table};

/// The most findings that people are shown; JSON has them all.
const FINDINGS_SHOWN: usize = 50;

impl Identified for ProbeView {
    fn id(&self) -> String {
        self.url.clone()
    }
}

impl Page for ProbeView {
    fn page(&self, times: &Times) -> String {
        let verdict = if self.is_fit { "fit for a vault" } else { "UNFIT for a vault" };
        let checks = self.checks.iter().map(|check| check.cells(times)).collect();
        table::fields(vec![("Store", self.url.clone()), ("Verdict", verdict.to_owned())])
            + &table::section("Checks", &["check", "status", "found", "what a vault needs it for"], checks)
    }
}

impl Identified for SettingsView {
    fn id(&self) -> String {
        immutability(self).to_owned()
    }
}

impl Page for SettingsView {
    fn page(&self, _: &Times) -> String {
        table::fields(vec![
            ("Immutability", immutability(self).to_owned()),
            ("Soft delete", format!("{} days", self.soft_delete_days)),
            ("Least retention", format!("{} days", self.min_retention_days)),
            ("So", promise(self)),
        ])
    }
}

fn immutability(settings: &SettingsView) -> &'static str {
    match settings.immutability {
        Immutability::Disabled => "disabled",
        Immutability::Enabled => "enabled",
        Immutability::Locked => "locked",
    }
}

/// What the settings mean, in a sentence.
pub fn promise(settings: &SettingsView) -> String {
    let back = match settings.soft_delete_days {
        0 => "what is deleted is gone with the next collection".to_owned(),
        days => format!("what is deleted can be brought back for {days} days"),
    };
    let days = settings.min_retention_days;
    match settings.immutability {
        Immutability::Disabled => back,
        Immutability::Enabled => format!("nothing is deleted within {days} days; {back}"),
        Immutability::Locked => format!("nothing is deleted within {days} days, locked for good; {back}"),
    }
}

/// Whether the store itself keeps what the settings promise.
pub fn object_lock(lock: &ObjectLockView, times: &Times) -> String {
    let until = |moment: Option<Timestamp>| or_dash(moment.map(|moment| times.moment(moment)));
    match lock.state {
        ObjectLockState::Retained => {
            let mode = match lock.mode {
                Some(RetentionMode::Compliance) => "nobody can delete",
                _ => "only who may bypass governance can delete",
            };
            let (first, last) = (until(lock.first_until), until(lock.last_until));
            format!("{mode} what points need before {first}; the last retention ends {last}")
        }
        ObjectLockState::None => "none: who has the store's credentials can delete everything".to_owned(),
        ObjectLockState::Failing => "FAILING".to_owned(),
        _ => "-".to_owned(),
    }
}

impl Identified for CollectView {
    fn id(&self) -> String {
        self.vault.clone()
    }
}

impl Page for CollectView {
    fn page(&self, times: &Times) -> String {
        let (gone, freed) = if self.dry_run {
            ("Points that would go", "Space that would be freed")
        } else {
            ("Points gone for good", "Space freed")
        };
        let mut fields = vec![
            ("Vault", self.vault.clone()),
            (gone, self.purged_point_count.to_string()),
            (freed, self.freed_bytes.to_string()),
            ("Packs dropped", self.dropped_pack_count.to_string()),
            ("Packs packed anew", self.repacked_pack_count.to_string()),
        ];
        if let Some((count, dead)) = self.kept_pack_count.zip(self.kept_dead_bytes).filter(|kept| kept.0 > 0)
        {
            fields.push(("Packs that stay", format!("{count}, with {dead} that nothing needs")));
        }
        if let Some(count) = self.waiting_pack_count.filter(|count| *count > 0) {
            let until = self.waits_until.map(|until| format!(", until {}", times.clock(until)));
            fields.push(("Packs left alone", format!("{count}{}", until.unwrap_or_default())));
        }
        table::fields(fields)
    }
}

impl Identified for RepairView {
    fn id(&self) -> String {
        self.vault.clone()
    }
}

impl Page for RepairView {
    fn page(&self, times: &Times) -> String {
        let verdict = match (self.unhealed_count == 0, self.healed_count == 0, self.dry_run) {
            (true, true, _) => "sound; nothing to heal",
            (true, false, true) => "damaged; all of it can be healed",
            (true, false, false) => "sound again",
            (false, ..) => "DAMAGED, and not all of it can be healed",
        };
        let healed = if self.dry_run { "Would be healed" } else { "Healed" };
        let hurt = self.hurt_points.iter().map(|point| {
            let lost = point.lost_bytes.map_or_else(|| "all".to_owned(), |bytes| bytes.to_string());
            vec![point.vm_id.to_string(), point.id.to_string(), times.moment(point.captured_at), lost]
        });
        table::fields(vec![
            ("Vault", self.vault.clone()),
            ("Verdict", verdict.to_owned()),
            (healed, self.healed_count.to_string()),
            ("Not healed", self.unhealed_count.to_string()),
            ("Points hurt", self.hurt_points.len().to_string()),
            ("Points put under a hold", self.held_points.len().to_string()),
        ]) + &findings(healed, &self.healed, self.healed_count)
            + &findings("Not healed", &self.unhealed, self.unhealed_count)
            + &table::section("Points hurt", &["vm", "point", "captured", "lost"], hurt.collect())
            + &held(&self.held_points, times)
    }
}

/// What is lost with the entries that would tell, and what to do about it.
fn held(points: &[HeldView], times: &Times) -> String {
    if points.is_empty() {
        return String::new();
    }
    let rows = points
        .iter()
        .map(|point| vec![point.vm_id.to_string(), point.id.to_string(), times.moment(point.captured_at)]);
    table::section("Points put under a hold", &["vm", "point", "captured"], rows.collect())
        + "\nWhether they were under a hold, or the vault was immutable, is lost with entries of its log.\n\
           Look at both, and then release them with: holdfast point release point:VM/POINT\n"
}

fn findings(title: &str, findings: &[FindingView], count: u64) -> String {
    let shown = findings.iter().take(FINDINGS_SHOWN);
    let rows: Vec<_> = shown.map(|finding| vec![finding.object.clone(), finding.detail.clone()]).collect();
    let more = count.saturating_sub(rows.len() as u64);
    let mut text = table::section(title, &["object", "what"], rows);
    if more > 0 {
        text += &format!("and {more} more; -o json shows up to 10,000\n");
    }
    text
}

//! Vaults and what a verification found in one.

use api::{CopyView, VaultView, VerifyView};
use model::ByteCount;

use super::{
    Identified, Page, Row, Times, or_dash, table,
    upkeep::{object_lock, promise},
};

/// The most damaged objects that people are shown; JSON has them all.
const DAMAGES_SHOWN: usize = 50;

impl Identified for VaultView {
    fn id(&self) -> String {
        self.id.to_string()
    }
}

impl Row for VaultView {
    const COLUMNS: &'static [&'static str] = &["name", "id", "points", "protected", "stored", "state", "url"];

    fn cells(&self, _: &Times) -> Vec<String> {
        vec![
            self.name.clone(),
            self.id(),
            or_dash(self.point_count),
            or_dash(self.protected_bytes),
            or_dash(self.stored_bytes),
            state(self),
            self.url.clone(),
        ]
    }
}

impl Page for VaultView {
    fn page(&self, times: &Times) -> String {
        let mut fields = vec![
            ("Name", self.name.clone()),
            ("Id", self.id()),
            ("URL", self.url.clone()),
            ("State", self.problem.clone().unwrap_or_else(|| "opens".to_owned())),
            ("Points", or_dash(self.point_count)),
            ("Protected", or_dash(self.protected_bytes)),
            ("Stored", or_dash(self.stored_bytes)),
        ];
        if self.can_read == Some(false) {
            fields.push((
                "Key",
                "this site can add to the vault, and cannot read the data of disks".to_owned(),
            ));
        }
        if let Some(settings) = &self.settings {
            fields.push(("Deletion", promise(settings)));
        }
        if let Some(lock) = &self.object_lock {
            fields.push(("Object Lock", object_lock(lock, times)));
        }
        fields.extend(self.warnings.iter().map(|warning| ("Warning", warning.clone())));
        let copies = self.copies.iter().map(|copy| copy.cells(times)).collect();
        table::fields(fields) + &table::section("Copies", CopyView::COLUMNS, copies)
    }
}

fn state(vault: &VaultView) -> String {
    match (&vault.problem, vault.warnings.is_empty()) {
        (Some(problem), _) => problem.clone(),
        (None, true) => "opens".to_owned(),
        (None, false) => format!("opens; {}", vault.warnings.join("; ")),
    }
}

impl Identified for VerifyView {
    fn id(&self) -> String {
        self.vault.clone()
    }
}

impl Page for VerifyView {
    fn page(&self, _: &Times) -> String {
        let verdict = match (self.damages.is_empty(), self.is_partial) {
            (true, false) => "every byte is sound",
            (true, true) => "what was read is sound",
            (false, _) => "DAMAGED",
        };
        let packs = match self.digest_only_pack_count {
            0 => self.pack_count.to_string(),
            count => format!("{}, {count} of them by their digests alone", self.pack_count),
        };
        let mut page = table::fields(vec![
            ("Vault", self.vault.clone()),
            ("Verdict", verdict.to_owned()),
            ("Packs read", packs),
            ("Chunks checked", self.chunk_count.to_string()),
            ("Bytes read", self.read_bytes.to_string()),
            ("Damages", self.damages.len().to_string()),
            ("Points hurt", self.hurt_points.len().to_string()),
            ("Points intact", self.intact_point_count.to_string()),
        ]);
        let damages =
            self.damages.iter().take(DAMAGES_SHOWN).map(|damage| {
                vec![damage.object.clone(), or_dash(damage.chunk.as_ref()), damage.detail.clone()]
            });
        page += &table::section("Damages", &["object", "chunk", "what is wrong"], damages.collect());
        if let Some(more) = self.damages.len().checked_sub(DAMAGES_SHOWN).filter(|more| *more > 0) {
            page += &format!("and {more} more; -o json shows them all\n");
        }
        let hurt = self.hurt_points.iter().flat_map(|point| {
            point.disks.iter().map(move |disk| {
                vec![
                    point.vm_name.clone(),
                    point.id.to_string(),
                    disk.name.clone(),
                    disk.lost_bytes.to_string(),
                    disk.intact_bytes.to_string(),
                    ranges(&disk.first_lost_ranges),
                ]
            })
        });
        page += &table::section(
            "Points hurt",
            &["vm", "point", "disk", "lost", "intact", "first lost ranges"],
            hurt.collect(),
        );
        page
    }
}

fn ranges(ranges: &[(u64, u64)]) -> String {
    let shown: Vec<_> =
        ranges.iter().map(|(offset, length)| format!("{} at byte {offset}", ByteCount(*length))).collect();
    shown.join(", ")
}

//! Replicas, their moments, tests and failovers.

use api::{
    FailoverPlanView, FailoverTestView, ReplacedVmView, ReplicaPointKind, ReplicaPointView, ReplicaStage,
    ReplicaState, ReplicaTargetView, ReplicaView, SettingOrigin,
};

use super::{Identified, Page, Row, Times, duration, or_dash, table};

impl Identified for ReplicaView {
    fn id(&self) -> String {
        self.journal_id.to_string()
    }
}

impl Row for ReplicaView {
    const COLUMNS: &'static [&'static str] =
        &["vm", "site", "stage", "state", "rpo", "reaches back to", "size"];

    fn cells(&self, times: &Times) -> Vec<String> {
        vec![
            self.vm_name.clone(),
            self.site.clone(),
            stage(self.stage).to_owned(),
            state(self.state).to_owned(),
            or_dash(self.rpo_seconds.map(seconds)),
            or_dash(self.reaches_back_to.map(|at| times.moment(at))),
            self.size_bytes.to_string(),
        ]
    }
}

impl Page for ReplicaView {
    fn page(&self, times: &Times) -> String {
        let state = match &self.reason {
            Some(reason) => format!("{}: {reason}", state(self.state)),
            None => state(self.state).to_owned(),
        };
        let mut fields = vec![
            ("VM", self.vm_name.clone()),
            ("VM id", self.vm_id.to_string()),
            ("Journal", self.journal_id.to_string()),
            ("Site", self.site.clone()),
            ("Stage", stage(self.stage).to_owned()),
            ("State", state),
            ("RPO now", or_dash(self.rpo_seconds.map(seconds))),
            ("Newest moment", or_dash(self.newest_at.map(|at| times.moment(at)))),
            ("You can go back to", or_dash(self.reaches_back_to.map(|at| times.moment(at)))),
        ];
        fields.extend(self.not_whole_since.map(|at| ("Writes missing since", times.moment(at))));
        let by = if self.retention_is_set { "set here" } else { "as the source wants" };
        fields.push(("Retention", format!("{}, {by}", seconds(self.retention_seconds))));
        fields.push(("Generation", self.generation.to_string()));
        fields.push(("Size", self.size_bytes.to_string()));
        if let Some(failover) = &self.failover {
            fields.push(("Failed over", times.moment(failover.begun_at)));
            fields.extend(failover.sequence.map(|record| ("From the moment", format!("#{record}"))));
            fields.extend(failover.committed_at.map(|at| ("Committed", times.moment(at))));
            fields.extend(failover.replaced.iter().flat_map(replaced));
        }
        let disks = self.disks.iter().map(|disk| {
            let is_whole = if disk.is_whole { "yes" } else { "no" };
            vec![disk.name.clone(), disk.size_bytes.to_string(), is_whole.to_owned()]
        });
        let mut page = table::fields(fields);
        page += &table::section("Disks", &["name", "size", "whole"], disks.collect());
        page += &target(&self.target);
        let tests: Vec<_> = self.tests.iter().map(|test| test.cells(times)).collect();
        if !tests.is_empty() {
            page += &table::section("Tests", FailoverTestView::COLUMNS, tests);
        }
        page
    }
}

/// What the VM would be here, and who says so.
fn target(target: &ReplicaTargetView) -> String {
    let row = |what: &str, value: String, from| vec![what.to_owned(), value, origin(from).to_owned()];
    let mut rows = vec![
        row("name", target.name.clone(), target.name_from),
        row("CPUs", target.cpus.to_string(), target.cpus_from),
        row("memory", target.memory_bytes.to_string(), target.memory_from),
        row("storage", target.storage.clone(), target.storage_from),
    ];
    for network in &target.networks {
        let number = network.number;
        rows.push(row(&format!("network {number}"), network.connected_to.clone(), network.connected_from));
        let what = format!("network {number} in tests");
        rows.push(row(&what, network.test_connected_to.clone(), network.test_connected_from));
    }
    let mut page = table::section("Here the VM would be", &["setting", "value", "from"], rows);
    if !target.problems.is_empty() {
        let problems = target.problems.iter().map(|problem| vec![problem.clone()]);
        page += &table::section("A failover would be refused", &["because"], problems.collect());
    }
    page
}

fn origin(origin: SettingOrigin) -> &'static str {
    match origin {
        SettingOrigin::Set => "set here",
        SettingOrigin::Mapped => "the site's network map",
        SettingOrigin::Source => "the source",
        SettingOrigin::Default => "default",
        _ => "-",
    }
}

/// What a VM was here before, and what becomes of its files.
fn replaced(replaced: &ReplacedVmView) -> Vec<(&'static str, String)> {
    let mut fields = vec![("In the place of", format!("the VM {} as it was here", replaced.vm_name))];
    fields.extend(replaced.disks_that_go.iter().map(|file| ("The commit removes", file.clone())));
    fields.extend(replaced.disks_that_stay.iter().map(|file| ("Stays", file.clone())));
    fields
}

fn seconds(seconds: u64) -> String {
    duration(seconds.saturating_mul(1_000_000))
}

pub(super) fn stage(stage: ReplicaStage) -> &'static str {
    match stage {
        ReplicaStage::Protected => "protected",
        ReplicaStage::FailingOver => "FAILING OVER",
        ReplicaStage::FailedOver => "failed over, not committed",
        ReplicaStage::Committed => "committed",
        _ => "-",
    }
}

pub(super) fn state(state: ReplicaState) -> &'static str {
    match state {
        ReplicaState::Waiting => "waiting",
        ReplicaState::Copying => "copying",
        ReplicaState::Receiving => "receiving",
        ReplicaState::Behind => "BEHIND",
        ReplicaState::NotWhole => "NOT WHOLE",
        ReplicaState::Fenced => "fenced",
        ReplicaState::Ended => "ended",
        ReplicaState::Damaged => "DAMAGED",
        _ => "-",
    }
}

impl Identified for ReplicaPointView {
    fn id(&self) -> String {
        self.reference.clone()
    }
}

impl Row for ReplicaPointView {
    const COLUMNS: &'static [&'static str] = &["time", "kind", "name", "reference"];

    fn cells(&self, times: &Times) -> Vec<String> {
        let kind = match self.kind {
            ReplicaPointKind::Crash => "crash",
            ReplicaPointKind::Application => "application",
            ReplicaPointKind::Bookmark => "bookmark",
            ReplicaPointKind::Group => "group",
            _ => "-",
        };
        let name = Some(&self.name).filter(|name| !name.is_empty());
        vec![times.moment(self.time), kind.to_owned(), or_dash(name), self.reference.clone()]
    }
}

impl Identified for FailoverTestView {
    fn id(&self) -> String {
        self.vm_id.to_string()
    }
}

impl Row for FailoverTestView {
    const COLUMNS: &'static [&'static str] = &["vm", "moment", "begun", "cleaned up", "verdict"];

    fn cells(&self, times: &Times) -> Vec<String> {
        vec![
            self.vm_name.clone(),
            times.moment(self.moment_at),
            times.moment(self.begun_at),
            or_dash(self.cleaned_up_at.map(|at| times.moment(at))),
            or_dash(self.verdict.as_ref()),
        ]
    }
}

impl Identified for FailoverPlanView {
    fn id(&self) -> String {
        self.vm_name.clone()
    }
}

impl Page for FailoverPlanView {
    fn page(&self, times: &Times) -> String {
        let mut fields = vec![
            ("VM", self.vm_name.clone()),
            ("From the moment", format!("{} (#{})", times.clock(self.moment_at), self.sequence)),
        ];
        fields.extend(self.lost.iter().map(|lost| ("Lost", lost.clone())));
        fields.extend(self.replaces.iter().flat_map(replaced));
        table::fields(fields)
    }
}

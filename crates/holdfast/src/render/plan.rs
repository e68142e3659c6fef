//! Recovery plans and their runs.

use api::{PlanFindingView, PlanPreviewView, PlanRunView, PlanVersionView, PlanView};

use super::{Identified, Page, Row, Times, duration, or_dash, table};

impl Identified for PlanView {
    fn id(&self) -> String {
        self.name.clone()
    }
}

impl Row for PlanView {
    const COLUMNS: &'static [&'static str] =
        &["name", "version", "groups", "vms", "actions", "changed", "written at", "also at"];

    fn cells(&self, times: &Times) -> Vec<String> {
        vec![
            self.name.clone(),
            self.version.to_string(),
            self.groups.len().to_string(),
            self.vms.len().to_string(),
            self.actions.len().to_string(),
            times.moment(self.changed_at),
            written_at(self),
            copies(self),
        ]
    }
}

/// The site that wrote it, and whether it may run.
fn written_at(plan: &PlanView) -> String {
    let pending = if plan.is_accepted { "" } else { ", to be accepted" };
    format!("{}{pending}", plan.written_at)
}

/// The other sites that have it.
fn copies(plan: &PlanView) -> String {
    let copies = plan.copies.iter().map(|copy| match (&copy.problem, copy.version) {
        (None, version) if version == plan.version => copy.site.clone(),
        (None, version) => format!("{} (version {version})", copy.site),
        (Some(why), 0) => format!("{} (not yet: {why})", copy.site),
        (Some(why), version) => format!("{} (version {version}: {why})", copy.site),
    });
    let copies: Vec<_> = copies.collect();
    or_dash(Some(copies.join(", ")).filter(|copies| !copies.is_empty()))
}

impl Page for PlanView {
    fn page(&self, times: &Times) -> String {
        let mut fields = vec![("Name", self.name.clone()), ("Version", self.version.to_string())];
        fields.extend(self.description.clone().map(|text| ("For", text)));
        fields.push(("Changed", times.moment(self.changed_at)));
        fields.push(("Groups", self.groups.join(", ")));
        fields.push(("VMs", self.vms.join(", ")));
        fields.push(("Actions", self.actions.join(", ")));
        fields.push(("At home at the site", self.primary_site.clone()));
        fields.push(("Written at", written_at(self)));
        fields.push(("Also at", copies(self)));
        format!("{}\n{}\n", table::fields(fields), self.text.trim_end())
    }
}

impl Identified for PlanVersionView {
    fn id(&self) -> String {
        self.version.to_string()
    }
}

impl Row for PlanVersionView {
    const COLUMNS: &'static [&'static str] = &["version", "written", "lines"];

    fn cells(&self, times: &Times) -> Vec<String> {
        vec![self.version.to_string(), times.moment(self.created_at), self.text.lines().count().to_string()]
    }
}

impl Identified for PlanFindingView {
    fn id(&self) -> String {
        self.path.clone()
    }
}

impl Row for PlanFindingView {
    const COLUMNS: &'static [&'static str] = &["", "where", "what", "hint"];

    fn cells(&self, _times: &Times) -> Vec<String> {
        let severity = if self.is_error { "error" } else { "warning" };
        let path = if self.path.is_empty() { "-".to_owned() } else { self.path.clone() };
        vec![severity.to_owned(), path, self.message.clone(), or_dash(self.hint.clone())]
    }
}

impl Identified for PlanPreviewView {
    fn id(&self) -> String {
        self.run.plan.clone()
    }
}

impl Page for PlanPreviewView {
    fn page(&self, times: &Times) -> String {
        let findings: Vec<_> = self.findings.iter().map(|finding| finding.cells(times)).collect();
        steps(&self.run) + &table::section("In its way", PlanFindingView::COLUMNS, findings)
    }
}

impl Identified for PlanRunView {
    fn id(&self) -> String {
        self.id.to_string()
    }
}

impl Row for PlanRunView {
    const COLUMNS: &'static [&'static str] =
        &["id", "kind", "direction", "version", "standing", "began", "rto", "operator"];

    fn cells(&self, times: &Times) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.kind.clone(),
            self.direction.clone(),
            self.plan_version.to_string(),
            self.standing.clone(),
            times.moment(self.begun_at),
            or_dash(self.rto_seconds.map(seconds)),
            self.operator.clone(),
        ]
    }
}

impl Page for PlanRunView {
    fn page(&self, times: &Times) -> String {
        let mut fields = vec![
            ("Run", self.id.to_string()),
            ("Plan", format!("{}, version {}", self.plan, self.plan_version)),
            ("What", format!("{} {}, from {}", self.kind, self.direction, self.point)),
            ("By", self.operator.clone()),
            ("Standing", self.standing.clone()),
            ("Began", times.moment(self.begun_at)),
        ];
        fields.extend(self.rto_seconds.map(|took| ("RTO", against(took, self.rto_target_seconds))));
        fields.extend(self.rpo_seconds.map(|age| ("RPO", against(age, self.rpo_target_seconds))));
        fields.extend(self.job_id.map(|job| ("Job", job.to_string())));
        if !self.ways_on.is_empty() {
            fields.push(("What can be done", self.ways_on.join(", ")));
        }
        let vms = self.vms.iter().filter(|vm| vm.vm_name.is_some()).map(|vm| {
            vec![
                vm.name.clone(),
                or_dash(vm.vm_name.clone()),
                or_dash(vm.moment_at.map(|at| times.moment(at))),
                if vm.addresses.is_empty() { "-".to_owned() } else { vm.addresses.join(", ") },
            ]
        });
        let vms = table::section("VMs", &["vm", "here", "moment", "addresses"], vms.collect());
        table::fields(fields) + &vms + &steps(self)
    }
}

fn steps(run: &PlanRunView) -> String {
    let rows = run.waves.iter().flat_map(|wave| {
        let of_wave = wave.lanes.iter().flat_map(|lane| &lane.steps);
        of_wave.enumerate().map(|(place, step)| {
            let title = if place == 0 { wave.title.clone() } else { String::new() };
            vec![
                title,
                step.id.to_string(),
                step.title.clone(),
                step.state.clone(),
                or_dash(step.why.clone()),
            ]
        })
    });
    table::section("Steps", &["", "step", "what", "state", "why"], rows.collect())
}

pub(super) fn seconds(seconds: u64) -> String {
    duration(seconds.saturating_mul(1_000_000))
}

pub(super) fn against(measured: u64, target: Option<u64>) -> String {
    match target {
        Some(target) if measured > target => format!("{}, more than {}", seconds(measured), seconds(target)),
        Some(target) => format!("{} of {}", seconds(measured), seconds(target)),
        None => seconds(measured),
    }
}

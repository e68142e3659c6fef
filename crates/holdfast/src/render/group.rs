//! Consistency groups, at either site.

use api::{
    GroupCheckpointView, GroupFailoverPlanView, HandedOverGroupView, ReplicaGroupView, ReplicaPointKind,
    ReplicationGroupState, ReplicationGroupView, SharedCheckpointView, SharedPointView,
};

use super::{Identified, Page, Row, Times, duration, or_dash, replica, replication, table};

impl Identified for ReplicationGroupView {
    fn id(&self) -> String {
        self.name.clone()
    }
}

impl Row for ReplicationGroupView {
    const COLUMNS: &'static [&'static str] = &["name", "to", "members", "state", "rpo", "every", "missed"];

    fn cells(&self, _: &Times) -> Vec<String> {
        vec![
            self.name.clone(),
            self.site.clone(),
            self.members.iter().map(|member| member.vm.as_str()).collect::<Vec<_>>().join(", "),
            state(self),
            or_dash(self.shared_rpo_seconds.map(seconds)),
            milliseconds(self.every_ms),
            self.missed.to_string(),
        ]
    }
}

impl Page for ReplicationGroupView {
    fn page(&self, times: &Times) -> String {
        let mut fields = vec![
            ("Group", self.name.clone()),
            ("Id", self.id.to_string()),
            ("To", self.site.clone()),
            ("State", state(self)),
            ("RPO now", or_dash(self.shared_rpo_seconds.map(seconds))),
            ("Newest shared there", or_dash(self.newest_there.map(|there| shared(&there, times)))),
            ("Newest shared", or_dash(self.newest.map(|newest| shared(&newest, times)))),
            ("Every", milliseconds(self.every_ms)),
            ("Made", format!("{}, {} came to nothing", self.made, self.missed)),
        ];
        if let (Some(at), Some(why)) = (self.last_missed_at, &self.last_missed_because) {
            fields.push(("Last of these", format!("{}: {why}", times.moment(at))));
        }
        if let (Some(half), Some(most), Some(longest)) =
            (self.held_p50_us, self.held_p99_us, self.held_longest_us)
        {
            let [half, most, longest] = [half, most, longest].map(duration);
            fields.push(("Writes waited", format!("{half}, {most} in 99 of 100, {longest} at most")));
        }
        fields.push(("Known since", times.moment(self.created_at)));
        let members = self.members.iter().map(|member| {
            vec![member.vm.clone(), replication::state_word(member.state, member.why.as_deref())]
        });
        table::fields(fields) + &table::section("Members", &["vm", "state"], members.collect())
    }
}

fn state(view: &ReplicationGroupView) -> String {
    match (view.state, &view.why) {
        (ReplicationGroupState::Starting, _) => "starting".to_owned(),
        (ReplicationGroupState::Consistent, _) => "consistent".to_owned(),
        (ReplicationGroupState::Degraded, Some(why)) => format!("DEGRADED: {why}"),
        (ReplicationGroupState::Degraded, None) => "DEGRADED".to_owned(),
        _ => "-".to_owned(),
    }
}

fn shared(checkpoint: &SharedCheckpointView, times: &Times) -> String {
    format!("#{}, {}", checkpoint.number, times.moment(checkpoint.time))
}

fn seconds(seconds: f64) -> String {
    duration((seconds.max(0.0) * 1e6) as u64)
}

fn milliseconds(milliseconds: u32) -> String {
    duration(u64::from(milliseconds) * 1000)
}

impl Identified for GroupCheckpointView {
    fn id(&self) -> String {
        format!("@{}#{}", self.group, self.number)
    }
}

impl Page for GroupCheckpointView {
    fn page(&self, times: &Times) -> String {
        table::fields(vec![
            ("Group", self.group.clone()),
            ("Name", self.name.clone()),
            ("Kind", if self.application { "application" } else { "bookmark" }.to_owned()),
            ("Made", times.moment(self.made_at)),
            ("Moment", self.id()),
        ])
    }
}

impl Identified for HandedOverGroupView {
    fn id(&self) -> String {
        self.group.clone()
    }
}

impl Page for HandedOverGroupView {
    fn page(&self, _: &Times) -> String {
        let vms = self.vms.iter().map(|vm| {
            vec![vm.vm.clone(), vm.site.clone(), or_dash(vm.through), or_dash(vm.job_there.as_ref())]
        });
        table::fields(vec![("Group", self.group.clone())])
            + &table::section("VMs", &["vm", "runs at", "from record", "job there"], vms.collect())
    }
}

impl Identified for ReplicaGroupView {
    fn id(&self) -> String {
        self.id.to_string()
    }
}

impl Row for ReplicaGroupView {
    const COLUMNS: &'static [&'static str] = &["name", "site", "members", "newest shared", "rpo"];

    fn cells(&self, times: &Times) -> Vec<String> {
        vec![
            self.name.clone(),
            self.site.clone(),
            self.members.iter().map(|member| member.vm_name.as_str()).collect::<Vec<_>>().join(", "),
            or_dash(self.newest.map(|newest| shared(&newest, times))),
            or_dash(self.rpo_seconds.map(|rpo| duration(rpo.saturating_mul(1_000_000)))),
        ]
    }
}

impl Page for ReplicaGroupView {
    fn page(&self, times: &Times) -> String {
        let mut fields = vec![
            ("Group", self.name.clone()),
            ("Id", self.id.to_string()),
            ("Site", self.site.clone()),
            ("Newest shared", or_dash(self.newest.map(|newest| shared(&newest, times)))),
            ("RPO now", or_dash(self.rpo_seconds.map(|rpo| duration(rpo.saturating_mul(1_000_000))))),
        ];
        fields.extend(self.problem.as_ref().map(|problem| ("Problem", problem.clone())));
        let members = self.members.iter().map(|member| {
            vec![
                member.vm_name.clone(),
                replica::stage(member.stage).to_owned(),
                replica::state(member.state).to_owned(),
            ]
        });
        table::fields(fields) + &table::section("Members", &["vm", "stage", "state"], members.collect())
    }
}

impl Identified for SharedPointView {
    fn id(&self) -> String {
        self.reference.clone()
    }
}

impl Row for SharedPointView {
    const COLUMNS: &'static [&'static str] = &["time", "kind", "name", "moment"];

    fn cells(&self, times: &Times) -> Vec<String> {
        let kind = match self.kind {
            ReplicaPointKind::Application => "application",
            ReplicaPointKind::Bookmark => "bookmark",
            _ => "crash",
        };
        let name = Some(&self.name).filter(|name| !name.is_empty());
        vec![times.moment(self.time), kind.to_owned(), or_dash(name), self.reference.clone()]
    }
}

impl Identified for GroupFailoverPlanView {
    fn id(&self) -> String {
        self.group.clone()
    }
}

impl Page for GroupFailoverPlanView {
    fn page(&self, times: &Times) -> String {
        let mut fields = vec![
            ("Group", self.group.clone()),
            ("From the moment", format!("#{}, {}", self.number, times.clock(self.moment_at))),
        ];
        for member in &self.members {
            fields.push(("VM", member.vm_name.clone()));
            fields.extend(member.lost.iter().map(|lost| ("Lost", lost.clone())));
        }
        table::fields(fields)
    }
}

//! Copies of vaults.

use api::{CopyState, CopyView, SyncView};

use super::{Identified, Page, Row, Times, or_dash, table};

impl Identified for CopyView {
    fn id(&self) -> String {
        format!("{}/{}", self.vault, self.name)
    }
}

impl Row for CopyView {
    const COLUMNS: &'static [&'static str] = &["name", "state", "last in step", "url"];

    fn cells(&self, times: &Times) -> Vec<String> {
        vec![
            self.name.clone(),
            state(self, times),
            or_dash(self.last_synced_at.map(|at| times.moment(at))),
            self.url.clone(),
        ]
    }
}

fn state(copy: &CopyView, times: &Times) -> String {
    let lag = match (copy.points_behind, copy.behind_since) {
        (Some(points @ 1..), Some(since)) => format!("{points} points behind, since {}", times.age(since)),
        (Some(points @ 1..), None) => format!("{points} points behind"),
        (_, Some(since)) => format!("behind, since {}", times.age(since)),
        _ => String::new(),
    };
    let word = match copy.state {
        CopyState::Syncing => "being brought up to date",
        CopyState::UpToDate => "up to date",
        CopyState::Failing => "FAILING",
        CopyState::Behind => "",
        _ => "-",
    };
    let parts = [word, &lag, copy.problem.as_deref().unwrap_or_default()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
}

impl Identified for SyncView {
    fn id(&self) -> String {
        format!("{}/{}", self.vault, self.copy)
    }
}

impl Page for SyncView {
    fn page(&self, _: &Times) -> String {
        table::fields(vec![
            ("Copy", self.id()),
            ("State", "up to date".to_owned()),
            ("Changes taken over", self.change_count.to_string()),
            ("Points among them", self.point_count.to_string()),
            ("Packs sent", self.pack_count.to_string()),
            ("Bytes sent", self.sent_bytes.to_string()),
        ])
    }
}

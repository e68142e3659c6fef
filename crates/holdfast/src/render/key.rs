//! Keys of vaults.

use api::KeySlotView;

use super::{Identified, Page, Row, Times, or_dash, table};

/// Digits of an id that tell the keys of a vault apart.
const ID_DIGITS: usize = 12;

impl Identified for KeySlotView {
    fn id(&self) -> String {
        self.id.clone()
    }
}

impl Row for KeySlotView {
    const COLUMNS: &'static [&'static str] = &["id", "opened by", "label", "made"];

    fn cells(&self, times: &Times) -> Vec<String> {
        vec![
            self.id.chars().take(ID_DIGITS).collect(),
            opened_by(self),
            self.label.clone(),
            or_dash(self.created_at.map(|at| times.moment(at))),
        ]
    }
}

impl Page for KeySlotView {
    fn page(&self, times: &Times) -> String {
        table::fields(vec![
            ("Key", self.id.clone()),
            ("Opened by", opened_by(self)),
            ("Label", self.label.clone()),
            ("Made", or_dash(self.created_at.map(|at| times.moment(at)))),
        ])
    }
}

fn opened_by(slot: &KeySlotView) -> String {
    match (&slot.kind, &slot.problem) {
        (_, Some(problem)) => format!("NOTHING: {problem}"),
        (Some(kind), None) => kind.clone(),
        (None, None) => "-".to_owned(),
    }
}

//! Disks that have names of their own.

use api::SiteDiskView;

use super::{Identified, Page, Row, Times, or_dash, table};

impl Identified for SiteDiskView {
    fn id(&self) -> String {
        self.id.to_string()
    }
}

impl Row for SiteDiskView {
    const COLUMNS: &'static [&'static str] = &["name", "id", "size", "state", "vm", "from", "path"];

    fn cells(&self, _: &Times) -> Vec<String> {
        vec![
            self.name.clone(),
            self.id(),
            self.size_bytes.to_string(),
            self.state.as_str().to_owned(),
            or_dash(self.vm.as_ref()),
            self.source.clone(),
            self.path.clone(),
        ]
    }
}

impl Page for SiteDiskView {
    fn page(&self, times: &Times) -> String {
        let mut fields = vec![
            ("Name", self.name.clone()),
            ("Id", self.id()),
            ("File", self.path.clone()),
            ("Size", self.size_bytes.to_string()),
            ("Made from", self.source.clone()),
            ("Made", times.moment(self.created_at)),
            ("State", self.state.as_str().to_owned()),
        ];
        fields.extend(self.reads_from.clone().map(|image| ("Reads from", image)));
        fields.extend(self.failure.clone().map(|failure| ("Problem", failure)));
        fields.extend(self.vm.clone().map(|vm| ("VM", vm)));
        fields.extend(self.hydration_job.map(|job| ("Job", job.to_string())));
        table::fields(fields)
    }
}

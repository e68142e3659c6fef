//! Runbooks.

use api::{RunbookTestView, RunbookView};

use super::{Identified, Page, Row, Times, duration, or_dash, table};

impl Identified for RunbookView {
    fn id(&self) -> String {
        self.name.clone()
    }
}

impl Row for RunbookView {
    const COLUMNS: &'static [&'static str] = &["name", "kind", "parameters", "description"];

    fn cells(&self, _: &Times) -> Vec<String> {
        let parameters: Vec<_> = self.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        let parameters = (!parameters.is_empty()).then(|| parameters.join(", "));
        vec![self.name.clone(), self.kind.clone(), or_dash(parameters), or_dash(self.description.clone())]
    }
}

impl Page for RunbookView {
    fn page(&self, times: &Times) -> String {
        let fields = vec![
            ("Name", self.name.clone()),
            ("Description", or_dash(self.description.clone())),
            ("Kind", self.kind.clone()),
            ("Changed", times.clock(self.changed_at)),
            ("From another site", if self.origin.is_none() { "no" } else { "yes" }.to_owned()),
            ("May run", if self.is_accepted { "yes" } else { "once a plan with it is accepted" }.to_owned()),
        ];
        let parameters = self.parameters.iter().map(|parameter| {
            let default = parameter.default.clone().unwrap_or_else(|| "needed".to_owned());
            vec![parameter.name.clone(), default, or_dash(parameter.description.clone())]
        });
        let columns = &["parameter", "default", "description"];
        let parameters = table::section("Parameters", columns, parameters.collect());
        format!("{}{parameters}\n{}", table::fields(fields), self.document)
    }
}

impl Identified for RunbookTestView {
    fn id(&self) -> String {
        self.name.clone()
    }
}

impl Page for RunbookTestView {
    fn page(&self, _: &Times) -> String {
        let mut fields = vec![
            ("Runbook", self.name.clone()),
            ("Result", self.failure.clone().unwrap_or_else(|| "done".to_owned())),
            ("Took", duration(self.duration_ms.saturating_mul(1000))),
        ];
        fields.extend(self.exit_code.map(|code| ("Exit code", code.to_string())));
        let variables = self.variables.iter().map(|(name, value)| vec![name.clone(), value.clone()]);
        let variables = table::section("Variables", &["name", "value"], variables.collect());
        format!("{}{variables}\n{}", table::fields(fields), self.output)
    }
}

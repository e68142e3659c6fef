//! Runbooks: actions with names and parameters, kept by the site.

use std::collections::BTreeMap;

use api::{ParameterView, RunbookView};
use catalog::KnownRunbook;
use plan::{Action, ActionWork, Finding, Runbook};

use crate::{
    failure::{Failure, Result},
    site::Site,
};

/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 200;

/// The runbook of this name.
pub(crate) async fn find(site: &Site, name: &str) -> Result<KnownRunbook> {
    site.catalog.runbook(name).await?.ok_or_else(|| {
        Failure::not_found(format!("there is no runbook {name}"))
            .with_hint("see them with: holdfast runbook list")
    })
}

/// Keeps a new runbook.
pub(crate) async fn create(site: &Site, name: &str, document: String) -> Result<KnownRunbook> {
    if name.trim().is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(Failure::invalid(format!(
            "a runbook's name has 1 to {NAME_BYTES_MAX} bytes and no control character"
        )));
    }
    read(&document)?;
    let now = site.env.clock.now();
    let runbook = KnownRunbook { name: name.to_owned(), document, created_at: now, changed_at: now };
    site.catalog.add_runbook(&runbook).await?;
    Ok(runbook)
}

/// Puts another document in the place of a runbook's. Runs that have begun its action go on with the one before.
pub(crate) async fn edit(site: &Site, name: &str, document: String) -> Result<KnownRunbook> {
    let known = find(site, name).await?;
    read(&document)?;
    let runbook = KnownRunbook { document, changed_at: site.env.clock.now(), ..known };
    site.catalog.set_runbook(&runbook).await?;
    Ok(runbook)
}

/// The action that a runbook is with these values, and the values of all its parameters.
pub(crate) async fn filled(
    site: &Site,
    name: &str,
    given: &BTreeMap<String, String>,
) -> Result<(Action, BTreeMap<String, String>)> {
    let runbook = read(&find(site, name).await?.document)?;
    let values =
        runbook.values(given).map_err(|finding| refused(&format!("the runbook {name}"), &[finding]))?;
    Ok((runbook.with(name, &values), values))
}

/// A runbook as clients see it.
pub(crate) fn view(known: KnownRunbook) -> Result<RunbookView> {
    let runbook = read(&known.document)?;
    let parameters = runbook.parameters.iter().map(|(name, parameter)| ParameterView {
        name: name.clone(),
        description: parameter.description.clone(),
        default: parameter.default.clone(),
    });
    let kind = match runbook.with(&known.name, &BTreeMap::new()).work() {
        Some(ActionWork::Script(_)) => "script",
        Some(ActionWork::Guest(_)) => "guest",
        Some(ActionWork::Http(_)) => "http",
        Some(ActionWork::Ansible(_)) => "ansible",
        _ => "nothing",
    };
    Ok(RunbookView {
        parameters: parameters.collect(),
        kind: kind.to_owned(),
        description: runbook.description,
        name: known.name,
        document: known.document,
        created_at: known.created_at,
        changed_at: known.changed_at,
    })
}

fn read(document: &str) -> Result<Runbook> {
    let what = "the runbook";
    let runbook = plan::read_runbook(document).map_err(|finding| refused(what, &[finding]))?;
    match runbook.validate() {
        findings if findings.is_empty() => Ok(runbook),
        findings => Err(refused(what, &findings)),
    }
}

fn refused(what: &str, findings: &[Finding]) -> Failure {
    let said: Vec<_> = findings.iter().map(ToString::to_string).collect();
    let failure = Failure::invalid(format!("{what} cannot be used: {}", said.join("; ")));
    match findings.iter().find_map(|finding| finding.hint.clone()) {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

//! Runbooks: actions with names and parameters, kept by the site.

pub(crate) mod elsewhere;
pub(crate) mod for_others;

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
    check(name, &document)?;
    let now = site.env.clock.now();
    let runbook = KnownRunbook {
        name: name.to_owned(),
        document,
        created_at: now,
        changed_at: now,
        origin: None,
        is_accepted: true,
    };
    site.catalog.add_runbook(&runbook).await?;
    site.plans.changed.notify_one();
    Ok(runbook)
}

/// Fails for what is no runbook.
pub(crate) fn check(name: &str, document: &str) -> Result<()> {
    if name.trim().is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(Failure::invalid(format!(
            "a runbook's name has 1 to {NAME_BYTES_MAX} bytes and no control character"
        )));
    }
    read(document).map(drop)
}

/// Puts another document in the place of a runbook's. Runs that have begun its action go on with the one before.
pub(crate) async fn edit(site: &Site, name: &str, document: String) -> Result<KnownRunbook> {
    let known = find(site, name).await?;
    read(&document)?;
    let changed_at = site.env.clock.now();
    let runbook = KnownRunbook { document, changed_at, origin: None, is_accepted: true, ..known };
    site.catalog.set_runbook(&runbook).await?;
    site.plans.changed.notify_one();
    Ok(runbook)
}

/// The action that a runbook is with these values, and the values of all its parameters.
pub(crate) async fn filled(
    site: &Site,
    name: &str,
    given: &BTreeMap<String, String>,
) -> Result<(Action, BTreeMap<String, String>)> {
    let known = find(site, name).await?;
    if !known.is_accepted {
        let detail = format!("the runbook {name} came from another site, and nobody here has agreed to it");
        return Err(Failure::conflict(detail).with_hint(
            "look at it: holdfast runbook show; then accept the plan that it came with: holdfast plan accept",
        ));
    }
    let runbook = read(&known.document)?;
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
        origin: known.origin,
        is_accepted: known.is_accepted,
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

//! Which crate may know which: the list in ARCHITECTURE.md against the manifests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Finding;
use crate::cargo::cargo;

/// Own crates by name, each with the own crates that it depends on.
type Arrows = BTreeMap<String, BTreeSet<String>>;

/// What the manifests say. An arrow must be listed when it ships; it may be listed when only tests need it.
struct Declared {
    shipped: Arrows,
    any: Arrows,
}

/// Holds the dependencies between own crates against the arrows of ARCHITECTURE.md.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).context("reading ARCHITECTURE.md")?;
    let allowed = listed(&page)?;
    let output = cargo().args(["metadata", "--no-deps", "--format-version", "1"]).output()?;
    let metadata = serde_json::from_slice(&output.stdout).context("reading the output of cargo metadata")?;
    Ok(compare(&allowed, &declared(&metadata)))
}

/// The arrows in the page's block `arrows`: a line for each crate, `crate -> crate crate`.
fn listed(page: &str) -> Result<Arrows> {
    page.lines()
        .skip_while(|line| *line != "```arrows")
        .skip(1)
        .take_while(|line| *line != "```")
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let (from, to) = line.split_once("->").with_context(|| format!("{line:?} is not an arrow"))?;
            Ok((from.trim().to_owned(), to.split_whitespace().map(str::to_owned).collect()))
        })
        .collect()
}

fn declared(metadata: &Value) -> Declared {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let arrows = |wanted: fn(&Value) -> bool| {
        let to = |package: &Value| {
            let dependencies = list(&package["dependencies"]);
            dependencies.iter().filter(|entry| entry["path"].is_string() && wanted(entry)).map(name).collect()
        };
        list(&metadata["packages"]).iter().map(|package| (name(package), to(package))).collect()
    };
    Declared { shipped: arrows(|dependency| dependency["kind"] != "dev"), any: arrows(|_| true) }
}

fn compare(allowed: &Arrows, declared: &Declared) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (from, any) in &declared.any {
        let Some(known) = allowed.get(from) else {
            findings.push(Finding::error(format!("ARCHITECTURE.md does not know the crate {from}")));
            continue;
        };
        for extra in declared.shipped.get(from).into_iter().flatten().filter(|to| !known.contains(*to)) {
            findings.push(Finding::error(format!("{from} -> {extra} is no arrow of ARCHITECTURE.md")));
        }
        for unused in known.difference(any) {
            findings.push(Finding::error(format!(
                "{from} -> {unused} is in ARCHITECTURE.md, but not in the manifest"
            )));
        }
    }
    for gone in allowed.keys().filter(|name| !declared.any.contains_key(*name)) {
        findings.push(Finding::error(format!("ARCHITECTURE.md has the crate {gone}, but there is none")));
    }
    findings
}

#[cfg(test)]
mod tests;

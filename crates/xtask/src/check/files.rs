//! Sizes and names of source files.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::Finding;

/// From here on a file probably holds two ideas.
const LINES_WARNING: usize = 600;

/// No file is longer than this.
const LINES_LIMIT: usize = 1000;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 9] =
    ["common", "helper", "helpers", "manager", "managers", "misc", "shared", "util", "utils"];

/// Checks all Rust files below `crates`.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    check_directory(root, &root.join("crates"), &mut findings)?;
    Ok(findings)
}

fn check_directory(root: &Path, directory: &Path, findings: &mut Vec<Finding>) -> Result<()> {
    let mut entries = fs::read_dir(directory)
        .and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>())
        .with_context(|| format!("reading {}", directory.display()))?;
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        if path.is_dir() {
            check_directory(root, &path, findings)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).with_context(|| format!("reading {name}"))?;
            findings.extend(check_file(&name, &text));
        }
    }
    Ok(())
}

fn check_file(path: &str, text: &str) -> Vec<Finding> {
    let file = path.rsplit('/').next().unwrap_or(path);
    let module = file.trim_end_matches(".rs");
    let is_test = file == "tests.rs" || path.contains("/tests/");
    let mut findings = Vec::new();
    if file == "mod.rs" {
        findings.push(Finding::error(format!("{path}: name the file after its folder and put it beside it")));
    }
    for word in module.split('_').filter(|word| EMPTY_NAMES.contains(word)) {
        findings.push(Finding::error(format!("{path}: {word:?} does not say what is inside")));
    }
    let lines = text.lines().count();
    if lines > LINES_LIMIT {
        findings.push(Finding::error(format!("{path}: {lines} lines, and {LINES_LIMIT} are the limit")));
    } else if lines > LINES_WARNING && !is_test {
        findings.push(Finding::warning(format!("{path}: {lines} lines are probably two ideas")));
    }
    if !is_test && text.lines().any(|line| line.trim() == "use super::*;") {
        findings.push(Finding::error(format!("{path}: `use super::*` is for tests: name what is used")));
    }
    findings
}

#[cfg(test)]
mod tests;

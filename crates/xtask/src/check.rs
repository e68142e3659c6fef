//! `cargo xtask check`: what the compiler does not hold.

mod arrows;
mod files;

use anyhow::{Result, ensure};

use crate::cargo::workspace_root;

/// Checks the arrows between crates, and the sizes and names of files; prints every finding.
pub fn run() -> Result<()> {
    let root = workspace_root();
    let mut findings = arrows::check(&root)?;
    findings.append(&mut files::check(&root)?);
    for finding in &findings {
        eprintln!("{}: {}", if finding.is_error { "error" } else { "warning" }, finding.text);
    }
    let errors = findings.iter().filter(|finding| finding.is_error).count();
    ensure!(errors == 0, "{errors} rules of the repository are broken");
    Ok(())
}

/// A rule that is broken, or nearly.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    is_error: bool,
    text: String,
}

impl Finding {
    fn error(text: impl Into<String>) -> Self {
        Self { is_error: true, text: text.into() }
    }

    fn warning(text: impl Into<String>) -> Self {
        Self { is_error: false, text: text.into() }
    }
}

//! `cargo xtask ci`: everything that must hold before a change is accepted.

use anyhow::Result;

use crate::{
    cargo::{self, cargo, has_subcommand},
    check, test,
};

/// Runs each step; stops at the first that fails. The tests come last, so that their count is the last line.
pub fn run() -> Result<()> {
    step("format", || cargo::run(&["fmt", "--all", "--check"]))?;
    step("check", check::run)?;
    step("lints", || {
        cargo::run(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"])
    })?;
    step("licences and sources", deny)?;
    step("tests", || test::run(None))
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    eprintln!("== {name}");
    work()
}

/// Licences, banned crates and sources; known vulnerabilities where their database can be fetched.
fn deny() -> Result<()> {
    if !has_subcommand("deny") {
        // Unoptimised, it is built in a third of the time and still checks in seconds.
        cargo::run(&["install", "cargo-deny", "--locked", "--debug"])?;
    }
    cargo::run(&["deny", "--log-level", "error", "check", "bans", "licenses", "sources"])?;
    let fetched = cargo().args(["deny", "fetch", "db"]).output()?;
    if fetched.status.success() {
        return cargo::run(&["deny", "--log-level", "error", "check", "advisories", "--disable-fetch"]);
    }
    eprintln!("warning: known vulnerabilities were not looked for: their database could not be fetched");
    Ok(())
}

//! restic: chunks of 1 MiB by content, zstd, AES-256.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;
use testkit::command;

use super::Peer;
use crate::bench::vault::cycle::{Places, Step};

pub struct Restic {
    name: String,
}

impl Restic {
    pub fn new(name: String) -> Self {
        Self { name }
    }

    fn command(places: &Places) -> Command {
        let mut command = Command::new("restic");
        command
            .env("RESTIC_PASSWORD", "bench")
            .env("RESTIC_CACHE_DIR", places.state())
            .arg("--repo")
            .arg(places.repository());
        command
    }

    fn backup(places: &Places, step: Step) -> Command {
        let (tag, disk) = match step {
            Step::Full => ("base", places.disk()),
            Step::Sibling => ("sibling", places.sibling_disk()),
            _ => ("changed", places.disk()),
        };
        let mut command = Self::command(places);
        command.args(["backup", "--tag", tag]).arg(disk);
        command
    }

    /// Old versions always write the holes too.
    fn knows_holes() -> bool {
        let help = command::run(Command::new("restic").args(["restore", "--help"]));
        help.is_ok_and(|help| help.contains("--sparse"))
    }

    fn first_snapshot(places: &Places) -> Result<String> {
        let list = command::run(Self::command(places).args(["snapshots", "--tag", "base", "--json"]))?;
        let snapshots: Value = serde_json::from_str(&list)?;
        Ok(snapshots[0]["id"].as_str().context("restic has no such snapshot")?.to_owned())
    }
}

impl Peer for Restic {
    fn name(&self) -> &str {
        &self.name
    }

    fn prepare(&self, places: &Places) -> Result<()> {
        command::run(Self::command(places).args(["init", "--repository-version", "2"])).map(drop)
    }

    fn commands(&self, step: Step, places: &Places) -> Result<Vec<Command>> {
        let mut command = Self::command(places);
        match step {
            Step::Full | Step::Incremental | Step::Sibling => command = Self::backup(places, step),
            Step::Restore => {
                command.args(["restore", "latest", "--tag", "changed", "--target"]).arg(places.restored());
                command.args(Self::knows_holes().then_some("--sparse"));
            }
            Step::Verify => drop(command.args(["check", "--read-data"])),
            Step::Collect => drop(command.args(["forget", "--prune", &Self::first_snapshot(places)?])),
        }
        Ok(vec![command])
    }
}

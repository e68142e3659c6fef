//! rustic: restic's format, fixed chunks of 1 MiB.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;
use testkit::command;

use super::Peer;
use crate::bench::vault::cycle::{Places, Step};

pub struct Rustic {
    name: String,
}

impl Rustic {
    pub fn new(name: String) -> Self {
        Self { name: format!("{name}, fixed chunks") }
    }

    fn command(places: &Places) -> Command {
        let mut command = Command::new("rustic");
        command
            .env("RUSTIC_PASSWORD", "bench")
            .env("RUSTIC_CACHE_DIR", places.state())
            .env("RUSTIC_NO_PROGRESS", "true")
            .arg("--repository")
            .arg(places.repository());
        command
    }

    fn backup(places: &Places, step: Step) -> Command {
        let (label, disk) = match step {
            Step::Full => ("base", places.disk()),
            Step::Sibling => ("sibling", places.sibling_disk()),
            _ => ("changed", places.disk()),
        };
        let mut command = Self::command(places);
        command.args(["backup", "--label", label]).arg(disk);
        command
    }

    fn first_snapshot(places: &Places) -> Result<String> {
        let mut command = Self::command(places);
        let list = command::run(command.args(["snapshots", "--filter-label", "base", "--all", "--json"]))?;
        let groups: Value = serde_json::from_str(&list)?;
        let id = groups.pointer("/0/1/0/id").or_else(|| groups.pointer("/0/snapshots/0/id"));
        Ok(id.and_then(Value::as_str).context("rustic has no such snapshot")?.to_owned())
    }
}

impl Peer for Rustic {
    fn name(&self) -> &str {
        &self.name
    }

    fn prepare(&self, places: &Places) -> Result<()> {
        let mut command = Self::command(places);
        let chunking = ["--set-chunker", "fixed_size", "--set-chunk-size", "1MiB"];
        command::run(command.arg("init").args(chunking)).map(drop)
    }

    fn commands(&self, step: Step, places: &Places) -> Result<Vec<Command>> {
        let mut command = Self::command(places);
        match step {
            Step::Full | Step::Incremental | Step::Sibling => command = Self::backup(places, step),
            Step::Restore => {
                let directory = places.disk().parent().context("the disk has no directory")?.to_owned();
                let snapshot = format!("latest:{}", directory.display());
                command.args(["restore", "--filter-label", "changed", &snapshot]).arg(places.restored());
            }
            Step::Verify => drop(command.args(["check", "--read-data"])),
            Step::Collect => {
                let first = Self::first_snapshot(places)?;
                command.args(["forget", "--prune", "--instant-delete", &first]);
            }
        }
        Ok(vec![command])
    }
}

//! Borg 1: fixed chunks of 1 MiB, which its manual advises for disk images; zstd 3, AES-256 with BLAKE2.

use std::process::Command;

use anyhow::Result;
use testkit::command;

use super::Peer;
use crate::bench::vault::cycle::{Places, Step};

pub struct Borg {
    name: String,
}

impl Borg {
    pub fn new(name: String) -> Self {
        Self { name }
    }

    fn command(places: &Places, subcommand: &str) -> Command {
        let mut command = Command::new("borg");
        command
            .arg(subcommand)
            .env("BORG_PASSPHRASE", "bench")
            .env("BORG_BASE_DIR", places.state())
            .env("BORG_CHECK_I_KNOW_WHAT_I_AM_DOING", "YES");
        command
    }

    fn archive(places: &Places, name: &str) -> String {
        format!("{}::{name}", places.repository().display())
    }

    fn create(places: &Places, archive: &str) -> Command {
        let disk = if archive == "sibling" { places.sibling_disk() } else { places.disk() };
        let mut command = Self::command(places, "create");
        command
            .args(["--chunker-params", "fixed,1048576", "--compression", "zstd,3"])
            .arg(Self::archive(places, archive))
            .arg(disk);
        command
    }
}

impl Peer for Borg {
    fn name(&self) -> &str {
        &self.name
    }

    fn prepare(&self, places: &Places) -> Result<()> {
        let mut command = Self::command(places, "init");
        command::run(command.args(["--encryption", "repokey-blake2"]).arg(places.repository())).map(drop)
    }

    fn commands(&self, step: Step, places: &Places) -> Result<Vec<Command>> {
        let on_repository = |mut command: Command| {
            command.arg(places.repository());
            command
        };
        let with = |subcommand, argument: &str| {
            let mut command = Self::command(places, subcommand);
            command.arg(argument);
            command
        };
        Ok(match step {
            Step::Full => vec![Self::create(places, "base")],
            Step::Incremental => vec![Self::create(places, "changed")],
            Step::Sibling => vec![Self::create(places, "sibling")],
            Step::Restore => {
                let mut command = with("extract", "--sparse");
                command.arg(Self::archive(places, "changed")).current_dir(places.restored());
                vec![command]
            }
            Step::Verify => vec![on_repository(with("check", "--verify-data"))],
            Step::Collect => vec![
                with("delete", &Self::archive(places, "base")),
                on_repository(Self::command(places, "compact")),
            ],
        })
    }
}

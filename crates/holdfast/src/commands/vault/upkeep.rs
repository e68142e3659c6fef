//! Keeping a vault in order: its store tried out, space given back, damage found and healed.

use api::{CollectRequest, ProbeStore, RepairRequest, VerifyRequest};
use clap::Args;
use model::PointId;

use crate::{arguments, context::Context, exit::Exit, failure::Failure, location, wait::WaitArguments};

/// Tries out a store.
#[derive(Debug, Args)]
#[command(after_long_help = DOCTOR_EXAMPLES)]
pub struct Doctor {
    /// A vault, by name; or a store: a path with a slash in it, or a URL.
    store: String,
}

const DOCTOR_EXAMPLES: &str = "\
Examples:
  holdfast vault doctor main
  holdfast vault doctor 's3://bucket/prefix?endpoint=https://minio:9000'";

/// Verifies a vault.
#[derive(Debug, Args)]
#[command(after_long_help = VERIFY_EXAMPLES)]
pub struct Verify {
    /// The vault, by name or id.
    vault: String,
    /// Read only so much of the packs, chosen at random, as in 10%.
    #[arg(long, value_name = "PERCENT", value_parser = arguments::percent)]
    sample: Option<u8>,
    /// Read only packs that were not found sound for so long, as in 30d.
    #[arg(long, value_name = "AGE", value_parser = arguments::hours, conflicts_with = "sample")]
    older_than: Option<u32>,
    #[command(flatten)]
    wait: WaitArguments,
}

const VERIFY_EXAMPLES: &str = "\
Examples:
  holdfast vault verify main
  holdfast vault verify main --older-than 30d";

/// Heals a vault.
#[derive(Debug, Args)]
#[command(after_long_help = REPAIR_EXAMPLES)]
pub struct Repair {
    /// The vault, by name or id.
    vault: String,
    /// A copy of the vault to take sound objects from; all copies where it is left out. May be given several times.
    #[arg(long, value_name = "COPY")]
    from_copy: Vec<String>,
    /// Show what would be healed, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    wait: WaitArguments,
}

const REPAIR_EXAMPLES: &str = "\
Examples:
  holdfast vault repair main --dry-run
  holdfast vault repair main --from-copy offsite";

/// Collects garbage.
#[derive(Debug, Args)]
#[command(after_long_help = COLLECT_EXAMPLES)]
pub struct Collect {
    /// The vault, by name or id.
    vault: String,
    /// Show what would go and what that would free, and delete nothing.
    #[arg(long)]
    dry_run: bool,
    /// How long what no point needs yet is left alone, for the sake of backups at work: 72h by default.
    #[arg(long, value_name = "DURATION", value_parser = arguments::hours)]
    grace: Option<u32>,
    /// A damaged point, by id, that is no reason to stop: what cannot be found of it any more counts as not needed. May be
    /// given several times; try vault repair first.
    #[arg(long, value_name = "POINT")]
    ignore_damaged: Vec<PointId>,
    #[command(flatten)]
    wait: WaitArguments,
}

const COLLECT_EXAMPLES: &str = "\
Examples:
  holdfast vault gc main --dry-run
  holdfast vault gc main --grace 12h";

impl Doctor {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        // A vault's name holds neither slash nor colon.
        let is_place = self.store.contains(['/', ':']);
        let store = if is_place { location::store_url(&self.store)? } else { self.store };
        let probe = context.client.probe_store(&ProbeStore { store }).await?;
        context.output.one(&probe)?;
        if probe.is_fit {
            return Ok(());
        }
        Err(Failure::new(Exit::Damaged, format!("{} cannot hold a vault", probe.url))
            .with_hint("choose another store; the checks that failed say what this one lacks"))
    }
}

impl Verify {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let request = VerifyRequest { sample_percent: self.sample, older_than_hours: self.older_than };
        self.wait.finish(context, &context.client.verify_vault(&self.vault, &request).await?).await
    }
}

impl Repair {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        if !self.dry_run {
            context.confirm(&format!("Replace what is damaged in {}? Sound objects stay.", self.vault))?;
        }
        let request = RepairRequest { from_copies: self.from_copy, dry_run: self.dry_run };
        self.wait.finish(context, &context.client.repair(&self.vault, &request).await?).await
    }
}

impl Collect {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        if !self.dry_run {
            context.confirm(&format!("Delete for good what no point in {} needs any more?", self.vault))?;
        }
        let request = CollectRequest {
            dry_run: self.dry_run,
            grace_hours: self.grace,
            ignore_damaged: self.ignore_damaged,
        };
        self.wait.finish(context, &context.client.collect(&self.vault, &request).await?).await
    }
}

//! What a vault promises about deletion.

use api::ChangeSettings;
use clap::{Args, Subcommand, ValueEnum};
use model::Immutability;

use crate::{arguments, context::Context, failure::Failure};

/// What can be done with a vault's promises.
#[derive(Debug, Subcommand)]
pub enum ImmutabilityCommand {
    /// Shows what a vault promises.
    #[command(after_long_help = "Example:\n  holdfast vault immutability show main")]
    Show(Show),
    /// Changes what a vault promises; what is not given stays.
    ///
    /// The promise is the vault's own and holds for every site that uses it. Once locked it can only be made stricter, by
    /// anybody, ever: locking asks for the vault's name, or needs --yes.
    #[command(after_long_help = SET_EXAMPLES)]
    Set(Set),
}

const SET_EXAMPLES: &str = "\
Examples:
  holdfast vault immutability set main --soft-delete 30d
  holdfast vault immutability set main --min-retention 30d --mode enabled
  holdfast vault immutability set main --mode locked --dry-run";

/// Shows a vault's promises.
#[derive(Debug, Args)]
pub struct Show {
    /// The vault, by name or id.
    vault: String,
}

/// Changes a vault's promises.
#[derive(Debug, Args)]
pub struct Set {
    /// The vault, by name or id.
    vault: String,
    /// How long a deleted point can be brought back, as in 14d; 0d lets the next vault gc take it.
    #[arg(long, value_name = "DAYS", value_parser = arguments::days)]
    soft_delete: Option<u32>,
    /// How long after its backup a point cannot be deleted, as in 30d, while the mode is not disabled.
    #[arg(long, value_name = "DAYS", value_parser = arguments::days)]
    min_retention: Option<u32>,
    /// disabled: points can be deleted at any time; enabled: not before the least retention is over; locked: the same, for
    /// good.
    #[arg(long)]
    mode: Option<Mode>,
    /// Show what would hold, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Whether the least retention holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Disabled,
    Enabled,
    Locked,
}

impl From<Mode> for Immutability {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Disabled => Self::Disabled,
            Mode::Enabled => Self::Enabled,
            Mode::Locked => Self::Locked,
        }
    }
}

impl ImmutabilityCommand {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Show(Show { vault }) => context.output.one(&context.client.settings(&vault).await?),
            Self::Set(set) => set.run(context).await,
        }
    }
}

impl Set {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { vault, soft_delete, min_retention, mode, dry_run } = self;
        if soft_delete.is_none() && min_retention.is_none() && mode.is_none() {
            return Err(Failure::usage("nothing to change")
                .with_hint("give --soft-delete, --min-retention or --mode"));
        }
        let request = ChangeSettings {
            soft_delete_days: soft_delete,
            immutability: mode.map(Into::into),
            min_retention_days: min_retention,
            dry_run,
        };
        if dry_run {
            context.note("this would hold; nothing was changed");
        } else if mode == Some(Mode::Locked) {
            let name = context.client.vault(&vault).await?.name;
            context.confirm_by_name(&format!("Lock {name} for good?"), &name)?;
        }
        context.output.one(&context.client.change_settings(&vault, &request).await?)
    }
}

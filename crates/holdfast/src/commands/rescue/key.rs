//! The key at hand: whether it opens the vault, before somebody relies on it.

use clap::Subcommand;
use model::Timestamp;
use serde::Serialize;

use super::source::SourceArguments;
use crate::{
    context::Context,
    failure::Failure,
    render::{Identified, Page, Times, table},
};

/// What can be done with the key at hand.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Tries whether the key opens the vault, and what it opens.
    ///
    /// Try each kit and key file once a year: a key that nobody has tried is a hope. Exits with 12 when it does not open.
    #[command(after_long_help = "Example:\n  holdfast rescue --url /mnt/nas/vault --kit key test")]
    Test,
}

/// What a key opens.
#[derive(Debug, Serialize)]
struct Opened {
    vault_id: String,
    url: String,
    /// Whether it reads the data of disks, or only adds to the vault.
    can_read: bool,
    point_count: usize,
    latest_captured_at: Option<Timestamp>,
}

impl KeyCommand {
    /// Does it.
    pub async fn run(self, context: &Context, source: &SourceArguments) -> Result<(), Failure> {
        let Self::Test = self;
        let vault = source.open().await?;
        let points = vault.points().await?.points;
        context.output.one(&Opened {
            vault_id: vault.id().to_string(),
            url: source.url()?,
            can_read: vault.can_read_data(),
            point_count: points.len(),
            latest_captured_at: points.last().map(|point| point.summary.captured_at),
        })
    }
}

impl Identified for Opened {
    fn id(&self) -> String {
        self.vault_id.clone()
    }
}

impl Page for Opened {
    fn page(&self, times: &Times) -> String {
        let opens = if self.can_read {
            "everything: it restores"
        } else {
            "only what a host needs to add to the vault: it does not restore"
        };
        let latest = self.latest_captured_at.map_or_else(|| "-".to_owned(), |at| times.moment(at));
        table::fields(vec![
            ("Vault", self.vault_id.clone()),
            ("URL", self.url.clone()),
            ("The key opens", opens.to_owned()),
            ("Points", self.point_count.to_string()),
            ("Latest point", latest),
        ])
    }
}

//! What differs between the files of two images.

use std::{os::unix::ffi::OsStrExt as _, path::PathBuf};

use api::{FileChange, ImageQuery, UnlockVolumes};
use clap::Args;

use super::Unlock;
use crate::{commands::image::checked, context::Context, exit::Exit, failure::Failure};

/// Shows which files differ.
#[derive(Debug, Args)]
pub struct DiffFiles {
    /// The image to compare with: point:VM/POINT[/DISK], snapshot:NAME[/DISK] or file:PATH.
    #[arg(value_name = "BASE")]
    base: String,
    /// The image that may differ.
    #[arg(value_name = "REF")]
    reference: String,
    /// The path below which to compare, which starts with a volume; all volumes where it is left out.
    #[arg(value_name = "PATH", default_value = "/")]
    path: PathBuf,
    /// Compare the bytes of files that have the same size, which takes as long as reading them all.
    #[arg(long)]
    content: bool,
    /// Read both from a copy instead of the vault: COPY, or VAULT/COPY.
    #[arg(long, value_name = "COPY")]
    from_copy: Option<String>,
    #[command(flatten)]
    unlock: Unlock,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast files diff point:web-1/2026-03-01T14:05:00Z point:web-1/latest
  holdfast files diff point:web-1/2026-03-01T14:05:00Z point:web-1/latest /vda-1/etc --content
  holdfast files diff file:/srv/golden.qcow2 point:web-1/latest/disk -o jsonl";

impl DiffFiles {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let (base, reference) = (checked(&self.base)?, checked(&self.reference)?);
        if let Some(passphrase) = self.unlock.passphrase()? {
            for reference in [&base, &reference] {
                let (reference, from_copy) = (reference.clone(), self.from_copy.clone());
                let request = UnlockVolumes { reference, from_copy, passphrase: passphrase.clone() };
                context.client.unlock_volumes(&request).await?;
            }
        }
        let image = ImageQuery { reference: &reference, from_copy: self.from_copy.as_deref() };
        let path = self.path.as_os_str().as_bytes();
        let mut changes = context.client.file_changes(&base, image, path, self.content).await?;
        let mut listing = context.output.listing();
        let (mut added, mut removed, mut changed, mut unreadable) = (0_u64, 0_u64, 0_u64, 0_u64);
        while let Some(change) = changes.next().await? {
            *match change.change {
                FileChange::Added => &mut added,
                FileChange::Removed => &mut removed,
                FileChange::Changed => &mut changed,
                FileChange::Unreadable => &mut unreadable,
            } += 1;
            if !listing.push(change)? {
                return Ok(());
            }
        }
        listing.finish("no file differs")?;
        if added + removed + changed > 0 {
            context.note(&format!("{added} added, {removed} removed, {changed} changed"));
        }
        match unreadable {
            0 => Ok(()),
            count => Err(Failure::new(
                Exit::SomeFailed,
                format!("{count} paths cannot be read; what lies below them was not compared"),
            )),
        }
    }
}

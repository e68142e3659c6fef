//! Files of an image restored: into a running guest, or to a directory of this host.

use std::path::PathBuf;

use api::RestoreFilesRequest;
use clap::Args;

use crate::{
    commands::{
        files::{Unlock, take_out},
        image::ImageArgument,
    },
    context::Context,
    failure::Failure,
    wait::WaitArguments,
};

/// Restores files.
#[derive(Debug, Args)]
pub struct RestoreFiles {
    #[command(flatten)]
    image: ImageArgument,
    /// Files, and directories with all that is below them. Each path starts with a volume, as in holdfast files ls.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// The running VM whose guest takes them, by name or id; without it they go to a directory of this host.
    #[arg(long, value_name = "VM", required_unless_present = "to")]
    vm: Option<String>,
    /// The directory that they go to: in the guest, with --vm, or on this host. Left out with --vm, files of the VM's own points go
    /// to their own places.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Replace files that exist in the guest. Otherwise they are kept.
    #[arg(long, requires = "vm")]
    overwrite: bool,
    /// Show what would be written and kept in the guest, and change nothing.
    #[arg(long, requires = "vm")]
    dry_run: bool,
    #[command(flatten)]
    unlock: Unlock,
    #[command(flatten)]
    wait: WaitArguments,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  holdfast restore files point:web-1/latest /vda-1/etc/nginx --vm web-1 --dry-run
  holdfast restore files point:web-1/latest /vda-1/etc/nginx --vm web-1 --overwrite
  holdfast restore files point:web-1/latest /vda-1/home/ann /vda-1/home/bob --vm web-1 --to /root/restored
  holdfast restore files point:win-1/latest /vda-3/Users/ann/Documents --vm win-1 --to 'C:\\restored'
  holdfast restore files point:web-1/latest /vda-1/etc --to restored";

impl RestoreFiles {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let image = self.image.checked()?;
        if let Some(passphrase) = self.unlock.passphrase()? {
            context.client.unlock_volumes(&image.unlocked_by(passphrase)).await?;
        }
        let Some(vm) = self.vm else {
            let target =
                self.to.ok_or_else(|| Failure::usage("name a directory with --to, or a VM with --vm"))?;
            for path in &self.paths {
                take_out(context, &image, path, &target).await?;
            }
            return Ok(());
        };
        let text = |path: PathBuf| {
            path.into_os_string().into_string().map_err(|path| {
                Failure::usage(format!(
                    "{} is not UTF-8, which guest agents do not take",
                    PathBuf::from(path).display()
                ))
                .with_hint("name the directory that it lies in, or take it out with --to alone")
            })
        };
        let paths = self.paths.into_iter().map(text).collect::<Result<Vec<_>, _>>()?;
        let to = self.to.map(text).transpose()?;
        if self.overwrite && !self.dry_run {
            context.confirm(&format!("Replace files that exist in the guest of {vm}?"))?;
        }
        let request = RestoreFilesRequest {
            reference: image.reference,
            from_copy: image.from_copy,
            paths,
            vm,
            to,
            overwrite: self.overwrite,
            dry_run: self.dry_run,
        };
        let job = context.client.restore_files(&request).await?;
        self.wait.finish(context, &job).await
    }
}

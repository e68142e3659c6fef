//! The site as a whole.

use api::CheckStatus;

use crate::{context::Context, exit::Exit, failure::Failure, render::Status};

/// Jobs that are looked through for unfinished ones; the newest come first.
const JOB_LIMIT: u32 = 1000;

/// Shows the site in a few lines.
pub async fn status(context: &Context) -> Result<(), Failure> {
    let client = &context.client;
    let (site, vms, vaults) = (client.site().await?, client.vms().await?, client.vaults().await?);
    let jobs = client.jobs(JOB_LIMIT).await?;
    context.output.one(&Status::new(site, &vms, &vaults, &jobs))
}

/// Checks the host.
pub async fn doctor(context: &Context) -> Result<(), Failure> {
    let checks = context.client.doctor().await?;
    context.output.list(&checks, "nothing to check")?;
    match checks.iter().filter(|check| check.status == CheckStatus::Failed).count() {
        0 => Ok(()),
        failed => Err(Failure::new(Exit::SomeFailed, format!("{failed} of {} checks failed", checks.len()))),
    }
}

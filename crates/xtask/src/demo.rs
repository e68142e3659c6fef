//! `cargo xtask demo`: the main job on a real guest, from protection to a restored VM, in one go; or site recovery on two sites, of one VM, or
//! of an application by a recovery plan.

mod guest;
mod network;
mod plan;
mod report;
mod site_recovery;
mod story;

use anyhow::{Context, Result, bail};
use report::Report;
use testkit::{binary, guest::GuestImage, packages};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Story {
    /// A VM is protected, backed up, lost and brought back.
    Backup,
    /// A VM is replicated, lost with its site, and comes back.
    SiteRecovery,
    /// So does an application of three VMs, by a recovery plan.
    Plan,
}

/// Prepares what a fresh machine lacks, and tells the story. Progress goes to standard error, the result to standard output.
pub fn run(story: Story) -> Result<()> {
    packages::install_missing()?;
    binary::holdfast()?;
    if !network::is_entered() {
        progress("building a Linux guest from Debian packages, where that is not done yet");
    }
    let image = GuestImage::obtain()?;
    if story == Story::Plan {
        network::enter(&plan::BRIDGES)?;
    }
    let runtime = Runtime::new().context("starting the runtime")?;
    let report = runtime.block_on(async {
        // Whatever ends the story, its values are dropped: VMs and server die, and the directory is removed.
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            report = tell(&image, story) => report,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    })?;
    println!("{report}");
    Ok(())
}

async fn tell(image: &GuestImage, story: Story) -> Result<Report> {
    match story {
        Story::Backup => story::tell(image).await,
        Story::SiteRecovery => site_recovery::tell(image).await,
        Story::Plan => plan::tell(image).await,
    }
}

/// Says what is done now.
fn progress(what: &str) {
    eprintln!("{what}");
}

//! `cargo xtask demo`: the main job on a real guest, from protection to a restored VM, in one go; or site recovery, on two sites.

mod guest;
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

/// Prepares what a fresh machine lacks, and tells the story. Progress goes to standard error, the result to standard output.
pub fn run(site_recovery: bool) -> Result<()> {
    packages::install_missing()?;
    binary::holdfast()?;
    eprintln!("building a Linux guest from Debian packages, where that is not done yet");
    let image = GuestImage::obtain()?;
    let runtime = Runtime::new().context("starting the runtime")?;
    let report = runtime.block_on(async {
        // Whatever ends the story, its values are dropped: VMs and server die, and the directory is removed.
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            report = tell(&image, site_recovery) => report,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    })?;
    println!("{report}");
    Ok(())
}

async fn tell(image: &GuestImage, site_recovery: bool) -> Result<Report> {
    match site_recovery {
        true => site_recovery::tell(image).await,
        false => story::tell(image).await,
    }
}

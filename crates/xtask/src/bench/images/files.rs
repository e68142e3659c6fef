//! Files out of a recovery point of a large disk, beside libguestfs where it is installed.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    time::Instant,
};

use anyhow::{Context, Result};
use serde_json::Value;
use testkit::{command::run, file_systems::FileSystemTools, site::Site};
use tokio::process::Command;

use super::{Scale, VAULT, back_up_stopped, progress};
use crate::bench::{process, random::Random, report::Measurement};

const REFERENCE: &str = "point:first/latest";
const PEER: &str = "guestfish";

/// A disk without files.
const SMALL_BYTES: u64 = 16 << 20;

/// The length of the file that is taken out, in MB.
const FILE_MB: usize = 100;

/// Directories beside it, and files in each.
const DIRECTORIES: usize = 100;
const FILES_EACH: usize = 100;

/// What one command cost.
struct Cost {
    seconds: f64,
    /// What the server has read meanwhile: from the store, and a little from elsewhere.
    read_mib: f64,
}

/// Lists a directory for the first time, then takes a file out.
pub async fn measure(binary: &Path, scale: &Scale, work: &Path) -> Result<Vec<Measurement>> {
    progress(&format!("making a file system of {}", scale.file_system));
    let tools = FileSystemTools::obtain()?;
    let (tree, image) = (work.join("tree"), work.join("disk.raw"));
    grow_tree(&tree)?;
    File::create(&image)?.set_len(scale.file_system.0)?;
    run(tools.command("mkfs.ext4").args(["-q", "-F", "-d"]).arg(&tree).arg(&image))?;
    let variables = tools.variables();
    let site = Site::start_with_environment(binary, variables).await?;
    site.json::<Value>(["vault", "create", VAULT]).await?;
    back_up_stopped(&site, "first", "disk", &image).await?;

    // What machines start from is made once on a host, out of the kernel's modules: that is no part of a listing.
    let small = work.join("small.raw");
    File::create(&small)?.set_len(SMALL_BYTES)?;
    run(tools.command("mkfs.ext4").args(["-q", "-F"]).arg(&small))?;
    let preparing = cost(&site, &["files", "ls", &format!("file:{}", small.display()), "/disk"]).await?;

    progress("taking files out of it");
    let listing = cost(&site, &["files", "ls", REFERENCE, "/disk/many"]).await?;
    let target = work.join("restored").display().to_string();
    let taking = cost(&site, &["files", "get", REFERENCE, "/disk/large", "--to", &target]).await?;
    let is_same = fs::read(work.join("restored/large"))? == fs::read(tree.join("large"))?;
    anyhow::ensure!(is_same, "the file that was taken out is another one");
    let peer = match Command::new(PEER).arg("--version").output().await {
        Ok(_) => Some(peer_seconds(&image, work).await?),
        Err(_) => {
            progress("libguestfs is not installed: nothing is measured beside it");
            None
        }
    };
    let seconds = |metric: &str, ours, peer: Option<f64>| {
        let measurement = Measurement::new(metric, ours, "s");
        match peer {
            Some(peer) => measurement.beside(PEER, peer),
            None => measurement,
        }
    };
    Ok(vec![
        Measurement::new("files, first machine of a host", preparing.seconds, "s"),
        seconds("files, first listing of 100 GiB", listing.seconds, peer.map(|(listing, _)| listing)),
        Measurement::new("files, read for that listing", listing.read_mib, "MiB"),
        seconds("files, 100 MB out of 100 GiB then", taking.seconds, peer.map(|(_, taking)| taking)),
        Measurement::new("files, read for those 100 MB", taking.read_mib, "MiB"),
    ])
}

/// A directory with many small files, and a large one that does not compress.
fn grow_tree(tree: &Path) -> Result<()> {
    let mut random = Random::new(1);
    for directory in 0..DIRECTORIES {
        let directory = tree.join("many").join(format!("directory-{directory}"));
        fs::create_dir_all(&directory)?;
        for file in 0..FILES_EACH {
            fs::write(directory.join(format!("file-{file}")), random.bytes(2000))?;
        }
    }
    let mut large = BufWriter::new(File::create(tree.join("large"))?);
    for _ in 0..FILE_MB {
        large.write_all(&random.bytes(1_000_000))?;
    }
    Ok(large.flush()?)
}

async fn cost(site: &Site, command: &[&str]) -> Result<Cost> {
    let server = process::Process::new(site.server_process_id().context("the server does not run")?);
    let (read_before, begun_at) = (server.read_mib()?, Instant::now());
    site.run(command).await?;
    let seconds = begun_at.elapsed().as_secs_f64();
    Ok(Cost { seconds, read_mib: server.read_mib()? - read_before })
}

/// The same by libguestfs with the raw image, in one machine: a listing, and a file after it.
async fn peer_seconds(image: &Path, work: &Path) -> Result<(f64, f64)> {
    let target = work.join("by-peer");
    let mut seconds = Vec::new();
    for command in ["ll /many".to_owned(), format!("ll /many\ndownload /large {}", target.display())] {
        let script = work.join("script");
        fs::write(
            &script,
            format!("add-drive-ro {}\nrun\nmount-ro /dev/sda /\n{command}\n", image.display()),
        )?;
        let sample = process::measure(Command::new(PEER).arg("--file").arg(&script)).await?;
        seconds.push(sample.wall.as_secs_f64());
    }
    Ok((seconds[0], seconds[1] - seconds[0]))
}

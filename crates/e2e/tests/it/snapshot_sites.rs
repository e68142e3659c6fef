//! A snapshot that goes to another site, which dies on the way.

use std::net::TcpListener;

use anyhow::{Context as _, Result};
use api::{JobView, PairingTokenView, SiteDiskView, SnapshotView};
use model::{DiskFormat, SnapshotKind};
use serde_json::Value;
use testkit::{
    binary,
    command::run,
    qemu::{BlankDisk, BlankVm},
    site::Site,
};

use crate::fixture::{assert_same, job_until, noise, protect_blank, site_with_vault};

const MIB: usize = 1 << 20;

/// A site that listens for peers at the same place whenever it is started.
async fn listening_site() -> Result<Site> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let variables = [("HOLDFAST_PEER_LISTEN", address.as_str()), ("HOLDFAST_SITE_NAME", "east")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Site::start_with_environment(&binary::holdfast()?, variables.to_vec()).await
}

async fn ready(site: &Site, name: &str) -> Result<SnapshotView> {
    site.json(["snapshot", "create", "vm", "--name", name, "--wait"]).await
}

/// The bytes of a disk that is whole.
fn bytes_of(site: &Site, disk: &SiteDiskView) -> Result<Vec<u8>> {
    let flat = site.directory().join("flat.raw");
    let mut convert = std::process::Command::new("qemu-img");
    run(convert.args(["convert", "-U", "-f", "qcow2", "-O", "raw", &disk.path]).arg(&flat))?;
    std::fs::read(flat).context("reading the disk")
}

#[tokio::test]
async fn a_copy_arrives_although_the_receiver_is_killed_and_disks_are_made_of_it_there() -> Result<()> {
    let west = site_with_vault().await?;
    let mut east = listening_site().await?;
    let mut content = noise(1, 40 * MIB);
    let vm = BlankVm::start(&[BlankDisk::new("vda", DiskFormat::Qcow2, content.clone())]).await?;
    protect_blank(&west, &vm, "vm").await?;
    let token: PairingTokenView = east.json(["site", "token"]).await?;
    west.run(["site", "pair", &token.token]).await?;

    let monday = ready(&west, "monday").await?;
    let slowly = ["snapshot", "copy", "monday", "--to", "east", "--limit", "8MiB", "--no-wait"];
    let job: JobView = west.json(slowly).await?;
    let has_sent = |progress: &Value| {
        progress["phase"].as_str().is_some_and(|phase| phase.starts_with("sending"))
            && progress["done_bytes"].as_u64() > Some(4 << 20)
    };
    job_until(&west, &job, has_sent).await?;
    east.kill_server().await?;
    assert_eq!(
        west.json::<SnapshotView>(["snapshot", "show", "monday"]).await?.copies[0].state,
        "unfinished"
    );
    east.start_server().await?;
    west.run(["job", "watch", job.id.as_str()]).await?;

    let there: SnapshotView = east.json(["snapshot", "show", "monday"]).await?;
    assert_eq!((there.taken_at, &there.family), (monday.taken_at, &monday.family));
    let create = ["disk", "create", "first", "--from", "snapshot:monday/vda", "--wait"];
    let disk: SiteDiskView = east.json(create).await?;
    assert_same(&bytes_of(&east, &disk)?, &content);

    // What has changed is all that travels, and a disk of it is usable at once.
    content[..MIB].copy_from_slice(&noise(2, MIB));
    vm.write("vda", 0, &content[..MIB]).await?;
    ready(&west, "tuesday").await?;
    west.run(["snapshot", "copy", "tuesday", "--to", "east"]).await?;
    let sent = west.json::<SnapshotView>(["snapshot", "show", "tuesday"]).await?.copies.remove(0).sent_bytes;
    assert!(sent.0 < 8 << 20, "{sent} were sent for a MiB of changes");
    let there: SnapshotView = east.json(["snapshot", "show", "tuesday"]).await?;
    assert_eq!(there.kind, Some(SnapshotKind::Incremental));
    let create = ["disk", "create", "second", "--from", "snapshot:tuesday/vda", "--no-hydrate"];
    let disk: SiteDiskView = east.json(create).await?;
    assert_same(&bytes_of(&east, &disk)?, &content);
    Ok(())
}

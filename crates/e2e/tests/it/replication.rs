//! A guest is replicated to another site while it writes; its server is killed on the way.

use std::time::Duration;

use anyhow::{Context, Result};
use api::{ReplicationView, StoppedReplicationView};
use model::DiskFormat;
use testkit::{
    guest::{GuestDisks, GuestImage},
    offline::{OfflineState, examine},
    qemu::{GuestVm, VmOptions},
    site::Site,
    sites::{PATIENCE, paired, until_protected},
};
use tokio::time::{Instant, sleep};

use crate::fixture::{guest_disks, words};

/// What both disks of a moment of the VM `busy` hold, once the other site has it.
pub async fn examine_moment(east: &Site, name: &str) -> Result<OfflineState> {
    let directory = tempfile::tempdir_in(east.directory())?;
    let format = DiskFormat::Raw;
    let disks =
        GuestDisks { root: directory.path().join("root"), data: directory.path().join("data"), format };
    let begun = Instant::now();
    for (disk, path) in [("root", &disks.root), ("data", &disks.data)] {
        let reference = format!("replica:busy/{name}/{disk}");
        loop {
            let export = words!["export", reference, "--format", "raw", "--to", path];
            match east.run(export).await {
                Ok(_) => break,
                Err(error) if begun.elapsed() > PATIENCE => return Err(error),
                Err(_) => sleep(Duration::from_millis(500)).await,
            }
        }
    }
    examine(&disks)
}

#[tokio::test]
async fn a_guest_that_writes_is_whole_at_every_named_moment_also_after_its_server_was_killed() -> Result<()> {
    let image = GuestImage::obtain()?;
    let (east, mut west) = paired().await?;
    let vm = GuestVm::start(&image, &guest_disks(&west, &image)?, &VmOptions::default()).await?;
    vm.guest().state_at_boot().await?.sound()?;
    let (qmp, out_of_band, agent) = (vm.qmp_socket(), vm.qmp_out_of_band_socket(), vm.agent_socket());
    west.run(words!["vm", "add", "busy", "--qmp", qmp, "--qmp-out-of-band", out_of_band, "--agent", agent])
        .await?;
    let _: ReplicationView = west.json(["replication", "start", "busy", "--to", "east"]).await?;
    vm.guest().workload(&["burst", "4"]).await?;
    until_protected(&west, "busy").await?;

    vm.guest().workload(&["burst", "4"]).await?;
    west.run(["replication", "checkpoint", "busy", "--name", "first"]).await?;
    vm.guest().workload(&["burst", "4"]).await?;
    west.kill_server().await?;
    vm.guest().workload(&["burst", "4"]).await?;
    west.start_server().await?;
    let view = until_protected(&west, "busy").await?;
    assert_eq!(view.breaks, 0, "the tap outlives the server: {view:?}");
    west.run(["replication", "checkpoint", "busy", "--name", "quiet", "--application"]).await?;
    vm.guest().workload(&["burst", "4"]).await?;
    west.run(["replication", "checkpoint", "busy", "--name", "second"]).await?;

    let mut last = 0;
    for name in ["first", "quiet", "second"] {
        let state = examine_moment(&east, name).await.with_context(|| name.to_owned())?;
        let workload = state.workload.sound().with_context(|| name.to_owned())?;
        // A moment at which the guest was not held still has a journal to replay, as after a crash.
        assert!(state.file_systems_clean || name != "quiet", "{name}");
        assert!(workload.root_last > last, "{name}: {} records, and {last} before", workload.root_last);
        assert_eq!(workload.quiesced, name == "quiet", "{name}");
        last = workload.root_last;
    }
    let view: ReplicationView = west.json(["replication", "status", "busy"]).await?;
    println!("RPO {:?} s, p99 {:?} s, {view:?}", view.rpo_seconds, view.rpo_p99_seconds);
    let latency = vm.guest().workload(&["latency"]).await;
    println!("the guest's appends: {latency:?}");
    let stopped: StoppedReplicationView = west.json(["replication", "stop", "busy", "--yes"]).await?;
    assert_eq!(stopped.problems, Vec::<String>::new());
    vm.guest().workload(&["burst", "1"]).await?;
    Ok(())
}

//! Backups that end otherwise than they were meant to, or meet another.

use anyhow::Result;
use api::{JobView, PointView, VmView};
use model::{DiskFormat, JobState};
use testkit::{
    qemu::{BlankDisk, BlankVm},
    site::Site,
};

use crate::fixture::{
    assert_same, back_up, backup_in_the_middle, by_bitmap, failed_job, noise, points, protect_blank, reasons,
    restored_bytes, site_with_vault,
};

const MIB: usize = 1 << 20;
const UNREACHABLE: i32 = 7;

/// A protected VM whose backups take their time, with one point.
async fn slow_vm(site: &Site) -> Result<(BlankVm, Vec<BlankDisk>, Vec<u8>)> {
    let content = noise(1, 24 * MIB);
    let disks = vec![BlankDisk::new("vda", DiskFormat::Qcow2, content.clone())];
    let vm = BlankVm::start(&disks).await?;
    protect_blank(site, &vm, "slow").await?;
    back_up(site, "slow").await?;
    let slowly = ["protect", "slow", "--vault", "main", "--consistency", "crash", "--read-limit", "8MiB"];
    let _: VmView = site.json(slowly).await?;
    Ok((vm, disks, content))
}

/// Overwrites most of the disk, so that there is much to read.
async fn rewrite(vm: &BlankVm, content: &mut [u8], seed: u64) -> Result<()> {
    let bytes = noise(seed, 16 * MIB);
    vm.write("vda", 4 * MIB, &bytes).await?;
    content[4 * MIB..20 * MIB].copy_from_slice(&bytes);
    Ok(())
}

async fn assert_restores(site: &Site, content: &[u8]) -> Result<()> {
    assert_same(&restored_bytes(site, "point:slow/latest/vda").await?, content);
    Ok(())
}

#[tokio::test]
async fn a_vm_that_dies_in_the_middle_fails_its_backup_and_the_next_one_is_whole() -> Result<()> {
    let site = site_with_vault().await?;
    let (mut vm, disks, mut content) = slow_vm(&site).await?;
    rewrite(&vm, &mut content, 2).await?;
    let job = backup_in_the_middle(&site, "slow").await?;
    vm.cut_power().await?;
    let (job, code, message) = failed_job(&site, &job).await?;
    assert_eq!(job.state, JobState::Failed);
    assert!(code == UNREACHABLE && message.contains("slow"), "{code}: {message}");
    assert_eq!(points(&site, "slow").await?.len(), 1);

    vm.start_again(&disks).await?;
    let point = back_up(&site, "slow").await?;
    assert!(reasons(&point)[0].is_some_and(|reason| reason.contains("powered off")), "{point:?}");
    assert_eq!(vm.leftovers().await?, Vec::<String>::new());
    assert_restores(&site, &content).await
}

#[tokio::test]
async fn a_cancelled_backup_makes_no_point_and_loses_no_change() -> Result<()> {
    let site = site_with_vault().await?;
    let (vm, _, mut content) = slow_vm(&site).await?;
    rewrite(&vm, &mut content, 2).await?;
    let job = backup_in_the_middle(&site, "slow").await?;
    let later = noise(3, 64 << 10);
    vm.write("vda", 22 * MIB, &later).await?;
    content[22 * MIB..][..later.len()].copy_from_slice(&later);
    let _: JobView = site.json(["job", "cancel", job.id.as_str()]).await?;
    let (job, code, message) = failed_job(&site, &job).await?;
    assert!(code == 1 && message.contains("cancelled"), "{code}: {message}");
    assert_eq!(job.state, JobState::Cancelled);
    assert_eq!(points(&site, "slow").await?.len(), 1);
    assert_eq!(vm.leftovers().await?, Vec::<String>::new());

    let point = back_up(&site, "slow").await?;
    assert_eq!(by_bitmap(&point), [true], "{point:?}");
    assert_restores(&site, &content).await
}

#[tokio::test]
async fn a_second_backup_of_a_vm_waits_for_the_first() -> Result<()> {
    let site = site_with_vault().await?;
    let (vm, _, mut content) = slow_vm(&site).await?;
    rewrite(&vm, &mut content, 2).await?;
    let first = backup_in_the_middle(&site, "slow").await?;
    let second: JobView = site.json(["backup", "slow", "--no-wait"]).await?;
    let waiting: JobView = site.json(["job", "show", second.id.as_str()]).await?;
    assert_eq!(waiting.state, JobState::Queued);
    assert!(waiting.progress.phase.contains(first.id.as_str()), "{waiting:?}");

    let later: PointView = site.json(["job", "watch", second.id.as_str()]).await?;
    let earlier: PointView = site.json(["job", "watch", first.id.as_str()]).await?;
    assert_eq!(later.parent, Some(earlier.id));
    assert!(later.read_bytes < earlier.read_bytes, "{later:?} after {earlier:?}");
    assert_restores(&site, &content).await
}

//! VMs that somebody else starts and stops. Their change tracking breaks now and then, and heals itself.

use anyhow::Result;
use model::{Consistency, DiskFormat};
use testkit::{
    guest::GuestImage,
    qemu::{BlankDisk, BlankVm, GuestVm, VmOptions},
};

use crate::fixture::{
    assert_same, back_up, by_bitmap, examine_point, guest_disks, noise, protect_blank, protect_guest,
    reasons, restored_bytes, site_with_vault,
};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn a_guest_is_backed_up_across_a_power_cut_and_a_clean_restart() -> Result<()> {
    let image = GuestImage::obtain()?;
    let site = site_with_vault().await?;
    let vm = GuestVm::start(&image, &guest_disks(&site, &image)?, &VmOptions::default()).await?;
    vm.guest().state_at_boot().await?.sound()?;
    protect_guest(&site, &vm, "db-1").await?;
    let full = back_up(&site, "db-1").await?;
    assert_eq!(full.consistency_reached, Consistency::Application);

    let vm = vm.cut_power().await?.start().await?;
    let noted = vm.guest().state_now().await?.sound()?;
    let compared = back_up(&site, "db-1").await?;
    for reason in reasons(&compared) {
        assert!(reason.is_some_and(|reason| reason.contains("powered off")), "{compared:?}");
    }
    assert!(compared.read_bytes.0 > full.read_bytes.0 / 2, "{compared:?} after {full:?}");
    assert!(compared.stored_bytes.0 < full.stored_bytes.0 / 4, "{compared:?} after {full:?}");
    let restored = examine_point(&site, "point:db-1/latest", DiskFormat::Raw).await?.workload.sound()?;
    assert!(restored.quiesced && restored.data_last >= noted.data_last, "{restored:?} after {noted:?}");

    let vm = vm.shut_down().await?.start().await?;
    let noted = vm.guest().state_now().await?.sound()?;
    let incremental = back_up(&site, "db-1").await?;
    assert_eq!(by_bitmap(&incremental), [true; 2], "{incremental:?}");
    assert!(incremental.read_bytes.0 < compared.read_bytes.0, "{incremental:?} after {compared:?}");
    let restored = examine_point(&site, "point:db-1/latest", DiskFormat::Raw).await?.workload.sound()?;
    assert!(restored.data_last >= noted.data_last, "{restored:?} after {noted:?}");
    Ok(())
}

#[tokio::test]
async fn every_byte_is_backed_up_whatever_befalls_the_change_tracking() -> Result<()> {
    let site = site_with_vault().await?;
    let mut content = noise(1, 16 * MIB);
    let disks = [
        BlankDisk::new("vda", DiskFormat::Qcow2, content.clone()),
        BlankDisk::new("vdb", DiskFormat::Raw, content.clone()),
    ];
    let mut vm = BlankVm::start(&disks).await?;
    protect_blank(&site, &vm, "plain").await?;
    let full = back_up(&site, "plain").await?;
    assert_eq!(full.read_bytes.0 as usize, 2 * content.len());

    let mut change = async |vm: &BlankVm, number: usize| -> Result<Vec<u8>> {
        let bytes = noise(100 + number as u64, 128 << 10);
        let place = number * 2 * MIB + (64 << 10);
        for disk in ["vda", "vdb"] {
            vm.write(disk, place, &bytes).await?;
        }
        content[place..place + bytes.len()].copy_from_slice(&bytes);
        Ok(content.clone())
    };
    let expect = async |expected: &[u8]| -> Result<()> {
        for disk in ["vda", "vdb"] {
            assert_same(&restored_bytes(&site, &format!("point:plain/latest/{disk}")).await?, expected);
        }
        Ok(())
    };

    let expected = change(&vm, 1).await?;
    let point = back_up(&site, "plain").await?;
    assert_eq!(by_bitmap(&point), [true; 2], "{point:?}");
    assert!((point.read_bytes.0 as usize) < 2 * MIB, "{point:?}");
    expect(&expected).await?;

    change(&vm, 2).await?;
    vm.quit().await?;
    vm.start_again(&disks).await?;
    let expected = change(&vm, 3).await?;
    let point = back_up(&site, "plain").await?;
    assert_eq!(by_bitmap(&point), [true, false], "{point:?}");
    assert!(reasons(&point)[1].is_some_and(|reason| reason.contains("not qcow2")), "{point:?}");
    assert!((point.stored_bytes.0 as usize) < 2 * MIB, "{point:?}");
    expect(&expected).await?;

    change(&vm, 4).await?;
    vm.cut_power().await?;
    vm.start_again(&disks).await?;
    let expected = change(&vm, 5).await?;
    let point = back_up(&site, "plain").await?;
    assert!(reasons(&point)[0].is_some_and(|reason| reason.contains("powered off")), "{point:?}");
    assert!(reasons(&point)[1].is_some_and(|reason| reason.contains("not qcow2")), "{point:?}");
    assert!((point.stored_bytes.0 as usize) < 2 * MIB, "{point:?}");
    expect(&expected).await?;

    let expected = change(&vm, 6).await?;
    let healed = back_up(&site, "plain").await?;
    assert_eq!(by_bitmap(&healed), [true; 2], "{healed:?}");
    expect(&expected).await
}

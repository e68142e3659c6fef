//! Disks that come, go and grow between two backups.

use anyhow::Result;
use api::ChangeSourceView;
use model::DiskFormat;
use serde_json::json;
use testkit::qemu::{BlankDisk, BlankVm};

use crate::fixture::{
    assert_same, back_up, by_bitmap, noise, protect_blank, reasons, restored_bytes, site_with_vault,
};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn disks_may_be_added_removed_and_resized_between_backups() -> Result<()> {
    let site = site_with_vault().await?;
    let first = BlankDisk::new("vda", DiskFormat::Qcow2, noise(1, 4 * MIB));
    let second = BlankDisk::new("vdb", DiskFormat::Qcow2, noise(2, 2 * MIB));
    let mut vm = BlankVm::start(std::slice::from_ref(&first)).await?;
    protect_blank(&site, &vm, "changing").await?;
    let alone = back_up(&site, "changing").await?;

    vm.quit().await?;
    vm.start_again(&[first.clone(), second]).await?;
    let added = back_up(&site, "changing").await?;
    let sources: Vec<_> = added.disks.iter().map(|disk| (disk.name.as_str(), &disk.source)).collect();
    assert_eq!(sources, [("vda", &ChangeSourceView::Bitmap), ("vdb", &ChangeSourceView::Full)]);
    assert_same(&restored_bytes(&site, "point:changing/latest/vdb").await?, &noise(2, 2 * MIB));

    let grown_bytes = 6 * MIB;
    vm.qmp("block_resize", json!({"node-name": "vda-format", "size": grown_bytes})).await?;
    let tail = noise(3, MIB);
    vm.write("vda", 5 * MIB, &tail).await?;
    let mut expected = noise(1, 4 * MIB);
    expected.resize(grown_bytes, 0);
    expected[5 * MIB..].copy_from_slice(&tail);
    let resized = back_up(&site, "changing").await?;
    assert!(
        reasons(&resized)[0].is_some_and(|reason| reason.contains("resized from 4.00 MiB to 6.00 MiB")),
        "{resized:?}"
    );
    assert!(resized.stored_bytes.0 as usize <= MIB + MIB / 4, "{resized:?}");
    assert_same(&restored_bytes(&site, "point:changing/latest/vda").await?, &expected);
    assert_eq!(by_bitmap(&back_up(&site, "changing").await?), [true; 2]);

    vm.quit().await?;
    vm.start_again(std::slice::from_ref(&first)).await?;
    let removed = back_up(&site, "changing").await?;
    assert_eq!((removed.disks.len(), by_bitmap(&removed)), (1, vec![true]));

    let of_first = format!("point:changing/{}/vda", alone.id);
    assert_same(&restored_bytes(&site, &of_first).await?, &noise(1, 4 * MIB));
    let of_second = format!("point:changing/{}/vdb", added.id);
    assert_same(&restored_bytes(&site, &of_second).await?, &noise(2, 2 * MIB));
    Ok(())
}

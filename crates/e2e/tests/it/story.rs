//! The main job: a VM is protected, lost with its disks, and comes back with everything.

use std::fs;

use anyhow::Result;
use api::{ChangeSourceView, RestoredVmView, VerifyView, VmView};
use model::{Consistency, DiskFormat};
use testkit::guest::GuestImage;

use crate::fixture::{back_up, by_bitmap, examine_point, guest_disks, site_with_vault};

#[tokio::test]
async fn a_vm_that_is_lost_with_its_disks_comes_back_with_every_record() -> Result<()> {
    let image = GuestImage::obtain()?;
    let site = site_with_vault().await?;
    let disks = guest_disks(&site, &image)?;
    site.add_vm(&disks.definition("web-1".parse()?)).await?;
    let started: VmView = site.json(["vm", "start", "web-1"]).await?;
    assert_eq!(started.power, "running");
    let guest = site.guest("web-1").await?;
    guest.state_at_boot().await?.sound()?;
    let _: VmView = site.json(["protect", "web-1", "--vault", "main"]).await?;

    let full = back_up(&site, "web-1").await?;
    assert_eq!((full.parent, full.shortfall.as_deref()), (None, None));
    assert_eq!(full.consistency_reached, Consistency::Application);
    assert!(full.disks.iter().all(|disk| disk.source == ChangeSourceView::Full));
    assert!(full.cost.pause_us.is_some() && full.cost.freeze_us.is_some(), "{:?}", full.cost);

    guest.workload(&["burst", "4"]).await?;
    let noted = guest.state_now().await?.sound()?;
    let incremental = back_up(&site, "web-1").await?;
    assert_eq!(incremental.consistency_reached, Consistency::Application);
    assert_eq!((incremental.parent, by_bitmap(&incremental)), (Some(full.id), vec![true; 2]));
    let (read, burst) = (incremental.read_bytes.0, 4 << 20);
    assert!(
        read >= burst && read < burst + (24 << 20),
        "{read} bytes were read for a few megabytes of changes"
    );

    let _: VmView = site.json(["vm", "stop", "web-1", "--force"]).await?;
    fs::remove_file(&disks.root)?;
    fs::remove_file(&disks.data)?;
    site.run(["vm", "remove", "web-1"]).await?;

    let restored: RestoredVmView =
        site.json(["restore", "vm", "point:web-1/latest", "--name", "web-2", "--start"]).await?;
    assert_eq!((restored.vm_name.as_str(), restored.started, restored.disks.len()), ("web-2", true, 2));
    let guest = site.guest("web-2").await?;
    let found = guest.state_at_boot().await?.sound()?;
    assert!(found.quiesced, "{found:?}");
    assert!(
        found.root_last >= noted.root_last && found.data_last >= noted.data_last,
        "{found:?} after {noted:?}"
    );
    assert!(found.database_rows >= noted.database_rows, "{found:?} after {noted:?}");
    let works_on = guest.state_now().await?.sound()?;
    assert!(works_on.root_last >= found.root_last, "{works_on:?} after {found:?}");

    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        let offline = examine_point(&site, "point:web-1/latest", format).await?;
        assert!(offline.file_systems_clean);
        assert_eq!(offline.workload.sound()?, found);
    }
    let verified: VerifyView = site.json(["vault", "verify", "main"]).await?;
    assert_eq!((verified.damages.len(), verified.intact_point_count), (0, 2));
    Ok(())
}

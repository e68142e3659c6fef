//! Disks that are made from a point, and the VM that runs from them.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use api::{DiskState, HydratedView, PointView, SiteDiskView, VmView};
use testkit::guest::GuestDisks;

use crate::boot::{images_below, site_with_point};

#[tokio::test]
async fn disks_made_from_a_point_run_at_once_and_need_nothing_in_the_end() -> Result<()> {
    let (site, disks, noted) = site_with_point().await?;
    let point: PointView = site.json(["point", "show", "point:web-1/latest"]).await?;
    let mut made: Vec<SiteDiskView> = Vec::new();
    for disk in &point.disks {
        let (name, reference) = (format!("new-{}", disk.name), format!("point:web-1/latest/{}", disk.name));
        // At rest, until the VM wants it.
        let words = ["disk", "create", &name, "--from", &reference, "--hydrate-limit", "1MiB"];
        made.push(site.json(words).await?);
    }
    let path = |name: &str| {
        let disk = made.iter().find(|disk| disk.name.ends_with(name));
        disk.map(|disk| PathBuf::from(&disk.path)).with_context(|| format!("the point has no disk {name}"))
    };
    let disks = GuestDisks { root: path("root")?, data: path("data")?, format: disks.format };
    let found = site.boot("web-2", &disks).await?;
    let guest = site.guest("web-2").await?;
    assert!(found.root_last >= noted.root_last && found.data_last >= noted.data_last, "{found:?} {noted:?}");
    let (_, refused) = site.failure(["point", "delete", "point:web-1/latest", "--yes"]).await?;
    assert!(refused.contains("reads from the recovery point"), "{refused}");
    guest.workload(&["burst", "4"]).await?;
    let noted = guest.state_now().await?.sound()?;

    for disk in &made {
        let _: HydratedView = site.json(["disk", "hydrate", disk.name.as_str()]).await?;
        assert_eq!(images_below(&disk.path)?, 0);
        let whole: SiteDiskView = site.json(["disk", "show", disk.name.as_str()]).await?;
        assert_eq!((whole.state, whole.vm.as_deref()), (DiskState::Whole, Some("web-2")));
    }
    site.run(["point", "delete", "point:web-1/latest", "--yes"]).await?;
    let _: VmView = site.json(["vm", "stop", "web-2", "--force"]).await?;
    let _: VmView = site.json(["vm", "start", "web-2"]).await?;
    let found = site.guest("web-2").await?.state_at_boot().await?.sound()?;
    assert!(found.root_last >= noted.root_last && found.data_last >= noted.data_last, "{found:?} {noted:?}");
    let (_, refused) = site.failure(["disk", "delete", made[0].name.as_str(), "--yes"]).await?;
    assert!(refused.contains("web-2 has the disk"), "{refused}");
    Ok(())
}

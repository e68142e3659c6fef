//! VM names that people really use, through every command and back.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use api::{JobView, RestoredVmView, VmView};
use model::DiskFormat;
use testkit::{qemu::BlankDisk, site::Site};

use crate::fixture::{assert_same, back_up, noise, points, restored_bytes, site_with_vault, words};

const DISK_BYTES: usize = 1 << 20;

#[tokio::test]
async fn a_name_is_whatever_its_owner_calls_it() -> Result<()> {
    let site = site_with_vault().await?;
    let long = "n".repeat(300);
    let names = [
        "web server, the \"old\" one",
        "it's/team\\a 100%2Fb?c#d",
        "../../etc/passwd",
        "데이터베이스 서버 1호",
        &long,
    ];
    for (number, name) in names.into_iter().enumerate() {
        round_trip(&site, name, number).await.with_context(|| format!("the VM {name:?}"))?;
    }
    let listed: Vec<VmView> = site.json(["vm", "list"]).await?;
    let mut listed: Vec<_> = listed.into_iter().map(|vm| vm.name).collect();
    listed.sort();
    let mut expected: Vec<_> =
        names.iter().flat_map(|name| [(*name).to_owned(), format!("{name} (2)")]).collect();
    expected.sort();
    assert_eq!(listed, expected);
    Ok(())
}

async fn round_trip(site: &Site, name: &str, number: usize) -> Result<()> {
    let content = noise(number as u64, DISK_BYTES);
    let directory = site.directory().join(format!("vm{number}"));
    fs::create_dir(&directory)?;
    BlankDisk::new("vda", DiskFormat::Qcow2, content.clone()).create(&directory.join("vda.qcow2"))?;
    add(site, name, &directory).await?;
    let started: VmView = site.json(["vm", "start", name]).await?;
    assert_eq!((started.name.as_str(), started.power.as_str()), (name, "running"));
    let _: VmView = site.json(["protect", name, "--vault", "main", "--consistency", "crash"]).await?;

    let point = back_up(site, name).await?;
    assert_eq!(point.vm_name, name);
    let listed = points(site, name).await?;
    assert_eq!(listed.iter().map(|point| point.id).collect::<Vec<_>>(), [point.id]);
    let job: JobView = site.json(["job", "show", "latest"]).await?;
    assert_eq!(job.subject, name);

    let reference = format!("point:{}/latest", name.replace('%', "%25").replace('/', "%2F"));
    assert_same(&restored_bytes(site, &format!("{reference}/vda")).await?, &content);
    stop(site, name).await?;
    let second = format!("{name} (2)");
    let restored: RestoredVmView =
        site.json(["restore", "vm", &reference, "--name", &second, "--start"]).await?;
    assert_eq!((restored.vm_name.as_str(), restored.started), (second.as_str(), true));
    stop(site, &second).await
}

async fn stop(site: &Site, name: &str) -> Result<()> {
    let stopped: VmView = site.json(["vm", "stop", name, "--force"]).await?;
    assert_eq!((stopped.name.as_str(), stopped.power.as_str()), (name, "stopped"));
    Ok(())
}

async fn add(site: &Site, name: &str, directory: &Path) -> Result<()> {
    let definition = directory.join("vm.toml");
    fs::write(
        &definition,
        "name = \"unnamed\"\nmemory = \"32MiB\"\nagent = false\n[[disk]]\nname = \"vda\"\npath = \"vda.qcow2\"\n",
    )?;
    site.run(words!["vm", "add", name, "--definition", definition]).await.map(drop)
}

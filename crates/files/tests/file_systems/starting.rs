//! Machines that do not start, and machines that end.

use std::{fs, sync::Arc, time::Duration};

use anyhow::Result;
use files::{ErrorKind, FileTree as _, MicroVm};
use image::{DiskImage, MemoryImage};
use testkit::file_systems::FileSystemTools;

use crate::machine::{config, path};

fn disk() -> Vec<(model::DiskName, Arc<dyn DiskImage>)> {
    vec![("blank".parse().expect("the name is one"), Arc::new(MemoryImage::new(vec![0; 1 << 20])))]
}

#[tokio::test]
async fn what_is_missing_is_named() -> Result<()> {
    let tools = FileSystemTools::obtain()?;
    let directory = tempfile::tempdir()?;
    let good = config(&tools, directory.path());
    let no_qemu = files::Config { qemu_program: "/nowhere/qemu".into(), ..good.clone() };
    let error = MicroVm::open(disk(), &no_qemu, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ToolMissing, "{error}");
    let no_kernel = files::Config { kernel: Some("/nowhere/vmlinuz".into()), ..good.clone() };
    let error = MicroVm::open(disk(), &no_kernel, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let too_many = (0..25).flat_map(|_| disk()).collect();
    let error = MicroVm::open(too_many, &good, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert_eq!(left_behind(directory.path())?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_ends_with_the_value_that_stands_for_it() -> Result<()> {
    let tools = FileSystemTools::obtain()?;
    let directory = tempfile::tempdir()?;
    let machine = MicroVm::open(disk(), &config(&tools, directory.path()), &[]).await?;
    assert!(machine.volumes().is_empty());
    assert!(machine.stat(&path("/"), true).await?.is_directory());
    let qemu = running(directory.path())?;
    assert!(!qemu.is_empty());
    drop(machine);
    let gone = async {
        while qemu.iter().any(|process| process.join("exe").exists()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await?;
    assert_eq!(left_behind(directory.path())?, 0);
    Ok(())
}

/// The processes whose command line names a directory.
fn running(directory: &std::path::Path) -> Result<Vec<std::path::PathBuf>> {
    let wanted = directory.to_string_lossy().into_owned();
    let processes = fs::read_dir("/proc")?.flatten().map(|entry| entry.path());
    let names_it = |process: &std::path::PathBuf| {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&wanted)
    };
    Ok(processes.filter(names_it).collect())
}

fn left_behind(directory: &std::path::Path) -> Result<usize> {
    Ok(fs::read_dir(directory)?.count())
}

/// The machine needs nothing that only root has: the same test as above, in a user namespace in which this is nobody.
#[test]
fn an_ordinary_user_is_enough() -> Result<()> {
    let name = "starting::a_machine_ends_with_the_value_that_stands_for_it";
    let mut command = std::process::Command::new("unshare");
    command.args(["--user", "--map-user=65534", "--map-group=65534"]).arg(std::env::current_exe()?);
    let output = command.args(["--exact", name]).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

//! Disks that became larger, and the file systems on them.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use files::{ErrorKind, FileTree as _, MicroVm, grow_file_system};
use image::DiskImage;
use image_formats::QemuNbdImage;
use model::DiskFormat;
use testkit::{command::run, file_systems::FileSystemTools};

use crate::{
    images,
    machine::{config, path, read_all},
};

/// Where partitions start, and how large the disks become.
const START_BYTES: u64 = 1 << 20;
const GROWN_BYTES: u64 = 700 << 20;

/// Makes a disk with one partition that holds a file system, by a table of `sfdisk`; with no table where there is none. It is a
/// qcow2 file that then grew.
fn grown_disk(tools: &FileSystemTools, table: Option<&str>, file_system: &Path, disk: &Path) -> Result<()> {
    let raw = disk.with_extension("raw");
    match table {
        None => drop(fs::copy(file_system, &raw)?),
        Some(table) => {
            let size_bytes = fs::metadata(file_system)?.len();
            // The copy of a GPT takes 33 sectors at the end.
            File::create(&raw)?.set_len(START_BYTES + size_bytes + (1 << 20))?;
            let mut child = tools.command("sfdisk").arg("-q").arg(&raw).stdin(Stdio::piped()).spawn()?;
            let sectors = size_bytes / 512;
            let script = format!("label: {table}\nstart={}, size={sectors}\n", START_BYTES / 512);
            child.stdin.take().context("sfdisk has an input")?.write_all(script.as_bytes())?;
            anyhow::ensure!(child.wait()?.success(), "sfdisk fails");
            let mut bytes = Vec::new();
            File::open(file_system)?.read_to_end(&mut bytes)?;
            File::options().write(true).open(&raw)?.write_all_at(&bytes, START_BYTES)?;
        }
    }
    let mut convert = std::process::Command::new("qemu-img");
    run(convert.args(["convert", "-f", "raw", "-O", "qcow2"]).arg(&raw).arg(disk))?;
    let mut resize = std::process::Command::new("qemu-img");
    run(resize.args(["resize", "-q", "-f", "qcow2"]).arg(disk).arg(GROWN_BYTES.to_string()))?;
    Ok(())
}

async fn open(disk: &Path) -> Result<Arc<dyn DiskImage>> {
    Ok(Arc::new(QemuNbdImage::open(disk, DiskFormat::Qcow2, &[]).await?))
}

async fn number<const LENGTH: usize>(
    disk: &Path,
    offset_bytes: u64,
    decode: fn([u8; LENGTH]) -> u64,
) -> Result<u64> {
    let mut bytes = [0; LENGTH];
    open(disk).await?.read_at(offset_bytes, &mut bytes).await?;
    Ok(decode(bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_system_at_the_end_fills_the_disk() -> Result<()> {
    let tools = FileSystemTools::obtain()?;
    let directory = tempfile::tempdir()?;
    let at = |name: &str| directory.path().join(name);
    images::plain_tree(&at("tree"))?;
    images::ext4(&tools, &at("tree"), &at("ext4.img"), "^metadata_csum_seed")?;
    fs::remove_file(at("tree").join("żółć-日本語.txt"))?;
    images::xfs(&tools, &at("tree"), &at("xfs.img"))?;
    images::btrfs(&tools, &at("tree"), &at("btrfs.img"), "crc32c")?;
    let mut disks: Vec<(&str, PathBuf)> = Vec::new();
    for (file_system, table) in [("ext4", Some("gpt")), ("xfs", Some("dos")), ("btrfs", None)] {
        let disk = at(&format!("{file_system}.qcow2"));
        grown_disk(&tools, table, &at(&format!("{file_system}.img")), &disk)?;
        let grown = grow_file_system(&disk, &config(&tools, directory.path())).await?;
        assert_eq!(grown.file_system, file_system);
        assert!(grown.size_bytes > GROWN_BYTES - (2 << 20), "{grown:?}");
        disks.push((file_system, disk));
    }
    // What the file systems say of themselves: blocks of 4 KiB, and btrfs bytes.
    let ext4 = number(&disks[0].1, START_BYTES + 1024 + 4, |bytes| u32::from_le_bytes(bytes).into()).await?;
    let xfs = number(&disks[1].1, START_BYTES + 8, u64::from_be_bytes).await?;
    let btrfs = number(&disks[2].1, 0x1_0000 + 0x70, u64::from_le_bytes).await?;
    for size_bytes in [ext4 * 4096, xfs * 4096, btrfs] {
        assert!(size_bytes > GROWN_BYTES - (4 << 20), "{ext4} {xfs} {btrfs}");
    }
    let raw = at("ext4.back");
    let mut convert = std::process::Command::new("qemu-img");
    run(convert.args(["convert", "-O", "raw"]).arg(&disks[0].1).arg(&raw))?;
    run(tools.command("sfdisk").args(["-V"]).arg(&raw))?;

    let mut images = Vec::new();
    for (name, disk) in &disks {
        images.push((name.parse()?, open(disk).await?));
    }
    let machine = MicroVm::open(images, &config(&tools, directory.path()), &[]).await?;
    let names: Vec<_> = machine.volumes().iter().map(|volume| volume.name.clone()).collect();
    assert_eq!(names, ["btrfs", "ext4-1", "xfs-1"]);
    for name in names {
        let found = read_all(&machine, &path(&format!("/{name}/large.bin"))).await?;
        assert!(found == images::bytes(7, 3 << 20), "{name}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_grown_is_named() -> Result<()> {
    let tools = FileSystemTools::obtain()?;
    let directory = tempfile::tempdir()?;
    let disk = directory.path().join("blank.qcow2");
    let mut create = std::process::Command::new("qemu-img");
    run(create.args(["create", "-q", "-f", "qcow2"]).arg(&disk).arg("64M"))?;
    let error = grow_file_system(&disk, &config(&tools, directory.path())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("nothing that is known"), "{error}");
    Ok(())
}

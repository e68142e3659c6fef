//! Every file of every file system is what went into it.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use files::{FileTree, Kind, VolumeState, Walk};
use testkit::file_systems::FileSystemTools;

use crate::{
    images,
    machine::{open, path, read_all},
};

/// What a volume holds, in the form of [`images::manifest`].
pub async fn manifest(
    tree: &Arc<impl FileTree + 'static>,
    volume: &str,
    with_modes: bool,
) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut walk = Walk::begin(Arc::clone(tree) as Arc<dyn FileTree>, &path(volume), true).await?;
    while let Some(found) = walk.next().await? {
        let name = String::from_utf8(found.path.inside())?;
        match &found.entry.kind {
            _ if name.is_empty() || name == "lost+found" => {}
            Kind::Directory => lines.push(format!("{name} directory")),
            Kind::Symlink { target } => {
                lines.push(format!("{name} link {}", String::from_utf8_lossy(target)))
            }
            Kind::File => {
                let mode = if with_modes { found.entry.mode } else { 0o644 };
                let content = read_all(tree.as_ref(), &found.path).await?;
                lines.push(format!("{name} file {mode:o} {}", images::digest(&content)));
            }
            other => lines.push(format!("{name} {other:?}")),
        }
    }
    lines.sort();
    Ok(lines)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_is_what_went_in() -> Result<()> {
    let tools = FileSystemTools::obtain()?;
    let directory = tempfile::tempdir()?;
    let at = |name: &str| directory.path().join(name);
    let (linux, plain) = (at("linux"), at("plain"));
    images::linux_tree(&linux)?;
    images::plain_tree(&plain)?;
    images::ext4(&tools, &linux, &at("ext4.img"), "metadata_csum,64bit")?;
    images::ext4(&tools, &linux, &at("ext3.img"), "^extents,^64bit,^metadata_csum,^flex_bg")?;
    images::xfs(&tools, &linux, &at("xfs.img"))?;
    images::btrfs(&tools, &linux, &at("btrfs.img"), "xxhash")?;
    images::vfat(&tools, &plain, &at("vfat.img"))?;
    images::ntfs(&tools, &plain, &at("ntfs.img"))?;

    let names = ["ext4", "ext3", "xfs", "btrfs", "vfat", "ntfs"];
    let paths: Vec<_> = names.iter().map(|name| at(&format!("{name}.img"))).collect();
    let disks: Vec<(&str, &Path)> =
        names.iter().copied().zip(paths.iter().map(|path| path.as_path())).collect();
    let tree = open(&tools, directory.path(), &disks, &[]).await?;
    for volume in tree.volumes() {
        assert_eq!(volume.state, VolumeState::Readable, "{volume:?}");
    }
    for name in ["ext4", "ext3", "xfs", "btrfs"] {
        let found = manifest(&tree, name, true).await.with_context(|| name.to_owned())?;
        check(name, &found, &images::manifest(&linux)?);
    }
    let expected = images::manifest(&plain)?;
    check("vfat", &manifest(&tree, "vfat", false).await.context("vfat")?, &expected);
    let top: Vec<_> =
        expected.into_iter().filter(|line| line.contains(" file ") && !line.contains('/')).collect();
    check("ntfs", &manifest(&tree, "ntfs", false).await.context("ntfs")?, &top);
    Ok(())
}

/// Shows a few differences, not two long lists.
pub fn check(name: &str, found: &[String], expected: &[String]) {
    let missing: Vec<_> = expected.iter().filter(|line| !found.contains(line)).take(5).collect();
    let extra: Vec<_> = found.iter().filter(|line| !expected.contains(line)).take(5).collect();
    assert!(missing.is_empty() && extra.is_empty(), "{name}: missing {missing:#?}, not expected {extra:#?}");
}

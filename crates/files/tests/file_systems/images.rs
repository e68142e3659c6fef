//! Images of file systems, made without mounting anything.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use anyhow::Result;
use testkit::{command::run, file_systems::FileSystemTools};

/// How large each image is.
const IMAGE_BYTES: u64 = 300 << 20;
const SMALL_IMAGE_BYTES: u64 = 32 << 20;

/// Files that every file system holds alike: no links, no owners.
pub fn plain_tree(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory.join("many"))?;
    for number in 0..400_u32 {
        let length = [0, 5, 100, 900, 4096, 5000][number as usize % 6];
        fs::write(
            directory.join(format!("many/entry-with-a-long-name-{number:05}.dat")),
            bytes(number, length),
        )?;
    }
    let mut deep = directory.to_owned();
    for level in 0..20 {
        deep.push(format!("level{level:02}"));
    }
    fs::create_dir_all(&deep)?;
    fs::write(deep.join("leaf"), "leaf")?;
    fs::write(directory.join("hello.txt"), "hello world\n")?;
    fs::write(directory.join("empty"), "")?;
    fs::write(directory.join("żółć-日本語.txt"), "names are bytes")?;
    fs::write(directory.join("large.bin"), bytes(7, 3 << 20))?;
    Ok(())
}

/// The same, with all that Linux's own file systems keep.
pub fn linux_tree(directory: &Path) -> Result<()> {
    plain_tree(directory)?;
    symlink("hello.txt", directory.join("link"))?;
    symlink(format!("../../{}", "x".repeat(150)), directory.join("dangling"))?;
    fs::write(directory.join("program"), "#!/bin/sh\n")?;
    fs::set_permissions(directory.join("program"), fs::Permissions::from_mode(0o4755))?;
    let sparse = File::create(directory.join("sparse.bin"))?;
    sparse.set_len(64 << 20)?;
    sparse.write_all_at(b"middle", 33 << 20)?;
    sparse.write_all_at(b"end", (64 << 20) - 3)?;
    Ok(())
}

/// Bytes that follow from a number.
pub fn bytes(seed: u32, length: usize) -> Vec<u8> {
    let mut state = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// What a tree holds: each path with what it is, by hash of content where it is a file.
pub fn manifest(root: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(inside) = open.pop() {
        for entry in fs::read_dir(root.join(&inside))? {
            let path = inside.join(entry?.file_name());
            let metadata = fs::symlink_metadata(root.join(&path))?;
            let name = path.display();
            lines.push(if metadata.is_symlink() {
                format!("{name} link {}", fs::read_link(root.join(&path))?.display())
            } else if metadata.is_dir() {
                open.push(path.clone());
                format!("{name} directory")
            } else {
                format!("{name} file {:o} {}", metadata.mode() & 0o7777, digest(&fs::read(root.join(&path))?))
            });
        }
    }
    lines.sort();
    Ok(lines)
}

/// A short name for content.
pub fn digest(content: &[u8]) -> String {
    use std::hash::{DefaultHasher, Hasher as _};
    let mut hasher = DefaultHasher::new();
    hasher.write(content);
    format!("{}:{:016x}", content.len(), hasher.finish())
}

pub fn ext4(tools: &FileSystemTools, tree: &Path, image: &Path, features: &str) -> Result<()> {
    ext4_with(tools, tree, image, &["-O", features])
}

pub fn ext4_with(tools: &FileSystemTools, tree: &Path, image: &Path, options: &[&str]) -> Result<()> {
    blank(image)?;
    ext4_over(tools, tree, image, options)
}

/// The same, as small as it may be for a few files.
pub fn small_ext4(tools: &FileSystemTools, tree: &Path, image: &Path, features: &str) -> Result<()> {
    File::create(image)?.set_len(SMALL_IMAGE_BYTES)?;
    ext4_over(tools, tree, image, &["-O", features])
}

fn ext4_over(tools: &FileSystemTools, tree: &Path, image: &Path, options: &[&str]) -> Result<()> {
    let mut command = tools.command("mkfs.ext4");
    run(command.args(["-q", "-F"]).args(options).arg("-d").arg(tree).arg(image)).map(drop)
}

pub fn btrfs(tools: &FileSystemTools, tree: &Path, image: &Path, checksum: &str) -> Result<()> {
    blank(image)?;
    run(tools.command("mkfs.btrfs").args(["-q", "-f", "--csum", checksum, "--rootdir"]).arg(tree).arg(image))
        .map(drop)
}

pub fn vfat(tools: &FileSystemTools, tree: &Path, image: &Path) -> Result<()> {
    blank(image)?;
    run(tools.command("mkfs.vfat").args(["-F", "32"]).arg(image))?;
    let mut command = tools.command("mcopy");
    command.env("LC_ALL", "C.UTF-8").args(["-s", "-Q", "-i"]).arg(image);
    for entry in fs::read_dir(tree)? {
        command.arg(entry?.path());
    }
    run(command.arg("::/")).map(drop)
}

/// Only what is at the top: NTFS has no tool that copies directories.
pub fn ntfs(tools: &FileSystemTools, tree: &Path, image: &Path) -> Result<()> {
    blank(image)?;
    run(tools.command("mkntfs").args(["-F", "-Q", "-q"]).arg(image))?;
    for entry in fs::read_dir(tree)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            run(tools
                .command("ntfscp")
                .env("LC_ALL", "C.UTF-8")
                .arg("-f")
                .arg("-q")
                .arg(image)
                .arg(entry.path())
                .arg(entry.file_name()))?;
        }
    }
    Ok(())
}

/// XFS from a prototype (`mkfs.xfs(8)`, `-p`), which knows names without white space only.
pub fn xfs(tools: &FileSystemTools, tree: &Path, image: &Path) -> Result<()> {
    xfs_with(tools, tree, image, "crc=1")
}

/// The same with options of its metadata.
pub fn xfs_with(tools: &FileSystemTools, tree: &Path, image: &Path, metadata: &str) -> Result<()> {
    blank(image)?;
    let prototype = image.with_extension("prototype");
    fs::write(&prototype, format!("/\n0 0\nd--755 0 0\n{}$\n", prototype_of(tree)?))?;
    run(tools.command("mkfs.xfs").args(["-q", "-f", "-m", metadata, "-p"]).arg(&prototype).arg(image))
        .map(drop)
}

fn prototype_of(directory: &Path) -> Result<String> {
    let mut text = String::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mode = metadata.mode() & 0o777;
        let setuid = if metadata.mode() & 0o4000 == 0 { "-" } else { "u" };
        text.push_str(&if metadata.is_symlink() {
            format!("{name} l--777 0 0 {}\n", fs::read_link(&path)?.display())
        } else if metadata.is_dir() {
            format!("{name} d--{mode:o} 0 0\n{}$\n", prototype_of(&path)?)
        } else {
            format!("{name} -{setuid}-{mode:o} 0 0 {}\n", path.display())
        });
    }
    Ok(text)
}

/// An exFAT, which no tool fills: a machine does.
pub fn exfat(tools: &FileSystemTools, tree: &Path, image: &Path) -> Result<()> {
    let source = image.with_extension("source");
    small_ext4(tools, tree, &source, "metadata_csum")?;
    File::create(image)?.set_len(SMALL_IMAGE_BYTES)?;
    run(tools.command("mkfs.exfat").arg(image))?;
    let script = "mkdir -p /run/source /run/target\nmount -t ext4 -o ro /dev/vda /run/source\n\
                  mount -t exfat -o iocharset=utf8 /dev/vdb /run/target\ncd /run/source\n\
                  for name in *; do [ $name = lost+found ] || cp -r $name /run/target/; done\n\
                  cd /\numount /run/target\n";
    tools.run_script(script, &[&source, image])
}

fn blank(image: &Path) -> Result<()> {
    Ok(File::create(image)?.set_len(IMAGE_BYTES)?)
}

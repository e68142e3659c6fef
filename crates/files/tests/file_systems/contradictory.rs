//! Disks that contradict themselves: an error or data, and what is sound beside it is read.

use std::{
    collections::BTreeMap, ffi::OsStr, fs, io::Read as _, os::unix::ffi::OsStrExt as _, path::Path,
    sync::Arc, time::Duration,
};

use anyhow::{Context as _, Result};
use files::{FilePath, FileTree, MicroVm, Walk};
use image::DiskImage;
use image_formats::RawImage;
use testkit::file_systems::FileSystemTools;

use crate::{
    composed::{Composed, SECTOR_BYTES},
    images,
    machine::{config, path, read_all},
    tables::{FIRST_SECTOR, Gpt, write_entry},
};

/// A disk here, and where its second half begins.
const DISK_BYTES: u64 = 1 << 30;
const MIDDLE_SECTOR: u64 = DISK_BYTES / SECTOR_BYTES / 2;

/// More than this nobody finds in a tree of three directories that lie in one another: paths are bounded.
const FOUND_MAX: usize = 5000;

/// Where the directories of a FAT with three of them are.
const FAT_SEARCHED_BYTES: usize = 4 << 20;

/// Names that are no text, as a tree on the host holds them.
const ODD_NAMES: [&[u8]; 4] = [b"caf\xe9", b"\xff\xfe\xfd", b"two\nlines", b" \x1b[31m "];

type Disks = Vec<(&'static str, Arc<dyn DiskImage>)>;

#[tokio::test(flavor = "multi_thread")]
async fn contradictions_are_errors_and_what_is_sound_is_read() -> Result<()> {
    let tools = FileSystemTools::obtain()?;
    let directory = tempfile::tempdir()?;
    let ext4 = ext4(&tools, directory.path()).await?;
    let mut disks = tables(&ext4);
    disks.extend(trees(&tools, directory.path(), &ext4).await?);
    let named = disks.into_iter().map(|(name, disk)| Ok((name.parse()?, disk))).collect::<Result<_>>()?;
    let machine = Arc::new(MicroVm::open(named, &config(&tools, directory.path()), &[]).await?);
    let volumes: Vec<_> = machine.volumes().iter().map(|volume| volume.name.clone()).collect();

    let sound = [
        "logical-1",
        "logical-5",
        "logical-6",
        "ebr-loop-5",
        "overlap-1",
        "past-end-1",
        "bad-header-1",
        "bad-table-1",
        "wiped-1",
        "stale-copy-1",
        "names",
        "dots",
        "loop",
    ];
    for volume in sound {
        let hello = read_all(machine.as_ref(), &path(&format!("{volume}/hello.txt"))).await;
        assert_eq!(hello.with_context(|| format!("{volume} of {volumes:?}"))?, b"hello world\n", "{volume}");
    }
    for none in ["no-header", "many-entries"] {
        assert!(!volumes.iter().any(|volume| volume.starts_with(none)), "{volumes:?}");
    }
    let of_loop = volumes.iter().filter(|volume| volume.starts_with("ebr-loop")).count();
    assert_eq!(of_loop, 2, "the same sectors are one volume: {volumes:?}");
    assert!(machine.stat(&path("truncated-1/hello.txt"), true).await.is_err());

    names_are_bytes(&machine).await?;
    for volume in ["dots", "loop", "fat-loop"] {
        let walked = tokio::time::timeout(Duration::from_secs(300), walk(&machine, volume)).await;
        walked.with_context(|| format!("the walk over {volume} does not end"))??;
    }
    assert!(machine.is_alive());
    Ok(())
}

async fn ext4(tools: &FileSystemTools, directory: &Path) -> Result<Arc<dyn DiskImage>> {
    let tree = directory.join("tree");
    fs::create_dir_all(tree.join("outer_loop/inner_loop"))?;
    fs::write(tree.join("hello.txt"), "hello world\n")?;
    fs::write(tree.join("escape_AAAA"), "beside")?;
    for name in ODD_NAMES {
        fs::write(tree.join(OsStr::from_bytes(name)), name)?;
    }
    // Without checksums, so that what the test writes over is believed.
    images::small_ext4(tools, &tree, &directory.join("ext4"), "^metadata_csum,^64bit")?;
    Ok(Arc::new(RawImage::open(&directory.join("ext4")).await?))
}

/// Partition tables of all kinds.
fn tables(ext4: &Arc<dyn DiskImage>) -> Disks {
    let sectors = ext4.size_bytes() / SECTOR_BYTES;
    let at = |sector: u64| (sector, sector + sectors - 1);
    let whole = [at(FIRST_SECTOR)];
    let gpt = |partitions: &[(u64, u64)]| {
        let gpt = Gpt::new(DISK_BYTES, partitions);
        let (back, bytes) = gpt.back();
        let first = FIRST_SECTOR * SECTOR_BYTES;
        Composed::new(DISK_BYTES).with_bytes(0, gpt.front()).with_bytes(back, bytes).with_image(
            first,
            ext4,
            BTreeMap::new(),
        )
    };
    let bad_front = |offset: usize| {
        let mut front = Gpt::new(DISK_BYTES, &whole).front();
        front[SECTOR_BYTES as usize + offset] ^= 1;
        front
    };
    let many = Gpt { entries: u32::MAX, ..Gpt::new(DISK_BYTES, &whole) };
    let end = DISK_BYTES / SECTOR_BYTES;
    let (back, copy) = Gpt::new(DISK_BYTES, &whole).back();
    let wiped = Composed::new(DISK_BYTES).with_bytes(back, copy).with_image(
        FIRST_SECTOR * SECTOR_BYTES,
        ext4,
        BTreeMap::new(),
    );
    let (back, elsewhere) = Gpt::new(DISK_BYTES, &[at(FIRST_SECTOR + 8)]).back();
    let mut old = vec![0; 512];
    write_entry(&mut old, 0, 0x83, FIRST_SECTOR as u32, sectors as u32);
    let stale = Composed::new(DISK_BYTES).with_bytes(0, old).with_bytes(back, elsewhere).with_image(
        FIRST_SECTOR * SECTOR_BYTES,
        ext4,
        BTreeMap::new(),
    );
    let disks: [(_, Composed); 11] = [
        ("logical", logical(ext4, false)),
        ("ebr-loop", logical(ext4, true)),
        ("overlap", gpt(&[at(FIRST_SECTOR), at(FIRST_SECTOR), (FIRST_SECTOR + 8, end - 40)])),
        ("past-end", gpt(&[at(FIRST_SECTOR), (end + 1, end + 99), (9, 3), (MIDDLE_SECTOR, u64::MAX)])),
        // The copy at the end is whole.
        ("bad-header", gpt(&whole).with_bytes(0, bad_front(16))),
        ("bad-table", gpt(&whole).with_bytes(0, bad_front(512 + 40))),
        ("wiped", wiped),
        // The disk was partitioned anew, the old way, and a copy of what it had before is left at its end.
        ("stale-copy", stale),
        (
            "no-header",
            Composed::new(DISK_BYTES).with_bytes(0, bad_front(30)).with_image(
                FIRST_SECTOR * SECTOR_BYTES,
                ext4,
                BTreeMap::new(),
            ),
        ),
        ("many-entries", Composed::new(DISK_BYTES).with_bytes(0, many.front())),
        (
            "truncated",
            Composed::new(16 << 20).with_bytes(0, Gpt::new(DISK_BYTES, &whole).front()).with_image(
                FIRST_SECTOR * SECTOR_BYTES,
                ext4,
                BTreeMap::new(),
            ),
        ),
    ];
    disks.into_iter().map(|(name, disk)| (name, Arc::new(disk) as _)).collect()
}

/// A table of the old kind with logical partitions; the last of their own tables may lead back to the first.
fn logical(ext4: &Arc<dyn DiskImage>, is_loop: bool) -> Composed {
    let sectors = (ext4.size_bytes() / SECTOR_BYTES) as u32;
    let (first, extended) = (FIRST_SECTOR as u32, FIRST_SECTOR as u32 + sectors);
    let second = extended + first + sectors;
    let mut main = vec![0; 512];
    write_entry(&mut main, 0, 0x83, first, sectors);
    write_entry(&mut main, 1, 0x05, extended, 2 * (first + sectors));
    let mut one = vec![0; 512];
    write_entry(&mut one, 0, 0x83, first, sectors);
    // The next one's place counts from the start of the extended partition.
    write_entry(&mut one, 1, 0x05, if is_loop { 0 } else { second - extended }, first + sectors);
    let mut other = vec![0; 512];
    write_entry(&mut other, 0, 0x83, first, sectors);
    let bytes = |sector: u32| u64::from(sector) * SECTOR_BYTES;
    let mut disk = Composed::new(bytes(second + first + sectors))
        .with_bytes(0, main)
        .with_bytes(bytes(extended), one)
        .with_bytes(bytes(second), other);
    for start in [first, extended + first, second + first] {
        disk = disk.with_image(bytes(start), ext4, BTreeMap::new());
    }
    disk
}

/// File systems whose directories make no sense.
async fn trees(tools: &FileSystemTools, directory: &Path, ext4: &Arc<dyn DiskImage>) -> Result<Disks> {
    let image = fs::read(directory.join("ext4"))?;
    let changed = |changes: BTreeMap<u64, u8>| {
        Arc::new(Composed::new(ext4.size_bytes()).with_image(0, ext4, changes)) as Arc<dyn DiskImage>
    };
    // A name that leads elsewhere.
    let name = find(&image, b"escape_AAAA").context("the file is not in its directory")?;
    let dots = overwrite(name, b"../../../aa");
    // A directory that is inside itself: its entry names the inode of the one above it.
    let entry =
        |name: &[u8]| find(&image, name).map(|at| at - 8).context("the directory is not in its directory");
    let (outer, inner) = (entry(b"outer_loop")?, entry(b"inner_loop")?);
    let itself = overwrite(inner, &image[outer..outer + 4]);

    let tree = directory.join("fat-tree");
    fs::create_dir_all(tree.join("OUTERDIR/INNERDIR"))?;
    fs::write(tree.join("OUTERDIR/FILE"), "x")?;
    images::vfat(tools, &tree, &directory.join("vfat"))?;
    let fat: Arc<dyn DiskImage> = Arc::new(RawImage::open(&directory.join("vfat")).await?);
    let mut image = vec![0; FAT_SEARCHED_BYTES];
    fs::File::open(directory.join("vfat"))?.read_exact(&mut image)?;
    let entry = |name: &[u8]| find(&image, name).context("the directory is not in its directory");
    let (outer, inner) = (entry(b"OUTERDIR   ")?, entry(b"INNERDIR   ")?);
    // The halves of the number of a directory's first cluster.
    let mut cluster = overwrite(inner + 20, &image[outer + 20..outer + 22]);
    cluster.extend(overwrite(inner + 26, &image[outer + 26..outer + 28]));
    let fat = Composed::new(fat.size_bytes()).with_image(0, &fat, cluster);
    Ok(vec![
        ("names", changed(BTreeMap::new())),
        ("dots", changed(dots)),
        ("loop", changed(itself)),
        ("fat-loop", Arc::new(fat)),
    ])
}

fn find(image: &[u8], name: &[u8]) -> Option<usize> {
    image.windows(name.len()).position(|window| window == name)
}

fn overwrite(at: usize, bytes: &[u8]) -> BTreeMap<u64, u8> {
    (at as u64..).zip(bytes.iter().copied()).collect()
}

async fn names_are_bytes(machine: &Arc<MicroVm>) -> Result<()> {
    for name in ODD_NAMES {
        let path = FilePath::parse(&[b"/names/", name].concat())?;
        assert_eq!(read_all(machine.as_ref(), &path).await?, name);
        assert!(!path.to_string().contains(char::is_control));
    }
    Ok(())
}

/// Walks over everything: it ends, and no name is more than a name.
async fn walk(machine: &Arc<MicroVm>, volume: &str) -> Result<()> {
    let mut walk = Walk::begin(Arc::clone(machine) as Arc<dyn FileTree>, &path(volume), true).await?;
    let (mut found, mut failed) = (0, 0);
    loop {
        match walk.next().await {
            Ok(Some(step)) => {
                found += 1;
                assert!(
                    !step.path.inside().split(|&byte| byte == b'/').any(|name| name == b".."),
                    "{step:?}"
                );
            }
            Ok(None) => return Ok(()),
            Err(error) if error.is_retryable() => return Err(error.into()),
            Err(_) => failed += 1,
        }
        assert!(found < FOUND_MAX && failed < FOUND_MAX, "{volume} has no end");
    }
}

//! All that a file system keeps of a file besides its bytes.

use std::{
    ffi::OsStr,
    fs::{self, File},
    ops::Range,
    os::unix::{ffi::OsStrExt as _, fs::FileExt as _},
    path::Path,
    process::Stdio,
    slice,
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};
use files::{Attribute, Entry, FileTree, Found, Kind, MicroVm, Time, Walk};
use testkit::file_systems::FileSystemTools;

use crate::{
    images,
    machine::{open, path},
};

/// A name that is no text, as long as names can be.
const LONG_NAME: [u8; 255] = [0xfe; 255];

/// An access control list as the kernel tells it (`include/uapi/linux/posix_acl_xattr.h`): the owner, user 70000, the group,
/// the mask, and all others.
const ACL: [u8; 44] = [
    2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 0x70, 0x11, 1, 0, 4, 0, 4, 0, 255, 255, 255, 255,
    16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
];

/// More than fits beside an inode.
const LONG_VALUE_BYTES: usize = 800;

/// Where the sparse file has data.
const DATA: Range<u64> = 32 << 20..(32 << 20) + 8192;

/// What no tool writes without being root is written into the image. Times are 32 bits, and 2 more below nanoseconds.
const COMMANDS: &str = "\
mknod character c 300 65000
mknod block b 8 1
mknod pipe p
sif /kept uid 70000
sif /kept gid 4000000000
sif /kept mode 0106755
sif /kept mtime @5
sif /kept mtime_extra 493827157
sif /kept ctime @1000000000
sif /kept ctime_extra 3999999996
sif /kept atime @4294967294
sif /kept atime_extra 0
sif /kept crtime @7
sif /kept crtime_extra 0
ea_set /kept user.short note
ea_set -f VALUE /kept user.long
ea_set -f ACL /kept system.posix_acl_access
";

/// The same for inodes that have room for nothing more.
const SMALL_COMMANDS: &str = "\
mknod character c 5 1
sif /kept uid 70000
sif /kept mtime @1000000000
ea_set -f VALUE /kept user.long
";

fn tree(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory.join("inside"))?;
    fs::write(directory.join("kept"), images::bytes(1, 5000))?;
    fs::hard_link(directory.join("kept"), directory.join("inside/again"))?;
    fs::write(directory.join(OsStr::from_bytes(&LONG_NAME)), "a name is bytes")?;
    let sparse = File::create(directory.join("sparse"))?;
    sparse.set_len(64 << 20)?;
    sparse.write_all_at(&[1; 8192], DATA.start)?;
    Ok(())
}

/// Changes an image as `debugfs(8)` is told to.
fn change(tools: &FileSystemTools, directory: &Path, image: &Path, commands: &str) -> Result<()> {
    let at = |name: &str| directory.join(name);
    fs::write(at("value"), images::bytes(2, LONG_VALUE_BYTES))?;
    fs::write(at("acl"), ACL)?;
    let commands = commands.replace("VALUE", &at("value").display().to_string());
    fs::write(at("commands"), commands.replace("ACL", &at("acl").display().to_string()))?;
    let mut command = tools.command("debugfs");
    let output = command.arg("-w").arg("-f").arg(at("commands")).arg(image).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| !line.starts_with("debugfs: ") && !line.starts_with("Allocated inode: "))
        .collect::<String>();
    // It exits with success whatever happened; what it complains about follows its version.
    let complaints = String::from_utf8_lossy(&output.stderr).lines().skip(1).collect::<String>();
    ensure!(output.status.success() && complaints.is_empty() && said.is_empty(), "{complaints}{said}");
    Ok(())
}

/// The entries of a volume by their paths in it.
async fn entries(machine: &Arc<MicroVm>, volume: &str) -> Result<Vec<Found>> {
    let mut walk = Walk::begin(Arc::clone(machine) as Arc<dyn FileTree>, &path(volume), true).await?;
    let mut found = Vec::new();
    while let Some(next) = walk.next().await? {
        found.push(next);
    }
    Ok(found)
}

fn entry(found: &[Found], inside: &[u8]) -> Result<Entry> {
    let found = found.iter().find(|found| found.path.inside() == inside);
    Ok(found.with_context(|| format!("{} is missing", String::from_utf8_lossy(inside)))?.entry.clone())
}

fn attribute(name: &str, value: impl Into<Vec<u8>>) -> Attribute {
    Attribute { name: name.into(), value: value.into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_kept_of_a_file_is_told() -> Result<()> {
    let tools = FileSystemTools::obtain()?;
    let directory = tempfile::tempdir_in(testkit::target::target_directory()?)?;
    let at = |name: &str| directory.path().join(name);
    tree(&at("tree"))?;
    let new = "metadata_csum,64bit";
    images::ext4_with(&tools, &at("tree"), &at("large.img"), &["-O", new, "-b", "4096", "-I", "256"])?;
    change(&tools, directory.path(), &at("large.img"), COMMANDS)?;
    let old = "^extents,^64bit,^metadata_csum,^has_journal";
    images::ext4_with(&tools, &at("tree"), &at("small.img"), &["-O", old, "-b", "1024", "-I", "128"])?;
    change(&tools, directory.path(), &at("small.img"), SMALL_COMMANDS)?;
    let runtime = tempfile::tempdir()?;
    let (large, small) = (at("large.img"), at("small.img"));
    let machine = open(&tools, runtime.path(), &[("large", &large), ("small", &small)], &[]).await?;

    let found = entries(&machine, "large").await?;
    let kept = entry(&found, b"kept")?;
    let expected = Entry {
        name: b"kept".to_vec(),
        kind: Kind::File,
        mode: 0o6755,
        user: 70_000,
        group: 4_000_000_000,
        size_bytes: 5000,
        // Two blocks of data, and one of attributes.
        allocated_bytes: 3 * 4096,
        links: 2,
        inode: kept.inode,
        modified: Time { seconds: (1 << 32) + 5, nanoseconds: 123_456_789 },
        accessed: Time { seconds: -2, nanoseconds: 0 },
        changed: Time { seconds: 1_000_000_000, nanoseconds: 999_999_999 },
        created: Some(Time { seconds: 7, nanoseconds: 0 }),
        attributes: vec![
            attribute("system.posix_acl_access", ACL),
            attribute("user.long", images::bytes(2, LONG_VALUE_BYTES)),
            attribute("user.short", "note"),
        ],
    };
    assert_eq!(kept, expected);
    assert_eq!(machine.stat(&path("/large/kept"), false).await?, expected);
    assert_eq!(entry(&found, b"inside/again")?, Entry { name: b"again".to_vec(), ..expected });
    assert_eq!(entry(&found, b"character")?.kind, Kind::CharacterDevice { major: 300, minor: 65_000 });
    assert_eq!(entry(&found, b"block")?.kind, Kind::BlockDevice { major: 8, minor: 1 });
    assert_eq!(entry(&found, b"pipe")?.kind, Kind::Fifo);
    assert_eq!(entry(&found, &LONG_NAME)?.size_bytes, 15);
    assert_eq!(entry(&found, b"sparse")?.allocated_bytes, 8192);
    let (ranges, _) = machine.data_ranges(&path("/large/sparse"), 0).await?;
    assert_eq!(ranges, slice::from_ref(&DATA));

    let found = entries(&machine, "small").await?;
    let kept = entry(&found, b"kept")?;
    assert_eq!((kept.user, kept.links, kept.created), (70_000, 2, None));
    assert_eq!(kept.modified, Time { seconds: 1_000_000_000, nanoseconds: 0 });
    assert_eq!(kept.attributes, [attribute("user.long", images::bytes(2, LONG_VALUE_BYTES))]);
    assert_eq!(entry(&found, b"character")?.kind, Kind::CharacterDevice { major: 5, minor: 1 });
    let (ranges, _) = machine.data_ranges(&path("/small/sparse"), 0).await?;
    assert_eq!(ranges, slice::from_ref(&DATA));
    Ok(())
}

//! What lies inside other things: partitions, logical volumes over two disks, arrays, encrypted volumes, and file systems
//! whose machine lost its power.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result};
use files::{FileTree, Passphrase, VolumeState};
use testkit::{command::run, file_systems::FileSystemTools, target::target_directory};

use crate::{
    images,
    machine::{open, path},
    reading::{check, manifest},
};

/// The disks in the order of the script's letters, with their sizes in MiB.
const DISKS: [(&str, u64); 12] = [
    ("source", 300),
    ("lvm-a", 500),
    ("lvm-b", 500),
    ("md-a", 200),
    ("md-b", 200),
    ("luks", 200),
    ("dirty-ext4", 200),
    ("dirty-xfs", 400),
    ("dirty-btrfs", 400),
    ("twin", 300),
    ("twin-copy", 300),
    ("stick", 64),
];

const PASSPHRASE: &str = "correct horse";

/// The array's log and LVM's pool hold what was written before the power cut, as the dirty file systems do.
const SCRIPT: &str = r#"
mkdir -p /run/source /run/target /etc/lvm
mount -t ext4 -o ro /dev/vda /run/source
fill() { mount "$1" /run/target; cp -a /run/source/. /run/target/; rm -rf /run/target/lost+found; umount /run/target; }

lvm() { /bin/lvm "$@" --config 'activation{udev_sync=0 udev_rules=0 monitoring=0} global{thin_check_executable=""} devices{use_devicesfile=0 hints="none"}'; }
lvm pvcreate -q /dev/vdb2 /dev/vdc
lvm vgcreate -q group /dev/vdb2 /dev/vdc
lvm lvcreate -q -y -Zn -Wn -i2 -L 360M -n striped group
lvm lvcreate -q -y -Zn -L 200M -T group/pool -V 1G -n thin
mkfs.xfs -q -f /dev/mapper/group-striped; fill /dev/mapper/group-striped
mkfs.ext4 -q -F /dev/mapper/group-thin; fill /dev/mapper/group-thin
mkfs.ext4 -q -F /dev/vdb1; fill /dev/vdb1
lvm vgchange -q -an group

mdadm --create /dev/md0 --run --level=1 --raid-devices=2 --metadata=1.2 --name=mirror --homehost=any /dev/vdd /dev/vde
mkfs.ext4 -q -F /dev/md0; fill /dev/md0
mdadm --stop /dev/md0

printf '%s' 'correct horse' | cryptsetup luksFormat -q --disable-locks --type luks2 --pbkdf argon2id --pbkdf-memory 65536 --pbkdf-force-iterations 4 --pbkdf-parallel 1 --key-file=- /dev/vdf
printf '%s' 'correct horse' | cryptsetup open --disable-locks --key-file=- /dev/vdf open
mkfs.ext4 -q -F /dev/mapper/open; fill /dev/mapper/open
cryptsetup close --disable-locks open

mkfs.btrfs -q -f /dev/vdj; fill /dev/vdj
dd if=/dev/vdj of=/dev/vdk bs=1M 2>/dev/null
mount /dev/vdk /run/target; echo "of the copy" > /run/target/copy; umount /run/target

mount -t exfat -o iocharset=utf8 /dev/vdl1 /run/target
cp -r /run/source/many /run/source/hello.txt /run/target/; umount /run/target

dirty() { mkdir -p /run/$1; mount $3 $2 /run/$1; cp -a /run/source/. /run/$1/; rm -rf /run/$1/lost+found; sync; }
mkfs.ext4 -q -F /dev/vdg; dirty ext4 /dev/vdg
mkfs.xfs -q -f /dev/vdh; dirty xfs /dev/vdh
mkfs.btrfs -q -f /dev/vdi; dirty btrfs /dev/vdi "-o commit=300"
for system in ext4 xfs btrfs; do
    rm /run/$system/hello.txt; mv /run/$system/program /run/$system/renamed
done
sync
for system in ext4 xfs btrfs; do
    mkdir /run/$system/late
    for number in 1 2 3 4 5 6 7 8 9; do
        echo "late $number" | dd of=/run/$system/late/$number conv=fsync 2>/dev/null
    done
done
"#;

/// The disks from the cache in Cargo's target directory, made first where they are not there.
fn disks(tools: &FileSystemTools) -> Result<(PathBuf, PathBuf)> {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    (SCRIPT, include_str!("containers.rs"), include_str!("images.rs")).hash(&mut hasher);
    let cache = target_directory()?.join("file-systems");
    let directory = cache.join(format!("disks-{:016x}", hasher.finish()));
    let lock = File::create(cache.join("disks.lock"))?;
    lock.lock()?;
    if !directory.exists() {
        let work = tempfile::Builder::new().prefix("building-").tempdir_in(&cache)?;
        let tree = work.path().join("tree");
        images::linux_tree(&tree)?;
        for (name, mebibytes) in DISKS {
            File::create(work.path().join(name))?.set_len(mebibytes << 20)?;
        }
        images::ext4(tools, &tree, &work.path().join("source"), "metadata_csum")?;
        partition(tools, &work.path().join("lvm-a"), "label: gpt\nsize=180MiB, type=linux\ntype=lvm\n")?;
        partition(tools, &work.path().join("stick"), "label: dos\nstart=1MiB, type=7\n")?;
        exfat(tools, &work.path().join("stick"))?;
        let paths: Vec<_> = DISKS.iter().map(|(name, _)| work.path().join(name)).collect();
        let paths: Vec<_> = paths.iter().map(PathBuf::as_path).collect();
        tools.run_script(SCRIPT, &paths)?;
        fs::rename(work.keep(), &directory)?;
    }
    Ok((directory.clone(), directory.join("tree")))
}

/// Partitions a disk by a script of sfdisk's.
fn partition(tools: &FileSystemTools, disk: &Path, script: &str) -> Result<()> {
    use std::io::Write as _;
    let mut sfdisk = tools.command("sfdisk").arg("-q").arg(disk).stdin(Stdio::piped()).spawn()?;
    let mut input = sfdisk.stdin.take().context("sfdisk has no input")?;
    input.write_all(script.as_bytes())?;
    drop(input);
    anyhow::ensure!(sfdisk.wait()?.success(), "sfdisk failed");
    Ok(())
}

/// An empty exFAT in the partition from 1 MiB to the disk's end, as a memory stick has it.
fn exfat(tools: &FileSystemTools, disk: &Path) -> Result<()> {
    let partition = tempfile::NamedTempFile::new()?;
    partition.as_file().set_len(File::open(disk)?.metadata()?.len() - (1 << 20))?;
    run(tools.command("mkfs.exfat").arg(partition.path()))?;
    File::options().write(true).open(disk)?.write_all_at(&fs::read(partition.path())?, 1 << 20)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_inside_other_things_is_read() -> Result<()> {
    let tools = FileSystemTools::obtain()?;
    let (directory, tree) = disks(&tools)?;
    let expected = images::manifest(&tree)?;
    let paths: Vec<_> = DISKS.iter().map(|(name, _)| (*name, directory.join(name))).collect();
    let disks: Vec<_> = paths.iter().skip(1).map(|(name, path)| (*name, path.as_path())).collect();
    let runtime = tempfile::tempdir()?;
    let machine =
        open(&tools, runtime.path(), &disks, &[Passphrase::new("wrong"), Passphrase::new(PASSPHRASE)])
            .await?;
    let names: Vec<_> = machine.volumes().iter().map(|volume| volume.name.as_str()).collect();
    let volumes = [
        "dirty-btrfs",
        "dirty-ext4",
        "dirty-xfs",
        "group-striped",
        "group-thin",
        "luks",
        "lvm-a-1",
        "md-mirror",
        "stick-1",
        "twin",
        "twin-copy",
    ];
    assert_eq!(names, volumes);
    for volume in ["group-striped", "group-thin", "luks", "lvm-a-1", "md-mirror"] {
        check(volume, &manifest(&machine, volume, true).await.context(volume)?, &expected);
    }

    let of_stick: Vec<_> = expected
        .iter()
        .filter(|it| it.starts_with("many") || it.starts_with("hello.txt "))
        .cloned()
        .collect();
    check("stick-1", &manifest(&machine, "stick-1", false).await?, &of_stick);

    // Two btrfs of one id, in turns.
    let mut of_copy = expected.clone();
    of_copy.push(format!("copy file 644 {}", images::digest(b"of the copy\n")));
    of_copy.sort();
    for (volume, expected) in [("twin", &expected), ("twin-copy", &of_copy), ("twin", &expected)] {
        check(volume, &manifest(&machine, volume, true).await.context(volume)?, expected);
    }

    // Everything that was synced before the power cut is there, and nothing of what it replaced.
    let late = (1..10).map(|number| {
        format!("late/{number} file 644 {}", images::digest(format!("late {number}\n").as_bytes()))
    });
    let renamed = expected.iter().filter(|line| !line.starts_with("hello.txt "));
    let renamed = renamed.map(|line| match line.strip_prefix("program ") {
        Some(rest) => format!("renamed {rest}"),
        None => line.clone(),
    });
    let mut expected: Vec<_> = renamed.chain(late).chain(["late directory".to_owned()]).collect();
    expected.sort();
    for volume in ["dirty-ext4", "dirty-xfs", "dirty-btrfs"] {
        check(volume, &manifest(&machine, volume, true).await.context(volume)?, &expected);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_opened_says_so() -> Result<()> {
    let tools = FileSystemTools::obtain()?;
    let (directory, _) = disks(&tools)?;
    let runtime = tempfile::tempdir()?;
    let (luks, lonely) = (directory.join("luks"), directory.join("lvm-b"));
    let machine = open(&tools, runtime.path(), &[("luks", &luks), ("lonely", &lonely)], &[]).await?;
    let state =
        machine.volumes().iter().find(|volume| volume.name == "luks").map(|volume| volume.state.clone());
    assert_eq!(state, Some(VolumeState::Locked));
    assert_eq!(machine.stat(&path("/luks"), true).await.unwrap_err().kind(), files::ErrorKind::Locked);
    assert_eq!(machine.stat(&path("/none"), true).await.unwrap_err().kind(), files::ErrorKind::NotFound);
    Ok(())
}

//! A recovery point shown as a directory, by FUSE.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use testkit::{command::run, file_systems::FileSystemTools, site::Site};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Child,
    time::timeout,
};

use crate::{
    files::{LONG_BYTES, REFERENCE, protect_vm_with_files, with_tools},
    fixture::{assert_same, back_up, noise, words},
};

const CONFLICT: i32 = 6;

#[tokio::test]
async fn a_point_is_shown_as_disks_and_files() -> Result<()> {
    if let Err(error) = File::options().read(true).write(true).open("/dev/fuse") {
        eprintln!("SKIPPED, AND NOTHING IS SHOWN TO WORK: /dev/fuse cannot be used here: {error}");
        return Ok(());
    }
    let tools = FileSystemTools::obtain()?;
    let work = tempfile::tempdir()?;
    let mut site = Site::start_with(&with_tools(&tools, work.path())?).await?;
    protect_vm_with_files(&site, &tools, work.path()).await?;
    let image = fs::read(work.path().join("vda.raw"))?;
    let directory = work.path().join("mounted");
    fs::create_dir(&directory)?;

    let mut mounted = mount(&site, &directory).await?;
    assert_eq!(names(&directory)?, ["disks", "files"]);
    // A newer point changes nothing.
    fs::write(work.path().join("vda.raw"), vec![0; image.len()])?;
    back_up(&site, "web-1").await?;
    let disk = directory.join("disks/vda.raw");
    assert_same(&fs::read(&disk)?, &image);
    let mut piece = vec![0; 5000];
    File::open(&disk)?.read_exact_at(&mut piece, (4 << 20) - 1234)?;
    assert_same(&piece, &image[(4 << 20) - 1234..][..5000]);
    ensure!(File::options().write(true).open(&disk).is_err(), "it is read-only");

    let files = directory.join("files/vda");
    assert_eq!(names(&files.join("etc"))?, ["link", "secret"]);
    assert_eq!(fs::read_to_string(files.join("etc/link"))?, "the secret");
    let metadata = fs::symlink_metadata(files.join("etc/secret"))?;
    assert_eq!((metadata.permissions().mode() & 0o7777, metadata.len()), (0o600, 10));
    let original = fs::metadata(work.path().join("tree/etc/secret"))?;
    assert_eq!((metadata.uid(), metadata.mtime()), (original.uid(), original.mtime()));
    assert_eq!(fs::read_link(files.join("home/absolute"))?, Path::new("../etc/secret"));
    assert_eq!(fs::read_to_string(files.join("home/absolute"))?, "the secret");
    assert_same(&fs::read(files.join("home/long"))?, &noise(7, LONG_BYTES));
    ensure!(!files.join("etc/none").exists() && !directory.join("files/none").exists());

    let (code, said) = site.failure(words!["mount", REFERENCE, directory]).await?;
    assert_eq!(code, CONFLICT, "there is something in it: {said}");

    // Without a server nothing can be read, and with the next one it can.
    site.kill_server().await?;
    ensure!(fs::read_to_string(files.join("home/later")).is_err(), "nobody answers");
    site.start_server().await?;
    assert_eq!(fs::read_to_string(files.join("home/later"))?, "later");

    run(Command::new("umount").arg(&directory))?;
    ensure!(end(&mut mounted).await?.success(), "it ends when it is unmounted");
    assert_eq!(names(&directory)?, Vec::<String>::new());

    let mut mounted = mount(&site, &directory).await?;
    // A program that still reads does not keep it from ending.
    let reader = File::open(directory.join("disks/vda.raw"))?;
    let process = mounted.id().and_then(|id| Pid::from_raw(id.cast_signed())).context("it runs")?;
    kill_process(process, Signal::INT)?;
    ensure!(end(&mut mounted).await?.success(), "it ends when it is interrupted");
    assert_eq!(names(&directory)?, Vec::<String>::new());
    ensure!(reader.read_exact_at(&mut [0; 512], 32 << 20).is_err(), "what it read is gone");
    Ok(())
}

/// Mounts, and returns once it is mounted.
async fn mount(site: &Site, directory: &Path) -> Result<Child> {
    let mut command = site.command(words!["mount", REFERENCE, directory])?;
    let mut mounted = command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut lines = BufReader::new(mounted.stderr.take().context("it has no standard error")?).lines();
    let line = lines.next_line().await?.context("it ended")?;
    ensure!(line.contains("is shown in"), "{line}");
    // What else it says must not keep it waiting.
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            eprintln!("{line}");
        }
    });
    Ok(mounted)
}

async fn end(mounted: &mut Child) -> Result<ExitStatus> {
    timeout(Duration::from_secs(30), mounted.wait()).await.context("it does not end")?.context("waiting")
}

fn names(directory: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> = entries.collect::<Result<_>>()?;
    names.sort();
    Ok(names)
}

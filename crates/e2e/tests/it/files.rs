//! Files taken out of a recovery point, with no agent, no mount and no root.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use api::{FileView, VolumeView};
use testkit::{binary, command::run, file_systems::FileSystemTools, site::Site};
use tokio::time::timeout;

use crate::fixture::{back_up, noise, words};

/// The length of `/home/long`, which is noise of seed 7.
pub const LONG_BYTES: usize = (5 << 20) + 123;

pub const REFERENCE: &str = "point:web-1/latest";

#[tokio::test]
async fn files_come_out_of_a_point() -> Result<()> {
    let tools = FileSystemTools::obtain()?;
    let work = tempfile::tempdir()?;
    let mut site = Site::start_with(&with_tools(&tools, work.path())?).await?;
    protect_vm_with_files(&site, &tools, work.path()).await?;

    let volumes: Vec<VolumeView> = site.json(["files", "ls", REFERENCE]).await?;
    assert_eq!(
        volumes.iter().map(|volume| (&*volume.name, &*volume.content)).collect::<Vec<_>>(),
        [("vda", "ext4")]
    );
    let listed: Vec<FileView> = site.json(["files", "ls", REFERENCE, "/vda/etc"]).await?;
    let listed: Vec<_> = listed.iter().map(|file| (&*file.path, &*file.mode)).collect();
    assert_eq!(listed, [("/vda/etc/link", "0777"), ("/vda/etc/secret", "0600")]);
    assert_eq!(site.run(["files", "cat", REFERENCE, "/vda/etc/link"]).await?, "the secret");
    let found: Vec<FileView> = site.json(["files", "find", REFERENCE, "/vda", "se*t"]).await?;
    assert_eq!(found.iter().map(|file| &*file.path).collect::<Vec<_>>(), ["/vda/etc/secret"]);

    let target = work.path().join("restored");
    site.run(words!["files", "get", REFERENCE, "/vda/etc", "--to", target]).await?;
    assert_eq!(fs::read_to_string(target.join("etc/secret"))?, "the secret");
    assert_eq!(fs::metadata(target.join("etc/secret"))?.permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_link(target.join("etc/link"))?, Path::new("secret"));

    let archive = work.path().join("etc.tar");
    site.run(words!["files", "get", REFERENCE, "/vda/etc", "--tar", archive]).await?;
    let names = run(std::process::Command::new("tar").arg("-tf").arg(&archive))?;
    assert!(names.lines().any(|name| name == "etc/secret"), "{names}");

    let archive = work.path().join("etc.zip");
    site.run(words!["files", "get", REFERENCE, "/vda/etc", "--zip", archive]).await?;
    let names = run(std::process::Command::new("python3").args(["-m", "zipfile", "-l"]).arg(&archive))?;
    assert!(names.contains("etc/secret"), "{names}");

    let (code, _) = site.failure(["files", "cat", REFERENCE, "/vda/none"]).await?;
    assert_eq!(code, 4, "not found");
    let (code, _) = site.failure(["files", "cat", REFERENCE, "/vda/../etc/passwd"]).await?;
    assert_eq!(code, 2, "no path");
    let (code, said) = site.failure(words!["files", "get", REFERENCE, "/vda/etc", "--to", target]).await?;
    assert_eq!(code, 6, "nothing is overwritten: {said}");

    // What read the files does not outlive a server that is killed.
    let machines = machines_of(&site)?;
    assert_eq!(machines.len(), 1, "one machine has answered all of this");
    site.kill_server().await?;
    let ended = async {
        while machines.iter().any(|process| process.join("exe").exists()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(30), ended).await.context("the machine outlives the server")?;
    Ok(())
}

/// The processes that read files for a site.
fn machines_of(site: &Site) -> Result<Vec<PathBuf>> {
    let directory = site.data_directory().join("run/files-").to_string_lossy().into_owned();
    let processes = fs::read_dir("/proc")?.flatten().map(|entry| entry.path());
    let is_one = |process: &PathBuf| {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&directory)
    };
    Ok(processes.filter(is_one).collect())
}

/// The binary, with a kernel and tools that the host need not have.
pub fn with_tools(tools: &FileSystemTools, directory: &Path) -> Result<PathBuf> {
    let script = directory.join("holdfast");
    let text = format!(
        "#!/bin/sh\nexport HOLDFAST_KERNEL='{}' HOLDFAST_MODULES='{}' HOLDFAST_TOOLS_ROOT='{}'\nexec '{}' \"$@\"\n",
        tools.kernel().display(),
        tools.modules().display(),
        tools.root().display(),
        binary::holdfast()?.display()
    );
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(script)
}

/// A stopped VM with one disk, and a backup of it.
pub async fn protect_vm_with_files(site: &Site, tools: &FileSystemTools, work: &Path) -> Result<()> {
    let (tree, image, definition) = (work.join("tree"), work.join("vda.raw"), work.join("web-1.toml"));
    fs::create_dir_all(tree.join("etc"))?;
    fs::write(tree.join("etc/secret"), "the secret")?;
    fs::set_permissions(tree.join("etc/secret"), fs::Permissions::from_mode(0o600))?;
    symlink("secret", tree.join("etc/link"))?;
    fs::create_dir_all(tree.join("home"))?;
    fs::write(tree.join("home/long"), noise(7, LONG_BYTES))?;
    fs::write(tree.join("home/later"), "later")?;
    symlink("/etc/secret", tree.join("home/absolute"))?;
    fs::File::create(&image)?.set_len(64 << 20)?;
    run(tools.command("mkfs.ext4").args(["-q", "-F", "-d"]).arg(&tree).arg(&image))?;
    let path = image.to_str().context("the path of the disk is not UTF-8")?;
    let text = format!(
        "name = \"web-1\"\nmemory = \"64MiB\"\nagent = false\n\n[[disk]]\nname = \"vda\"\npath = {path:?}\nformat = \"raw\"\n"
    );
    fs::write(&definition, text)?;
    site.run(["vault", "create", "main"]).await?;
    site.run(words!["vm", "add", "--definition", definition]).await?;
    site.run(["protect", "web-1", "--vault", "main", "--consistency", "crash"]).await?;
    back_up(site, "web-1").await.map(drop)
}

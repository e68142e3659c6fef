//! A stopped VM goes back to a point in place, on real image files, also when the server dies in the midst of it.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use api::{Code, JobView, PointView, RestoredInPlaceView, VmView};
use model::JobState;
use testkit::{command::run, site::Site};

use crate::fixture::{
    assert_same, back_up, by_bitmap, job_until, noise, restored_bytes, site_with_vault, words,
};

const DISK_BYTES: usize = 48 << 20;
const CONFLICT: i32 = 6;

/// A stopped VM with a raw disk and a qcow2 disk that the test writes.
struct Vm {
    raw: PathBuf,
    qcow2: PathBuf,
}

impl Vm {
    async fn protect(site: &Site) -> Result<Self> {
        let (raw, qcow2) = (site.directory().join("vda.raw"), site.directory().join("vdb.qcow2"));
        fs::write(&raw, noise(1, DISK_BYTES))?;
        run(Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2"])
            .arg(&qcow2)
            .arg(DISK_BYTES.to_string()))?;
        let vm = Self { raw, qcow2 };
        vm.write_qcow2(&["write -P 1 0 20M", "write -P 2 40M 1M"])?;
        let definition = site.directory().join("vm.toml");
        let text = format!(
            "name = \"vm\"\nmemory = \"64MiB\"\nagent = false\n\n\
             [[disk]]\nname = \"vda\"\npath = {:?}\nformat = \"raw\"\n\n\
             [[disk]]\nname = \"vdb\"\npath = {:?}\nformat = \"qcow2\"\n",
            vm.raw, vm.qcow2
        );
        fs::write(&definition, text)?;
        site.run(words!["vm", "add", "--definition", definition]).await?;
        site.run(["protect", "vm", "--vault", "main", "--consistency", "crash"]).await?;
        Ok(vm)
    }

    fn write_qcow2(&self, commands: &[&str]) -> Result<()> {
        let commands = commands.iter().flat_map(|command| ["-c", command]);
        run(Command::new("qemu-io").args(["-f", "qcow2"]).args(commands).arg(&self.qcow2)).map(drop)
    }

    /// Writes to both disks, all over the raw one.
    fn write(&self, seed: u64) -> Result<()> {
        fs::write(&self.raw, noise(seed, DISK_BYTES))?;
        let byte = seed % 200 + 3;
        self.write_qcow2(&[
            &format!("write -P {byte} 1M 12M"),
            &format!("write -P {byte} 30M 5M"),
            "write -z 40M 1M",
        ])
    }

    fn content(&self) -> Result<[Vec<u8>; 2]> {
        let directory = tempfile::tempdir()?;
        let flat = directory.path().join("flat");
        run(Command::new("qemu-img")
            .args(["convert", "-f", "qcow2", "-O", "raw"])
            .arg(&self.qcow2)
            .arg(&flat))?;
        Ok([fs::read(&self.raw)?, fs::read(flat)?])
    }

    fn assert_holds(&self, expected: &[Vec<u8>; 2]) -> Result<()> {
        let found = self.content()?;
        assert_same(&found[0], &expected[0]);
        assert_same(&found[1], &expected[1]);
        Ok(())
    }
}

/// Proves that a backup that is taken now restores to what the disks hold.
async fn back_up_exactly(site: &Site, expected: &[Vec<u8>; 2]) -> Result<PointView> {
    let point = back_up(site, "vm").await?;
    assert_same(&restored_bytes(site, "point:vm/latest/vda").await?, &expected[0]);
    assert_same(&restored_bytes(site, "point:vm/latest/vdb").await?, &expected[1]);
    Ok(point)
}

fn restore(point: &str) -> Vec<OsString> {
    words!["restore", "vm", format!("point:vm/{point}"), "--replace"].to_vec()
}

#[tokio::test]
async fn a_vm_goes_back_in_place_and_its_backups_stay_true() -> Result<()> {
    let site = site_with_vault().await?;
    let vm = Vm::protect(&site).await?;
    let first = vm.content()?;
    let point = back_up(&site, "vm").await?;
    vm.write(2)?;
    let second = vm.content()?;
    back_up_exactly(&site, &second).await?;

    let inode = inode(&vm.qcow2)?;
    let back: RestoredInPlaceView = site.json(restore(point.id.as_str())).await?;
    vm.assert_holds(&first)?;
    assert_eq!(self::inode(&vm.qcow2)?, inode, "the file is the same");
    let written =
        |view: &RestoredInPlaceView| view.disks.iter().map(|disk| disk.written_bytes.0).collect::<Vec<_>>();
    assert_eq!(written(&back), [DISK_BYTES as u64, 18 << 20], "only what differs");
    let again: RestoredInPlaceView =
        site.json(restore(point.id.as_str()).into_iter().chain(words!["--dry-run"])).await?;
    assert_eq!(written(&again), [0, 0]);

    // The bitmap has recorded what the restore wrote.
    let next = back_up_exactly(&site, &first).await?;
    assert_eq!(by_bitmap(&next), [false, true]);
    assert!(next.disks[1].read_bytes.0 < 24 << 20, "{:?}", next.disks[1].read_bytes);

    let safety_point = back.safety_point_id.context("there is a safety point")?;
    site.run(restore(&safety_point)).await?;
    vm.assert_holds(&second)?;

    site.run(["vm", "start", "vm"]).await?;
    let (code, said) = site.failure(restore(point.id.as_str())).await?;
    assert!(code == CONFLICT && said.contains("vm stop vm"), "{code}: {said}");
    site.run(["vm", "stop", "vm", "--force"]).await?;
    vm.assert_holds(&second)
}

#[tokio::test]
async fn a_restore_in_place_that_is_killed_is_completed_by_the_next() -> Result<()> {
    let mut site = site_with_vault().await?;
    let vm = Vm::protect(&site).await?;
    let first = vm.content()?;
    let point = back_up(&site, "vm").await?;
    let mut half_restored = 0;
    for (seed, phase) in [(5, "overwriting vda"), (6, "overwriting vdb"), (7, "overwriting vda")] {
        vm.write(seed)?;
        let before = vm.content()?;
        let job: JobView =
            site.json(restore(point.id.as_str()).into_iter().chain(words!["--no-wait"])).await?;
        let reached =
            |progress: &serde_json::Value| progress["phase"].as_str().is_some_and(|it| it.starts_with(phase));
        let is_reached = job_until(&site, &job, reached).await.is_ok();
        site.kill_server().await?;
        site.start_server().await?;
        let job: JobView = site.json(["job", "show", job.id.as_str()]).await?;
        let known: VmView = site.json(["vm", "show", "vm"]).await?;
        println!("{phase}, reached {is_reached}: {}, {:?}", job.state, known.half_restored);
        if let Some(half) = known.half_restored {
            half_restored += 1;
            assert_eq!(job.state, JobState::Failed);
            let problem = job.problem.context("the job has a problem")?;
            assert_eq!((problem.code, problem.hint), (Code::Interrupted, Some(half.hint)));
            let (code, said) = site.failure(["vm", "start", "vm"]).await?;
            assert!(code == CONFLICT && said.contains(point.id.as_str()), "{code}: {said}");
            assert_eq!(site.failure(["backup", "vm"]).await?.0, CONFLICT);
            let safety_point = half.safety_point_id.context("there is a safety point")?;
            if seed >= 6 {
                site.run(restore(&safety_point)).await?;
                vm.assert_holds(&before)?;
            }
        }
        site.run(restore(point.id.as_str())).await?;
        vm.assert_holds(&first)?;
        back_up_exactly(&site, &first).await?;
    }
    assert!(half_restored > 0, "no restore was killed while it wrote");
    Ok(())
}

#[tokio::test]
async fn a_revert_that_is_killed_leaves_a_vm_that_only_starts_whole() -> Result<()> {
    let mut site = site_with_vault().await?;
    let vm = Vm::protect(&site).await?;
    let monday = vm.content()?;
    site.run(["snapshot", "create", "vm", "--name", "monday", "--wait"]).await?;
    let revert = |to: &str| words!["--yes", "snapshot", "revert", "vm", "--to", to].to_vec();
    let mut half_restored = 0;
    for (seed, phase) in [(5, "overwriting vda"), (6, "overwriting vdb"), (7, "overwriting vda")] {
        vm.write(seed)?;
        let before = vm.content()?;
        let job: JobView = site.json(revert("monday").into_iter().chain(words!["--no-wait"])).await?;
        let reached =
            |progress: &serde_json::Value| progress["phase"].as_str().is_some_and(|it| it.starts_with(phase));
        let is_reached = job_until(&site, &job, reached).await.is_ok();
        site.kill_server().await?;
        site.start_server().await?;
        let known: VmView = site.json(["vm", "show", "vm"]).await?;
        println!("{phase}, reached {is_reached}: {:?}", known.half_restored);
        if let Some(half) = known.half_restored {
            half_restored += 1;
            let (code, said) = site.failure(["vm", "start", "vm"]).await?;
            assert!(code == CONFLICT && said.contains("snapshot revert vm --to monday"), "{code}: {said}");
            let safety = half.hint.split("--to ").last().context("there is a way back")?.to_owned();
            site.run(revert(&safety)).await?;
            vm.assert_holds(&before)?;
        }
        let back: RestoredInPlaceView = site.json(revert("monday")).await?;
        assert_eq!(back.reference, "snapshot:monday");
        vm.assert_holds(&monday)?;
    }
    assert!(half_restored > 0, "no revert was killed while it wrote");
    site.run(["vm", "start", "vm"]).await?;
    site.run(["vm", "stop", "vm", "--force"]).await?;
    Ok(())
}

fn inode(path: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(fs::metadata(path)?.ino())
}

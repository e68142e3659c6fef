//! The server dies in the middle of whatever changes a vault, at ever later moments.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use api::{Code, JobView};
use model::JobState;
use testkit::site::Site;
use tokio::time::{Instant, sleep};

use super::{
    DAMAGED, MIB, add_copy, assert_clean, main_directory, site_with_saved_key, stopped_vm::StoppedVm,
};
use crate::fixture::files_below;

/// Moments in each kind of job: the first at once, the last about when it would end.
const MOMENTS: u32 = 6;
const DISK_BYTES: usize = 24 * MIB;

#[tokio::test]
async fn a_killed_backup_leaves_the_vault_sound_and_the_next_one_succeeds() -> Result<()> {
    let mut site = site_with_saved_key().await?;
    let mut vm = StoppedVm::protect(&site, "vm", "main", DISK_BYTES).await?;
    let mut kills = Kills::measure(&site, &["backup", "vm"]).await?;
    vm.note_points(&site).await?;
    while let Some(moment) = kills.next() {
        vm.rewrite(kills.seed())?;
        kills.kill(&mut site, &["backup", "vm"], moment).await?;
        vm.note_points(&site).await?;
        assert_clean(&site, "main").await?;
        vm.back_up(&site).await?;
        vm.delete_old_points(&site).await?;
        vm.assert_restores(&site).await?;
    }
    site.run(["vault", "gc", "main", "--grace", "0h"]).await?;
    assert_clean(&site, "main").await?;
    vm.assert_restores(&site).await?;
    kills.assert_some_interrupted();
    Ok(())
}

#[tokio::test]
async fn a_killed_copy_is_an_earlier_state_of_the_vault_and_the_next_sync_completes_it() -> Result<()> {
    let mut site = site_with_saved_key().await?;
    let mut vm = StoppedVm::protect(&site, "vm", "main", DISK_BYTES).await?;
    vm.back_up(&site).await?;
    let begun = Instant::now();
    let copy = add_copy(&site).await?;
    let url = copy.display().to_string();
    let add = ["vault", "copy", "add", "main", "off", "--url", &url];
    let mut kills = Kills::lasting(begun.elapsed());
    while let Some(moment) = kills.next() {
        site.run(["vault", "copy", "remove", "main", "off"]).await?;
        fs::remove_dir_all(&copy)?;
        kills.kill(&mut site, &add, moment).await?;
        site.run(["vault", "copy", "sync", "main", "off"]).await?;
        assert_clean(&site, "main").await?;
        let from_copy = ["--from-copy", "off"].map(Into::into);
        vm.assert_restores_by(&site, &[], &from_copy).await?;
    }
    vm.assert_restores(&site).await?;
    kills.assert_some_interrupted();
    Ok(())
}

#[tokio::test]
async fn a_killed_collection_loses_nothing_and_the_next_one_finishes_it() -> Result<()> {
    let gc = ["vault", "gc", "main", "--grace", "0h"];
    let mut site = site_with_saved_key().await?;
    let mut vm = StoppedVm::protect(&site, "vm", "main", DISK_BYTES).await?;
    make_garbage(&site, &mut vm, 1).await?;
    let mut kills = Kills::measure(&site, &gc).await?;
    while let Some(moment) = kills.next() {
        make_garbage(&site, &mut vm, kills.seed()).await?;
        kills.kill(&mut site, &gc, moment).await?;
        assert_clean(&site, "main").await?;
        vm.assert_restores(&site).await?;
        site.run(gc).await?;
        assert_clean(&site, "main").await?;
        vm.assert_restores(&site).await?;
    }
    kills.assert_some_interrupted();
    Ok(())
}

/// Two points of which the older is deleted: every other mebibyte of it is needed no more, so that packs are packed anew.
async fn make_garbage(site: &Site, vm: &mut StoppedVm, seed: u64) -> Result<()> {
    vm.rewrite(seed)?;
    vm.back_up(site).await?;
    for offset_bytes in (0..DISK_BYTES).step_by(2 * MIB) {
        vm.write(offset_bytes, MIB, seed + 1000 + offset_bytes as u64)?;
    }
    vm.back_up(site).await?;
    vm.delete_old_points(site).await
}

#[tokio::test]
async fn a_killed_repair_makes_nothing_worse_and_the_next_one_finishes_it() -> Result<()> {
    let repair = ["vault", "repair", "main", "--from-copy", "off"];
    let mut site = site_with_saved_key().await?;
    let mut vm = StoppedVm::protect(&site, "vm", "main", DISK_BYTES).await?;
    vm.back_up(&site).await?;
    add_copy(&site).await?;
    damage_packs(&site)?;
    let mut kills = Kills::measure(&site, &repair).await?;
    assert_clean(&site, "main").await?;
    while let Some(moment) = kills.next() {
        damage_packs(&site)?;
        let (code, message) = site.failure(["vault", "verify", "main"]).await?;
        assert_eq!(code, DAMAGED, "{message}");
        kills.kill(&mut site, &repair, moment).await?;
        site.run(repair).await?;
        assert_clean(&site, "main").await?;
        vm.assert_restores(&site).await?;
    }
    kills.assert_some_interrupted();
    Ok(())
}

/// Damages every other pack, and removes the others.
fn damage_packs(site: &Site) -> Result<()> {
    for (number, pack) in files_below(&main_directory(site).join("packs"))?.iter().enumerate() {
        let mut bytes = fs::read(pack)?;
        fs::remove_file(pack)?;
        if number % 2 == 0 {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(pack, bytes)?;
        }
    }
    Ok(())
}

/// When the server dies, and what became of the jobs.
struct Kills {
    step: Duration,
    count: u32,
    interrupted: u32,
}

impl Kills {
    /// Kills spread over the time that a command takes when it is left alone.
    async fn measure(site: &Site, command: &[&str]) -> Result<Self> {
        let begun = Instant::now();
        site.run(command).await?;
        Ok(Self::lasting(begun.elapsed()))
    }

    fn lasting(duration: Duration) -> Self {
        Self { step: duration / MOMENTS, count: 0, interrupted: 0 }
    }

    /// How long after it was asked for the next job is interrupted.
    fn next(&mut self) -> Option<Duration> {
        let moment = self.step * self.count;
        self.count += 1;
        (self.count <= MOMENTS).then_some(moment)
    }

    /// A number that no other moment has.
    fn seed(&self) -> u64 {
        u64::from(self.count) << 32
    }

    /// Starts a job, kills the server in the midst of it, and starts it again: the job has ended one way or the other.
    async fn kill(&mut self, site: &mut Site, command: &[&str], moment: Duration) -> Result<()> {
        let job: JobView = site.json(command.iter().chain(&["--no-wait"])).await?;
        sleep(moment).await;
        site.kill_server().await?;
        site.start_server().await?;
        let job: JobView = site.json(["job", "show", job.id.as_str()]).await?;
        println!("after {moment:?}: {} {}", job.kind, job.state);
        if job.state == JobState::Succeeded {
            return Ok(());
        }
        let problem = job.problem.with_context(|| format!("{} has no problem", job.id))?;
        assert_eq!((job.state, problem.code), (JobState::Failed, Code::Interrupted), "{problem:?}");
        self.interrupted += 1;
        Ok(())
    }

    fn assert_some_interrupted(&self) {
        assert!(self.interrupted > 0, "no job was interrupted");
    }
}

//! A VM that is stopped, with one raw disk that the test writes. What each of its points has to restore is known.

use std::{ffi::OsString, fs, mem, path::PathBuf};

use anyhow::{Context, Result, ensure};
use api::PointView;
use model::PointId;
use testkit::site::Site;

use crate::fixture::{assert_same, back_up, noise, points, words};

/// The VM, and all that was ever backed up of it.
pub(super) struct StoppedVm {
    pub name: String,
    image: PathBuf,
    content: Vec<u8>,
    history: Vec<(PointId, Vec<u8>)>,
}

impl StoppedVm {
    /// Makes the VM known, with a disk of noise, and protects it.
    pub async fn protect(site: &Site, name: &str, vault: &str, length_bytes: usize) -> Result<Self> {
        let image = site.directory().join(format!("{name}.raw"));
        let definition = site.directory().join(format!("{name}.toml"));
        let content = noise(1, length_bytes);
        fs::write(&image, &content)?;
        let path = image.to_str().context("the path of the disk is not UTF-8")?;
        let text = format!(
            "name = {name:?}\nmemory = \"64MiB\"\nagent = false\n\n[[disk]]\nname = \"vda\"\npath = {path:?}\nformat = \"raw\"\n"
        );
        fs::write(&definition, text)?;
        site.run(words!["vm", "add", "--definition", definition]).await?;
        site.run(["protect", name, "--vault", vault, "--consistency", "crash"]).await?;
        Ok(Self { name: name.to_owned(), image, content, history: Vec::new() })
    }

    /// Overwrites a part of the disk with other noise.
    pub fn write(&mut self, offset_bytes: usize, length_bytes: usize, seed: u64) -> Result<()> {
        self.content[offset_bytes..][..length_bytes].copy_from_slice(&noise(seed, length_bytes));
        fs::write(&self.image, &self.content).context("writing the disk")
    }

    /// Overwrites the whole disk with other noise.
    pub fn rewrite(&mut self, seed: u64) -> Result<()> {
        self.write(0, self.content.len(), seed)
    }

    /// Backs the VM up.
    pub async fn back_up(&mut self, site: &Site) -> Result<PointView> {
        let point = back_up(site, &self.name).await?;
        self.history.push((point.id, self.content.clone()));
        Ok(point)
    }

    /// Takes note of a point that was made since the disk was last written and whose backup nobody saw the end of.
    pub async fn note_points(&mut self, site: &Site) -> Result<()> {
        for point in points(site, &self.name).await? {
            if self.history.iter().all(|(id, _)| *id != point.id) {
                self.history.push((point.id, self.content.clone()));
            }
        }
        Ok(())
    }

    /// Deletes all points but the newest.
    pub async fn delete_old_points(&mut self, site: &Site) -> Result<()> {
        let newest = self.history.pop().context("there is a point")?;
        for (id, _) in mem::replace(&mut self.history, vec![newest]) {
            site.run(["point", "delete", &self.reference(&id)]).await?;
        }
        Ok(())
    }

    /// Proves that the points are those that were made and not deleted, and that each restores bit by bit.
    pub async fn assert_restores(&self, site: &Site) -> Result<()> {
        let mut listed: Vec<_> = points(site, &self.name).await?.iter().map(|point| point.id).collect();
        let mut made: Vec<_> = self.history.iter().map(|(id, _)| *id).collect();
        listed.sort();
        made.sort();
        ensure!(listed == made, "the points are {listed:?} instead of {made:?}");
        self.assert_restores_by(site, &[], &[]).await
    }

    /// Restores each point by a command: what comes before `restore disk`, and what comes last.
    pub async fn assert_restores_by(
        &self,
        site: &Site,
        before: &[OsString],
        last: &[OsString],
    ) -> Result<()> {
        for (id, content) in &self.history {
            let directory = tempfile::tempdir_in(site.directory())?;
            let path = directory.path().join("restored.img");
            let reference = format!("{}/vda", self.reference(id));
            let restore = words!["restore", "disk", reference, "--to", path];
            site.run(before.iter().chain(&restore).chain(last)).await?;
            assert_same(&fs::read(&path)?, content);
        }
        Ok(())
    }

    fn reference(&self, id: &PointId) -> String {
        format!("point:{}/{id}", self.name)
    }
}

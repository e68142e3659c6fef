//! The files of a guest in memory.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::FakeHypervisor;
use crate::{
    GuestAbilities, GuestContent, GuestFiles, GuestItem, GuestItemKind, GuestItemOutcome, Result, VmAccess,
};

/// Something in a guest in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeGuestNode {
    /// What it was made from.
    pub item: GuestItem,
    /// The bytes of a file.
    pub bytes: Vec<u8>,
}

/// A guest in memory that takes files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeGuest {
    /// What its agent allows.
    pub abilities: GuestAbilities,
    /// What it holds, by path.
    pub nodes: BTreeMap<String, FakeGuestNode>,
}

impl Default for FakeGuest {
    fn default() -> Self {
        let abilities = GuestAbilities { programs: true, is_windows: false };
        Self { abilities, nodes: BTreeMap::new() }
    }
}

/// The files of one guest of a [`FakeHypervisor`].
pub(super) struct FakeGuestFiles {
    pub(super) hypervisor: FakeHypervisor,
    pub(super) vm: VmAccess,
    pub(super) abilities: GuestAbilities,
}

impl FakeGuestFiles {
    fn with<T>(&self, use_guest: impl FnOnce(&mut FakeGuest) -> T) -> Result<T> {
        self.hypervisor.with(&self.vm, |vm| Ok(use_guest(vm.guest.get_or_insert_default())))
    }

    async fn put_one(
        &self,
        item: &GuestItem,
        (content, number): (&dyn GuestContent, usize),
        overwrite: bool,
    ) -> Result<GuestItemOutcome> {
        let kind_at =
            |path: &str| self.with(|guest| guest.nodes.get(path).map(|node| node.item.kind.clone()));
        for (slash, _) in item.path.match_indices('/').skip(1) {
            if kind_at(&item.path[..slash])?.is_some_and(|kind| kind != GuestItemKind::Directory) {
                return Ok(failed("its directory is not there"));
            }
        }
        let found = kind_at(&item.path)?;
        let is_directory = item.kind == GuestItemKind::Directory;
        match found {
            Some(GuestItemKind::Directory) if is_directory => return Ok(GuestItemOutcome::Kept),
            Some(GuestItemKind::Directory) => return Ok(failed("it is a directory there")),
            Some(_) if is_directory => return Ok(failed("it is no directory there")),
            Some(_) if !overwrite => return Ok(GuestItemOutcome::Kept),
            _ => {}
        }
        let mut bytes = Vec::new();
        let lost = match &item.kind {
            GuestItemKind::File { size_bytes } => {
                match read(content, number, *size_bytes).await {
                    Ok(read) => bytes = read,
                    Err(reason) => return Ok(GuestItemOutcome::Failed { reason }),
                }
                if self.abilities.programs { Vec::new() } else { lost() }
            }
            GuestItemKind::Directory if !self.abilities.programs => return Ok(GuestItemOutcome::Kept),
            _ if !self.abilities.programs => return Ok(failed("the agent runs no programs")),
            _ => Vec::new(),
        };
        let node = FakeGuestNode { item: item.clone(), bytes };
        self.with(|guest| guest.nodes.insert(item.path.clone(), node))?;
        Ok(GuestItemOutcome::Written { lost })
    }
}

/// A whole file.
async fn read(
    content: &dyn GuestContent,
    number: usize,
    size_bytes: u64,
) -> std::result::Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some((at, data)) = content.data(number, bytes.len() as u64).await? {
        bytes.resize(at as usize, 0);
        bytes.extend_from_slice(&data);
    }
    bytes.resize(size_bytes as usize, 0);
    Ok(bytes)
}

fn failed(reason: &str) -> GuestItemOutcome {
    GuestItemOutcome::Failed { reason: reason.to_owned() }
}

fn lost() -> Vec<String> {
    ["owner", "mode", "times"].map(str::to_owned).to_vec()
}

#[async_trait]
impl GuestFiles for FakeGuestFiles {
    fn abilities(&self) -> GuestAbilities {
        self.abilities
    }

    async fn exist(&mut self, paths: &[String]) -> Result<Vec<bool>> {
        self.with(|guest| paths.iter().map(|path| guest.nodes.contains_key(path)).collect())
    }

    async fn put(
        &mut self,
        items: &[GuestItem],
        content: &dyn GuestContent,
        overwrite: bool,
    ) -> Result<Vec<GuestItemOutcome>> {
        let mut outcomes = Vec::new();
        for (number, item) in items.iter().enumerate() {
            outcomes.push(self.put_one(item, (content, number), overwrite).await?);
        }
        Ok(outcomes)
    }

    async fn settle(&mut self, directories: &[GuestItem]) -> Result<Vec<GuestItemOutcome>> {
        self.with(|guest| {
            for item in directories {
                let node = FakeGuestNode { item: item.clone(), bytes: Vec::new() };
                guest.nodes.insert(item.path.clone(), node);
            }
            directories.iter().map(|_| GuestItemOutcome::Written { lost: Vec::new() }).collect()
        })
    }
}

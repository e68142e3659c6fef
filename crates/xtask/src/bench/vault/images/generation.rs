//! Changes that a system makes to its disk between two backups.

use std::collections::BTreeSet;

use anyhow::Result;

use super::{
    JOURNAL_FILE, LOG_FILE, MIB, Recipe,
    content::{self, PAGE_BYTES},
    database_file,
    ext4::{BLOCK_BYTES, Ext4},
    packages::PackageFile,
    segments,
};
use crate::bench::random::Random;

/// How many places of a data base are busy.
const HOT_PLACES: usize = 12;

/// Changes a disk of this recipe by about so many bytes: files are replaced as by package upgrades (45 %), pages of the data base
/// rewritten in clusters (25 %), the log grows (15 %) and the journal overwrites its oldest part (15 %).
pub fn change(
    disk: &Ext4,
    recipe: &Recipe,
    files: &[PackageFile],
    newer: &[PackageFile],
    budget_bytes: usize,
    seed: u64,
) -> Result<()> {
    let mut random = Random::new(seed.wrapping_mul(1000) + 1);
    disk.edit(&upgrades(files, newer, budget_bytes * 45 / 100, &mut random))?;
    rewrite_pages(disk, recipe, budget_bytes / 4, &mut random)?;
    let blocks = budget_bytes * 15 / 100 / BLOCK_BYTES as usize;
    let lines = content::log(&mut random, blocks * BLOCK_BYTES as usize);
    disk.append(LOG_FILE, lines.clone())?;
    disk.overwrite(JOURNAL_FILE, &[(1, lines)])
}

/// Replaces runs of neighbouring files, each as dpkg does it: written beside the old one, then renamed.
fn upgrades(
    files: &[PackageFile],
    newer: &[PackageFile],
    budget_bytes: usize,
    random: &mut Random,
) -> Vec<String> {
    let mut commands = Vec::new();
    let mut replaced = BTreeSet::new();
    let mut left_bytes = budget_bytes as u64;
    // One file must not eat up everything.
    let mut newer = newer.iter().filter(|file| file.size_bytes <= budget_bytes as u64 / 4);
    loop {
        let first = random.below(files.len() as u64) as usize;
        let last = (first + 1 + random.below(40) as usize).min(files.len());
        for number in (first..last).filter(|number| replaced.insert(*number)) {
            let Some(source) = newer.next().filter(|source| source.size_bytes <= left_bytes) else {
                return commands;
            };
            left_bytes -= source.size_bytes;
            let path = &files[number].path;
            commands.extend([
                format!("write {} {path}.dpkg-new", source.source.display()),
                format!("rm {path}"),
                format!("ln {path}.dpkg-new {path}"),
                format!("unlink {path}.dpkg-new"),
            ]);
        }
    }
}

/// Most updates go to a few places, a few to anywhere.
fn rewrite_pages(disk: &Ext4, recipe: &Recipe, budget_bytes: usize, random: &mut Random) -> Result<()> {
    let segments: Vec<u64> =
        segments(recipe.database_mib * MIB).map(|length| (length / PAGE_BYTES) as u64).collect();
    let place = |random: &mut Random| {
        let segment = random.below(segments.len() as u64) as usize;
        (segment, random.below(segments[segment]))
    };
    let hot: Vec<(usize, u64)> = (0..HOT_PLACES).map(|_| place(random)).collect();
    let mut written = BTreeSet::new();
    while written.len() < budget_bytes / PAGE_BYTES {
        let (segment, page) = if random.below(10) < 7 { *random.pick(&hot) } else { place(random) };
        // A cluster is up to 16 pages, near the place.
        let first = page + random.below(32);
        for page in first..first + (1 << random.below(5)) {
            if page < segments[segment] {
                written.insert((segment, page));
            }
        }
    }
    for segment in 0..segments.len() {
        let pages = written.range((segment, 0)..(segment + 1, 0));
        let pieces: Vec<(u64, Vec<u8>)> = pages
            .map(|&(_, page)| (page * (PAGE_BYTES as u64 / BLOCK_BYTES), content::page(random, page, 2)))
            .collect();
        disk.overwrite(&database_file(segment), &pieces)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

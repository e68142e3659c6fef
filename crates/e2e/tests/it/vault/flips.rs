//! Bits flip all over a vault that has a copy.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result};
use api::{RepairView, VerifyView};
use testkit::site::Site;

use super::{
    DAMAGED, MIB, add_copy, assert_clean, main_directory, site_with_saved_key, stopped_vm::StoppedVm,
};
use crate::fixture::{Numbers, files_below, words};

/// Few flips hit what stands alone, many hit objects together with those that could vouch for them.
const FLIPS_OF_ROUNDS: [usize; 11] = [1, 3, 6, 10, 20, 40, 80, 120, 180, 240, 300];
const SEED: u64 = 2026;

/// Objects that hold nothing: room kept for a full store, and what tells the store's time.
const SPARED: [&str; 2] = ["reserve", "clock"];

#[tokio::test]
async fn a_thousand_flipped_bits_are_named_and_healed_from_the_copy() -> Result<()> {
    let mut site = site_with_saved_key().await?;
    let mut vm = StoppedVm::protect(&site, "vm", "main", 24 * MIB).await?;
    vm.back_up(&site).await?;
    for seed in 2..5 {
        vm.write(seed as usize * 4 * MIB, 2 * MIB, seed)?;
        vm.back_up(&site).await?;
    }
    add_copy(&site).await?;
    let mut numbers = Numbers::new(SEED);
    for flips in FLIPS_OF_ROUNDS {
        flip_and_heal(&mut site, flips, &mut numbers).await.with_context(|| format!("{flips} flips"))?;
    }
    vm.assert_restores(&site).await?;
    vm.assert_restores_by(&site, &[], &words!["--from-copy", "off"]).await?;
    vm.rewrite(9)?;
    vm.back_up(&site).await?;
    vm.assert_restores(&site).await
}

async fn flip_and_heal(site: &mut Site, flips: usize, numbers: &mut Numbers) -> Result<()> {
    // Whoever opens the vault after that reads what is damaged.
    site.stop_server().await?;
    let flipped = flip_bits(&main_directory(site), flips, numbers)?;
    site.start_server().await?;

    let output = site.output(["vault", "verify", "main", "--output", "json"]).await?;
    assert_eq!(output.status.code(), Some(DAMAGED), "{}", String::from_utf8_lossy(&output.stderr));
    let found: VerifyView = serde_json::from_slice(&output.stdout)?;
    for name in &flipped {
        let is_named = found.damages.iter().any(|damage| damage.object.contains(name.as_str()));
        assert!(is_named, "{name} is not among {:?}", found.damages);
    }

    let repaired: RepairView = site.json(["vault", "repair", "main", "--from-copy", "off"]).await?;
    assert_eq!((repaired.healed_count, repaired.unhealed_count), (flipped.len() as u64, 0), "{repaired:?}");
    assert_clean(site, "main").await?;
    // A repair may have added to the log.
    site.run(["vault", "copy", "sync", "main", "off"]).await?;
    Ok(())
}

/// Flips bits of random files; returns the names of those that are not what they were.
fn flip_bits(vault: &Path, flips: usize, numbers: &mut Numbers) -> Result<BTreeSet<String>> {
    let mut files = files_below(vault)?;
    files.retain(|file| !SPARED.iter().any(|name| file.ends_with(name)));
    let mut contents = files.iter().map(fs::read).collect::<Result<Vec<_>, _>>()?;
    let mut below = |limit: usize| (numbers.next() % limit as u64) as usize;
    for _ in 0..flips {
        let content = &mut contents[below(files.len())];
        let place = below(content.len());
        content[place] ^= 1 << below(8);
    }
    let mut flipped = BTreeSet::new();
    for (file, content) in files.iter().zip(contents) {
        if fs::read(file)? != content {
            fs::remove_file(file)?;
            fs::write(file, content)?;
            let name = file.file_name().and_then(|name| name.to_str()).context("an object has a name")?;
            flipped.insert(name.trim_start_matches('0').to_owned());
        }
    }
    Ok(flipped)
}

//! Which copies there are.

use api::{AddCopy, Code};
use catalog::{Job, KnownCopy, KnownVault};
use model::CopyName;
use vault::StoreLocation;

use super::sync;
use crate::{
    failure::{Failure, Result},
    site::Site,
};

/// The vault's copy of this name.
pub(crate) async fn find(site: &Site, known: &KnownVault, name: &str) -> Result<KnownCopy> {
    let copies = site.catalog.copies_of(known.id).await?;
    copies.into_iter().find(|copy| copy.name.as_str() == name).ok_or_else(|| {
        Failure::not_found(format!("the vault {} has no copy {name}", known.name))
            .with_hint(format!("see them with: holdfast vault copy list {}", known.name))
    })
}

/// The copy that `<copy>` or `<vault>/<copy>` names, and its vault.
pub(crate) async fn find_anywhere(site: &Site, text: &str) -> Result<(KnownVault, KnownCopy)> {
    if let Some((vault, name)) = text.split_once('/') {
        let known = site.vaults.find(vault).await?;
        let copy = find(site, &known, name).await?;
        return Ok((known, copy));
    }
    let mut found = site.catalog.copies().await?;
    found.retain(|copy| copy.name.as_str() == text);
    match (found.pop(), found.is_empty()) {
        (Some(copy), true) => Ok((site.vaults.find(copy.vault_id.as_str()).await?, copy)),
        (Some(_), false) => Err(Failure::invalid(format!("several vaults have a copy {text}"))
            .with_hint(format!("write VAULT/{text}"))),
        (None, _) => Err(Failure::not_found(format!("there is no copy {text}"))
            .with_hint("see the copies of a vault with: holdfast vault copy list VAULT")),
    }
}

/// Makes a copy known and begins to fill it. The place is empty, or holds a copy of this vault.
pub(crate) async fn add(site: &Site, known: KnownVault, request: AddCopy) -> Result<Job> {
    let name: CopyName =
        request.name.parse().map_err(|error| Failure::invalid(format!("the copy's name: {error}")))?;
    let location = StoreLocation::parse(&request.url)?;
    let copies = site.catalog.copies_of(known.id).await?;
    if copies.iter().any(|copy| copy.name == name) {
        return Err(Failure::conflict(format!("the vault {} has a copy {name} already", known.name)));
    }
    site.vaults.check_unclaimed(&request.url).await?;
    let vault = site.vaults.open(&known).await?;
    // Whether what is there can become a copy; a place that is empty can.
    if let Err(failure) = vault.copy_status(&location).await.map_err(Failure::from)
        && !matches!(failure.code(), Code::NotFound | Code::NoVault)
    {
        return Err(failure.during(&format!("looking at {location}")));
    }
    let copy = KnownCopy {
        vault_id: known.id,
        name,
        url: request.url,
        added_at: site.env.clock.now(),
        last_synced_at: None,
        failure: None,
    };
    site.catalog.add_copy(&copy).await?;
    tracing::info!(vault = %known.name, copy = %copy.name, url = copy.url, "a copy is known");
    sync(site, &known, &copy).await
}

/// Forgets a copy. What is in its store stays.
pub(crate) async fn remove(site: &Site, known: &KnownVault, copy: &KnownCopy) -> Result<()> {
    if site.syncs.has(&(known.id, copy.name.clone())) {
        return Err(Failure::conflict(format!("the copy {} is being brought up to date", copy.name))
            .with_hint("wait until that job has ended, or cancel it: holdfast job list"));
    }
    site.catalog.remove_copy(known.id, &copy.name).await?;
    tracing::info!(vault = %known.name, copy = %copy.name, "a copy is forgotten");
    Ok(())
}

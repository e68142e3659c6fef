//! The keys of a vault: who opens it.

use api::{AddKey, AddedKey, KeySlotView, MakeRecoveryKit, NewKeyWith, RecoveryKitView};
use catalog::KnownVault;
use vault::{Digest, KeyFile, KeySlot, NewKey, NewSlot, Vault};

use super::passphrase;
use crate::{
    failure::{Failure, Result},
    site::Site,
};

/// All keys of a vault, oldest first; those that open nothing last.
pub(crate) async fn keys(site: &Site, known: &KnownVault) -> Result<Vec<KeySlotView>> {
    let list = site.vaults.open(known).await?.key_slots().await?;
    let unusable = list.unusable.into_iter().map(|(id, error)| KeySlotView {
        id: id.to_string(),
        kind: None,
        label: String::new(),
        created_at: None,
        problem: Some(error.to_string()),
    });
    Ok(list.slots.iter().map(view).chain(unusable).collect())
}

/// Gives a vault another key. The site keeps none of it.
pub(crate) async fn add_key(site: &Site, known: &KnownVault, request: AddKey) -> Result<AddedKey> {
    let (slot, key_file) = new_slot(site, request)?;
    let added = site.vaults.open_checked(known).await?.add_key(&slot).await?;
    tracing::info!(vault = %known.name, key = %added.id, "a key was added");
    Ok(AddedKey { slot: view(&added), key_file })
}

/// Puts a new key in the place of an old one, which goes when the new one is known to open the vault.
pub(crate) async fn rotate_key(
    site: &Site,
    known: &KnownVault,
    old: &str,
    request: AddKey,
) -> Result<AddedKey> {
    let vault = site.vaults.open_checked(known).await?;
    let old = find(&vault, known, old).await?;
    let (slot, key_file) = new_slot(site, request)?;
    let added = vault.rotate_key(&old, &slot).await?;
    tracing::info!(vault = %known.name, %old, new = %added.id, "a key was rotated");
    Ok(AddedKey { slot: view(&added), key_file })
}

/// Takes a key from a vault; never the last.
pub(crate) async fn remove_key(site: &Site, known: &KnownVault, key: &str) -> Result<()> {
    let vault = site.vaults.open_checked(known).await?;
    let key = find(&vault, known, key).await?;
    vault.remove_key(&key).await?;
    tracing::info!(vault = %known.name, %key, "a key was removed");
    Ok(())
}

/// Makes a recovery kit.
pub(crate) async fn make_recovery_kit(
    site: &Site,
    known: &KnownVault,
    request: MakeRecoveryKit,
) -> Result<RecoveryKitView> {
    let place = request.place.as_deref().unwrap_or(&known.url);
    let kit = site.vaults.open_checked(known).await?.recovery_kit(place).await?;
    tracing::info!(vault = %known.name, key = %kit.slot().id, "a recovery kit was made");
    Ok(RecoveryKitView { slot: view(kit.slot()), page: kit.page().to_owned() })
}

fn new_slot(site: &Site, request: AddKey) -> Result<(NewSlot, Option<String>)> {
    let label = request.label.unwrap_or_default().parse()?;
    let (key, key_file) = match &request.with {
        Some(NewKeyWith::Passphrase(text)) => (NewKey::Passphrase(passphrase(text)?), None),
        Some(NewKeyWith::KeyFile(text)) => (NewKey::KeyFile(text.parse()?), None),
        Some(NewKeyWith::Recipient(text)) => (NewKey::Recipient(text.parse()?), None),
        None => {
            let made = KeyFile::generate(&*site.env.entropy);
            let text = made.to_text();
            (NewKey::KeyFile(made), Some(text))
        }
    };
    Ok((NewSlot { key, label }, key_file))
}

/// The slot that an id, or a unique start of one, names.
async fn find(vault: &Vault, known: &KnownVault, text: &str) -> Result<Digest> {
    let list = vault.key_slots().await?;
    let ids = list.slots.iter().map(|slot| slot.id).chain(list.unusable.iter().map(|(id, _)| *id));
    let mut found: Vec<Digest> = ids.filter(|id| id.to_string().starts_with(text)).collect();
    match (found.pop(), found.is_empty()) {
        (Some(id), true) if !text.is_empty() => Ok(id),
        (Some(_), _) => Err(Failure::invalid(format!("several keys have an id that starts with {text:?}"))
            .with_hint("write more of the id")),
        (None, _) => Err(Failure::not_found(format!("the vault {} has no key {text}", known.name))
            .with_hint(format!("see them with: holdfast vault key list {}", known.name))),
    }
}

fn view(slot: &KeySlot) -> KeySlotView {
    KeySlotView {
        id: slot.id.to_string(),
        kind: Some(slot.kind.to_string()),
        label: slot.label.to_string(),
        created_at: Some(slot.created_at),
        problem: None,
    }
}

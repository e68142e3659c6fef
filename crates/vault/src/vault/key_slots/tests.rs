use std::{collections::BTreeMap, sync::Arc};

use env::{Env, SeededEntropy};
use object_store::{ObjectStoreExt, memory::InMemory, path::Path};

use crate::{
    Digest, ErrorKind, Identity, KeyFile, KeyKind, KeySlot, NewKey, NewSlot, Passphrase, StoreLocation,
    Unlock, Vault,
    fixture::{MIB, back_up, create_in, noise, object, objects, open_write_only, restored, source, unlock},
};

fn rosebud() -> Passphrase {
    Passphrase::new("rosebud")
}

fn identity() -> Identity {
    Identity::generate(&SeededEntropy::new(8))
}

fn labelled(key: NewKey, label: &str) -> NewSlot {
    NewSlot { key, label: label.parse().unwrap() }
}

async fn open(store: &Arc<InMemory>, unlock: Unlock) -> crate::Result<Vault> {
    Vault::open(&StoreLocation::at_hand(Arc::clone(store) as _), &unlock, Env::seeded(5)).await
}

async fn plant(store: &InMemory, bytes: Vec<u8>) -> Digest {
    let digest = Digest::of(&bytes);
    store.put(&Path::from(format!("keys/{digest}")), bytes.into()).await.unwrap();
    digest
}

async fn slot_bytes(store: &InMemory, slot: &KeySlot) -> Vec<u8> {
    object(store, &Path::from(format!("keys/{}", slot.id))).await
}

/// All objects but the key slots, and their digests.
async fn all_but_slots(store: &InMemory) -> BTreeMap<Path, Digest> {
    let mut found = BTreeMap::new();
    for path in objects(store).await.into_iter().filter(|path| !path.as_ref().starts_with("keys/")) {
        let digest = Digest::of(&object(store, &path).await);
        found.insert(path, digest);
    }
    found
}

#[tokio::test]
async fn keys_come_and_go_and_the_data_stays_as_it_is() {
    let store = Arc::new(InMemory::new());
    let vault = create_in(store.clone()).await;
    let stored = back_up(&vault, 1, source(&noise(1, MIB))).await.unwrap();
    let before = all_but_slots(&store).await;

    let added = vault.add_key(&labelled(NewKey::Passphrase(rosebud()), "night shift")).await.unwrap();
    vault.add_key(&labelled(NewKey::Recipient(identity().recipient()), "금고")).await.unwrap();
    let list = vault.key_slots().await.unwrap();
    assert!(list.unusable.is_empty());
    let seen: Vec<_> = list.slots.iter().map(|slot| (slot.kind, slot.label.as_str())).collect();
    assert_eq!(
        seen,
        [(KeyKind::KeyFile, ""), (KeyKind::Passphrase, "night shift"), (KeyKind::Recipient, "금고")]
    );
    assert_eq!(list.slots[1], added);

    let other = KeyFile::generate(&SeededEntropy::new(9));
    let new = labelled(NewKey::KeyFile(other.clone()), "night shift, new");
    let rotated = vault.rotate_key(&added.id, &new).await.unwrap();
    assert_eq!(
        open(&store, Unlock::Passphrase(rosebud())).await.unwrap_err().kind(),
        ErrorKind::WrongKey,
        "the old key is gone"
    );
    for unlock in [Unlock::KeyFile(other), Unlock::Identity(identity()), unlock()] {
        let opened = open(&store, unlock).await.unwrap();
        assert!(restored(&opened, &stored.map).await.unwrap() == noise(1, MIB));
    }
    vault.remove_key(&rotated.id).await.unwrap();
    assert_eq!(vault.remove_key(&rotated.id).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(vault.rotate_key(&rotated.id, &new).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(vault.key_slots().await.unwrap().slots.len(), 2);
    assert_eq!(all_but_slots(&store).await, before, "nothing was encrypted anew");
}

#[tokio::test]
async fn the_last_key_that_opens_stays_and_is_named() {
    let store = Arc::new(InMemory::new());
    let vault = create_in(store.clone()).await;
    let only = vault.add_key(&labelled(NewKey::Passphrase(rosebud()), "the one")).await.unwrap();
    let first = vault.key_slots().await.unwrap().slots.remove(0);
    // What only looks like a slot does not count.
    let mut altered = slot_bytes(&store, &first).await;
    altered[100] ^= 1;
    let altered = plant(&store, altered).await;
    vault.remove_key(&first.id).await.unwrap();
    let list = vault.key_slots().await.unwrap();
    assert_eq!((list.slots.len(), list.unusable.len()), (1, 1));
    let error = vault.remove_key(&only.id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("the one") && error.guidance().is_some(), "{error}");
    vault.remove_key(&altered).await.unwrap();
    assert!(vault.key_slots().await.unwrap().unusable.is_empty());
    assert!(open(&store, Unlock::Passphrase(rosebud())).await.is_ok());
}

#[tokio::test]
async fn a_host_that_only_writes_does_not_manage_keys() {
    let store = Arc::new(InMemory::new());
    let vault = create_in(store.clone()).await;
    let slot = vault.key_slots().await.unwrap().slots.remove(0);
    let writer = open_write_only(store.clone(), &vault, 2).await;
    let new = labelled(NewKey::Passphrase(rosebud()), "mine");
    let refused = [
        writer.key_slots().await.err(),
        writer.add_key(&new).await.err(),
        writer.remove_key(&slot.id).await.err(),
        writer.rotate_key(&slot.id, &new).await.err(),
        writer.recovery_kit("/srv/vault").await.err(),
    ];
    assert!(refused.iter().all(|error| error.as_ref().unwrap().kind() == ErrorKind::WrongKey), "{refused:?}");
    assert_eq!(vault.key_slots().await.unwrap().slots, [slot]);
}

#[tokio::test]
async fn slots_of_strangers_do_not_keep_a_vault_shut() {
    let store = Arc::new(InMemory::new());
    let vault = create_in(store.clone()).await;
    let passphrase = vault.add_key(&labelled(NewKey::Passphrase(rosebud()), "")).await.unwrap();
    vault.add_key(&labelled(NewKey::Recipient(identity().recipient()), "")).await.unwrap();
    let sound = slot_bytes(&store, &passphrase).await;
    for number in 0..100u8 {
        // No slots, slots of another vault, slots whose cost is refused, and slots that are tried in vain.
        plant(&store, vec![number; 112]).await;
        plant(&store, vec![number; sound.len()]).await;
        let mut other_vault = sound.clone();
        other_vault[24..40].copy_from_slice(model::VaultId::from_random([number; 10]).as_str().as_bytes());
        plant(&store, other_vault).await;
        for (kind, cost) in [(0, [0; 12]), (1, [0; 12]), (2, [0; 12])] {
            let mut altered = sound.clone();
            altered[8] = kind;
            altered[12..24].copy_from_slice(&cost);
            altered[90] ^= number + 1;
            plant(&store, altered).await;
        }
        let mut tried = sound.clone();
        tried[90] ^= number + 1;
        plant(&store, tried).await;
    }
    for unlock in [Unlock::Passphrase(rosebud()), Unlock::Identity(identity()), unlock()] {
        assert_eq!(open(&store, unlock).await.unwrap().id(), vault.id());
    }
    let list = vault.key_slots().await.unwrap();
    assert_eq!(list.slots.len(), 3);
    assert!(list.unusable.len() > 500, "and all the others can be told from them");
}

#[tokio::test]
async fn the_work_of_passphrase_slots_is_bounded_and_ours_comes_first() {
    let store = Arc::new(InMemory::new());
    let vault = create_in(store.clone()).await;
    let passphrase = vault.add_key(&labelled(NewKey::Passphrase(rosebud()), "")).await.unwrap();
    let sound = slot_bytes(&store, &passphrase).await;
    let with_memory = |kib: u32| {
        let mut bytes = sound.clone();
        bytes[12..16].copy_from_slice(&kib.to_le_bytes());
        bytes
    };
    for kib in (0..64).map(|step| 1024 + step) {
        plant(&store, with_memory(kib)).await;
    }
    assert!(open(&store, Unlock::Passphrase(rosebud())).await.is_ok());
    // A thousand more that cost a gigabyte each would take hours, were they all tried: this ends.
    for passes in 1..=16 {
        for kib in (0..64).map(|step| (1 << 20) - step) {
            let mut dear = with_memory(kib);
            dear[16] = passes;
            plant(&store, dear).await;
        }
    }
    assert!(open(&store, Unlock::Passphrase(rosebud())).await.is_ok());
    let wrong = open(&store, Unlock::Passphrase(Passphrase::new("x"))).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::WrongKey);
}

#[tokio::test]
async fn more_slots_than_are_read_say_so() {
    let store = Arc::new(InMemory::new());
    let vault = create_in(store.clone()).await;
    let slot = vault.key_slots().await.unwrap().slots.remove(0);
    let sound = slot_bytes(&store, &slot).await;
    for number in 0..4100u32 {
        let mut altered = sound.clone();
        altered[100..104].copy_from_slice(&number.to_le_bytes());
        plant(&store, altered).await;
    }
    let stranger = Unlock::KeyFile(KeyFile::from_bytes([1; 32]));
    let error = open(&store, stranger).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongKey);
    assert!(error.guidance().unwrap().contains("4096"), "{error:?}");
    assert!(open(&store, vault.kept_key().into()).await.is_ok(), "a server needs no slot");
}

#[tokio::test]
async fn a_config_that_makes_a_stranger_the_reader_is_refused() {
    // Who stole a writer key can prove a config, but nobody believes it: the hosts that only back up neither.
    let store = Arc::new(InMemory::new());
    let vault = create_in(store.clone()).await;
    let stranger = crate::keys::Keys::full(crate::MasterKey::from_bytes([6; 32]), vault.id());
    let config = crate::Config { reader_key: stranger.reader_key(), ..vault.config().clone() };
    let bytes = config.encode(&vault.shared.keys);
    store.put(&Path::from("config"), bytes.into()).await.unwrap();
    let writer = vault.writer_key().to_text().parse().map(Unlock::WriterKey).unwrap();
    for unlock in [unlock(), vault.kept_key().into(), writer] {
        assert_eq!(open(&store, unlock).await.unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

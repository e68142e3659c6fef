use std::sync::Arc;

use env::Env;
use object_store::memory::InMemory;

use crate::{
    ErrorKind, KeyFile, KeyKind, StoreLocation, Unlock, Vault,
    fixture::{MIB, back_up, create_in, noise, restored, source},
};

/// The key as somebody types it who has only the page.
fn typed(page: &str) -> String {
    let key = page.lines().skip_while(|line| !line.starts_with("THE KEY")).skip(2);
    let key = key.take_while(|line| !line.starts_with("TO RESTORE"));
    key.filter(|line| !line.contains("group") && !line.contains("last")).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn the_page_alone_opens_the_vault_until_it_is_revoked() {
    let store = Arc::new(InMemory::new());
    let vault = create_in(store.clone()).await;
    let stored = back_up(&vault, 1, source(&noise(1, MIB))).await.unwrap();
    let place = format!("s3://bucket/{}?region=eu-central-1", "long/".repeat(30));
    let kit = vault.recovery_kit(&place).await.unwrap();
    assert_eq!((kit.slot().kind, kit.slot().label.as_str()), (KeyKind::KeyFile, "recovery kit 2026-01-01"));

    let page = kit.page();
    assert!(page.lines().all(|line| line.len() <= 80), "{page}");
    assert!(page.is_ascii() && page.lines().count() <= 66, "it fits one sheet: {}", page.lines().count());
    let joined: String = page.split_whitespace().collect();
    for said in [vault.id().as_str(), &place, &kit.slot().id.to_string(), "holdfastrescue", "vaultkeyremove"]
    {
        assert!(joined.contains(said), "{said}");
    }
    let key: KeyFile = typed(page).parse().unwrap();
    assert!(key == *kit.key_file());

    let location = StoreLocation::at_hand(store);
    let unlock = Unlock::KeyFile(key.clone());
    let open = || Vault::open(&location, &unlock, Env::seeded(2));
    assert!(restored(&open().await.unwrap(), &stored.map).await.unwrap() == noise(1, MIB));
    vault.remove_key(&kit.slot().id).await.unwrap();
    assert_eq!(open().await.unwrap_err().kind(), ErrorKind::WrongKey);
    let shown = format!("{kit:?}");
    assert!(!shown.contains(&typed(page).trim()[20..40]), "{shown}");
}

#[tokio::test]
async fn a_place_that_cannot_be_printed_is_refused() {
    let vault = create_in(Arc::new(InMemory::new())).await;
    assert_eq!(vault.recovery_kit("/srv/\u{1b}[2J").await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(vault.key_slots().await.unwrap().slots.len(), 1, "and no key is left behind");
}

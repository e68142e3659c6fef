use std::sync::Arc;

use model::VaultId;

use super::Syncs;

#[test]
fn whoever_asks_meanwhile_makes_the_copy_be_looked_at_once_more() {
    let (syncs, vault, name) =
        (Arc::new(Syncs::default()), VaultId::from_random([1; 10]), "a".parse().unwrap());
    let turn = syncs.take(vault, &name).unwrap();
    assert!(syncs.take(vault, &name).is_none() && syncs.take(vault, &name).is_none());
    assert!(syncs.take(vault, &"b".parse().unwrap()).is_some(), "another copy");
    let turn = turn.end().expect("somebody has asked");
    assert!(turn.end().is_none());
    assert!(!syncs.has(vault, &name));
}

#[test]
fn a_turn_that_is_lost_is_free_again() {
    let (syncs, vault, name) =
        (Arc::new(Syncs::default()), VaultId::from_random([1; 10]), "a".parse().unwrap());
    drop(syncs.take(vault, &name));
    assert!(syncs.take(vault, &name).is_some());
}

//! A repair while others work in the vault.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use object_store::{ObjectStoreExt, path::Path};

use crate::{
    CollectOptions, Digest, Monitor, RepairOptions, Vault,
    fixture::{
        noise, object, source,
        world::{DAY_US, World, assert_restores, back_up, id},
    },
    log::{Change, Sequence},
};

fn disk(number: u8) -> Vec<u8> {
    noise(number.into(), 90_000)
}

async fn collect(vault: &Vault) {
    vault.collect(&CollectOptions::default(), &Monitor::default()).await.unwrap();
}

/// Two points, the first of which is garbage, and the packs of a writer that died long ago. All handles know the index.
async fn vault_with_garbage() -> (World, Vault) {
    let (world, vault) = World::new().await;
    vault.set_settings(model::VaultSettings { soft_delete_days: 0, ..Default::default() }).await.unwrap();
    back_up(&vault, 1, &disk(1)).await;
    back_up(&vault, 2, &disk(2)).await;
    vault.delete_points(&[id(1)]).await.unwrap();
    let view = world.view();
    let mut doomed = world.open_by(view.clone()).await.writer().await.unwrap();
    let stored = doomed.store_disk(source(&disk(3)), &Monitor::default()).await.unwrap();
    // The packs of data and of the map arrive, and nothing after them.
    view.die_after(2);
    doomed.commit(crate::fixture::point(3, &stored)).await.unwrap_err();
    world.pass(4 * DAY_US);
    vault.writer().await.unwrap();
    (world, vault)
}

#[tokio::test]
async fn what_a_collection_takes_beside_a_repair_is_not_lost() {
    for number in 0.. {
        let (world, vault) = vault_with_garbage().await;
        let view = world.view();
        let repairing = world.open_by(view.clone()).await;
        view.let_happen_before(number, Box::pin(async move { collect(&vault).await }));
        let report = repairing.repair(&[], RepairOptions::default(), &Monitor::default()).await.unwrap();
        if !view.has_happened() {
            break;
        }
        assert_eq!((report.finding_count, report.hurt.len()), (0, 0), "{number} {report:?}");
    }
}

/// The index that is made anew from the packs has none that a collection takes meanwhile.
#[tokio::test]
async fn nothing_that_is_condemned_comes_back_into_the_index() {
    for number in 0.. {
        let (world, vault) = vault_with_garbage().await;
        let name = format!("index/{}", segment_of_second_point(&vault).await);
        world.memory.delete(&Path::from(name)).await.unwrap();
        let view = world.view();
        let repairing = world.open_by(view.clone()).await;
        let beside = vault.clone();
        view.let_happen_before(number, Box::pin(async move { collect(&beside).await }));
        repairing.repair(&[], RepairOptions::default(), &Monitor::default()).await.unwrap();
        if !view.has_happened() {
            break;
        }
        let fresh = world.open().await;
        let report = fresh.verify(&Monitor::default()).await.unwrap();
        assert!(report.is_clean(), "{number} {report:?}");
        assert_restores(&fresh, 2, &disk(2)).await;
    }
}

async fn segment_of_second_point(vault: &Vault) -> Digest {
    let mut commits = Vec::new();
    for number in 1.. {
        let Some(Ok((entry, _))) = vault.shared.log.read_entry(Sequence(number)).await.unwrap() else {
            break;
        };
        if let Change::Commit { segments, .. } = entry.change {
            commits.extend(segments);
        }
    }
    commits[1]
}

/// A host that writes an entry in place shows half of it for a while.
#[tokio::test]
async fn what_somebody_writes_after_a_repair_is_left_alone() {
    let half = Path::from(Sequence(5).entry_name());
    for number in 0.. {
        let (world, vault) = World::new().await;
        back_up(&vault, 1, &disk(1)).await;
        back_up(&vault, 2, &disk(2)).await;
        let damaged = Path::from(Sequence(2).entry_name());
        let mut bytes = object(&*world.memory, &damaged).await;
        bytes[90] ^= 1;
        world.memory.put(&damaged, bytes.into()).await.unwrap();
        let view = world.view();
        let repairing = world.open_by(view.clone()).await;
        let is_written = Arc::new(AtomicBool::new(false));
        let (memory, path, noted) = (world.memory.clone(), half.clone(), is_written.clone());
        let last = Path::from(Sequence(4).entry_name());
        view.let_happen_before(
            number,
            Box::pin(async move {
                if memory.head(&last).await.is_ok() {
                    memory.put(&path, vec![1; 40].into()).await.unwrap();
                    noted.store(true, Ordering::Relaxed);
                }
            }),
        );
        repairing.repair(&[], RepairOptions::default(), &Monitor::default()).await.unwrap();
        if !view.has_happened() {
            break;
        }
        assert_eq!(world.memory.head(&half).await.is_ok(), is_written.load(Ordering::Relaxed), "{number}");
    }
}

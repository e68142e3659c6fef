mod loss;

use std::sync::Arc;

use env::Env;
use model::{PointId, VaultId, VaultSettings};
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};

use super::{
    Appended, Change, Log, Moment, Sequence, State,
    entry::{Collection, Entry},
};
use crate::{
    Digest, ErrorKind, StoreLocation,
    fixture::{MIB, back_up, create_in, noise, open_in, point, restored, source},
    keys::{Keys, MasterKey},
    store::Store,
};

fn keys() -> Arc<Keys> {
    Arc::new(Keys::full(MasterKey::from_bytes([5; 32]), VaultId::from_random([1; 10])))
}

/// The log in this store, as one process sees it.
async fn log_in(store: &Arc<InMemory>, seed: u64) -> Log {
    let location = StoreLocation::at_hand(Arc::clone(store) as Arc<dyn ObjectStore>);
    let env = Env::seeded(seed);
    Log::new(Store::open(&location, &env).await.unwrap(), keys(), env)
}

fn settings(soft_delete_days: u32) -> Change {
    Change::Settings(VaultSettings { soft_delete_days, ..VaultSettings::default() })
}

async fn entries(store: &InMemory) -> usize {
    crate::fixture::objects(store).await.iter().filter(|path| path.as_ref().starts_with("log/")).count()
}

#[tokio::test]
async fn of_many_who_want_one_number_exactly_one_gets_it() {
    let store = Arc::new(InMemory::new());
    log_in(&store, 0).await.create().await.unwrap();
    let mut won = 0;
    for seed in 1..=8 {
        let log = log_in(&store, seed).await;
        let state = log.refresh().await.unwrap();
        let first = State { sequence: Sequence(1), ..(*state).clone() };
        if state.sequence == Sequence(1) {
            assert!(matches!(
                log.try_append(&state, settings(seed as u32)).await.unwrap(),
                Appended::Done(_)
            ));
            won += 1;
        } else {
            let late = log.try_append(&first, settings(seed as u32)).await.unwrap();
            assert!(matches!(late, Appended::Overtaken));
        }
    }
    assert_eq!((won, entries(&store).await), (1, 2));
}

#[tokio::test]
async fn handles_that_take_turns_see_each_others_changes() {
    let store = Arc::new(InMemory::new());
    let (one, other) = (log_in(&store, 1).await, log_in(&store, 2).await);
    one.create().await.unwrap();
    for turn in 0..20 {
        let log = if turn % 2 == 0 { &one } else { &other };
        log.append(settings(turn)).await.unwrap();
    }
    let (a, b) = (one.refresh().await.unwrap(), other.refresh().await.unwrap());
    assert_eq!(a, b);
    assert_eq!((a.sequence, a.body.settings.soft_delete_days), (Sequence(21), 19));
}

#[tokio::test]
async fn a_state_saves_reading_the_entries_before_it() {
    let store = Arc::new(InMemory::new());
    let log = log_in(&store, 1).await;
    log.create().await.unwrap();
    for days in 0..5 {
        log.append(settings(days)).await.unwrap();
    }
    let state = log.refresh().await.unwrap();
    log.trim_all(&state).await.unwrap();
    assert_eq!(entries(&store).await, 1);
    assert_eq!(log_in(&store, 2).await.refresh().await.unwrap(), state);
    assert!(matches!(log.try_append(&state, settings(9)).await.unwrap(), Appended::Done(_)));
}

/// A process that slept while others went on and trimmed the log must neither take an old number for the next nor believe
/// that nothing has happened.
#[tokio::test]
async fn whoever_sleeps_through_a_trim_starts_over() {
    let store = Arc::new(InMemory::new());
    let (sleeper, busy) = (log_in(&store, 1).await, log_in(&store, 2).await);
    sleeper.create().await.unwrap();
    let asleep = sleeper.refresh().await.unwrap();
    for days in 0..5 {
        let newest = busy.append(settings(days)).await.unwrap();
        busy.trim(&newest).await.unwrap();
    }
    let newest = busy.refresh().await.unwrap();

    let error = sleeper.try_append(&asleep, settings(77)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overtaken);
    assert_eq!(entries(&store).await, 2, "what it wrote is gone");
    assert_eq!(sleeper.refresh().await.unwrap(), newest);
    assert_eq!(sleeper.append(settings(8)).await.unwrap().sequence, newest.sequence.next());
}

#[tokio::test]
async fn an_entry_of_another_chain_is_refused() {
    let store = Arc::new(InMemory::new());
    let log = log_in(&store, 1).await;
    log.create().await.unwrap();
    let stray = Entry {
        sequence: Sequence(2),
        previous: Digest([9; 32]),
        at: Moment { local: model::Timestamp::default(), store: None },
        change: settings(3),
    };
    let bytes = stray.encode(&keys(), [0; 32]).unwrap();
    store.put(&Path::from(stray.sequence.entry_name()), bytes.into()).await.unwrap();
    assert_eq!(log.refresh().await.unwrap_err().kind(), ErrorKind::Corrupt);
}

/// A collection between a writer's start and its commit takes the chunks that the writer has found in the vault.
#[tokio::test]
async fn a_writer_notices_that_its_ground_was_collected() {
    let store = Arc::new(InMemory::new());
    let disk = noise(3, 2 * MIB);
    let vault = create_in(Arc::clone(&store) as _).await;
    back_up(&vault, 1, source(&disk)).await.unwrap();

    let mut writer = vault.writer().await.unwrap();
    let stored = writer.store_disk(source(&disk), &crate::Monitor::default()).await.unwrap();
    assert_eq!(stored.new_chunks, 0);

    let other = open_in(Arc::clone(&store) as _, 2).await;
    let log = &other.shared.log;
    let gone = log.append(settings(0)).await.unwrap();
    let points: Vec<PointId> = gone.body.points.keys().copied().collect();
    let gone = log.append(Change::Delete { points: points.clone() }).await.unwrap();
    let segments: Vec<Digest> = gone.body.segments.iter().copied().collect();
    log.append(Change::Collect(Collection { points, segments, ..Collection::default() })).await.unwrap();

    let error = writer.commit(point(2, &stored)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overtaken);
    let again = back_up(&vault, 2, source(&disk)).await.unwrap();
    assert!(again.new_chunks > 0);
    assert!(restored(&open_in(store as _, 3).await, &again.map).await.unwrap() == disk);
}

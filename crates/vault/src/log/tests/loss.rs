//! One object of the log is lost, or a listing leaves some out.

use std::sync::Arc;

use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};

use super::{keys, log_in, settings};
use crate::{
    ErrorKind, StoreLocation,
    fixture::{OddStore, Oddity, objects},
    log::{Log, Sequence, State},
    store::Store,
};

/// A log that was trimmed twice, and the state after its last entry.
async fn trimmed_log() -> (Arc<InMemory>, Arc<State>) {
    let store = Arc::new(InMemory::new());
    let log = log_in(&store, 1).await;
    log.create().await.unwrap();
    for days in 0..9 {
        let state = log.append(settings(days)).await.unwrap();
        if days % 3 == 2 {
            log.trim(&state).await.unwrap();
        }
    }
    (store, log.refresh().await.unwrap())
}

async fn log_by(store: &Arc<InMemory>, oddity: Oddity) -> Log {
    let odd = Arc::new(OddStore::new(Arc::clone(store), oddity)) as Arc<dyn ObjectStore>;
    let env = env::Env::seeded(7);
    Log::new(Store::open(&StoreLocation::at_hand(odd), &env).await.unwrap(), keys(), env)
}

#[tokio::test]
async fn what_is_trimmed_can_be_read_from_the_second_newest_state_too() {
    let (store, _) = trimmed_log().await;
    let names: Vec<String> = objects(&*store).await.iter().map(ToString::to_string).collect();
    let numbered = |folder: &str, numbers: &[u64]| -> Vec<String> {
        numbers.iter().map(|number| format!("{folder}/{number:016}")).collect()
    };
    assert_eq!(names, [numbered("log", &[7, 8, 9, 10]), numbered("states", &[7, 10])].concat());
}

#[tokio::test]
async fn no_object_that_is_lost_takes_history_with_it_unseen() {
    for path in objects(&*trimmed_log().await.0).await {
        let (store, state) = trimmed_log().await;
        store.delete(&path).await.unwrap();
        match log_in(&store, 3).await.refresh().await {
            Ok(read) => assert_eq!(read, state, "{path}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{path}");
                let salvaged = log_in(&store, 4).await.salvage(state.body.at).await.unwrap();
                assert_eq!(salvaged.body.settings, state.body.settings, "{path}");
            }
        }
    }
}

#[tokio::test]
async fn a_listing_that_is_short_is_no_damage() {
    let (store, state) = trimmed_log().await;
    for hidden in ["states", "states/0000000000000010", "log/0000000000000008", "log/0000000000000010"] {
        let log = log_by(&store, Oddity::Hides(hidden)).await;
        assert_eq!(log.refresh().await.unwrap(), state, "{hidden}");
        assert_eq!(log.inspect().await.unwrap(), [], "{hidden}");
        assert_eq!(log.salvage(state.body.at).await.unwrap(), *state, "{hidden}");
    }
}

/// A listing that leaves everything out looks like a new vault, which it must not be taken for.
#[tokio::test]
async fn a_log_of_which_nothing_is_listed_is_no_new_one() {
    let (store, _) = trimmed_log().await;
    store.put(&Path::from("config"), "of a vault".into()).await.unwrap();
    let error = log_by(&store, Oddity::Hides("")).await.refresh().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
}

/// Of the last entry but its state nothing is left: it is missed, and no other gets its number.
#[tokio::test]
async fn a_state_tells_that_its_entry_is_lost() {
    let (store, _) = trimmed_log().await;
    store.delete(&Path::from(Sequence(10).entry_name())).await.unwrap();
    let error = log_in(&store, 3).await.append(settings(90)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

/// It is not where the log should start, and there is nothing before it.
#[tokio::test]
async fn a_log_without_any_state_is_damaged_where_it_was_trimmed() {
    let (store, _) = trimmed_log().await;
    for number in [7, 10] {
        store.delete(&Path::from(Sequence(number).state_name())).await.unwrap();
    }
    let error = log_in(&store, 3).await.refresh().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

/// What comes after a lost entry proves that it was there, even where that is damaged too.
#[tokio::test]
async fn a_lost_entry_before_a_damaged_last_one_is_missed() {
    let (store, _) = trimmed_log().await;
    let log = log_in(&store, 3).await;
    for days in [20, 21] {
        log.append(settings(days)).await.unwrap();
    }
    store.delete(&Path::from(Sequence(11).entry_name())).await.unwrap();
    store.put(&Path::from(Sequence(12).entry_name()), vec![1; 40].into()).await.unwrap();
    let reader = log_in(&store, 4).await;
    assert_eq!(reader.refresh().await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(reader.append(settings(90)).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

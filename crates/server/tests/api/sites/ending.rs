//! What becomes of a replication whose VM runs elsewhere, or which somebody has begun to end.

use std::time::Duration;

use api::{Code, EditReplication, FailOver, ReplicationState, StartReplication};
use catalog::Catalog;
use model::ByteCount;

use super::replicating::{replicated, until, until_protected};
use crate::site::{TestSite, code, problem};

/// What a busy machine may take until something is as it must become.
const PATIENCE: Duration = Duration::from_secs(60);

async fn fail_over(east: &TestSite) {
    let latest = FailOver { point: "latest".to_owned(), rate_limit_bytes_per_second: None };
    let ended = east.end(&east.client.fail_over("db", &latest).await.unwrap()).await;
    assert!(ended.problem.is_none(), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_the_other_site_has_taken_over_is_not_handed_over() {
    let (east, west) = replicated().await;
    until_protected(&west).await;
    until(&west, "in sync", |view| view.lag_bytes == 0).await;
    fail_over(&east).await;
    let fenced = until(&west, "fenced", |view| view.state == ReplicationState::Fenced).await;
    let refused = problem(west.client.hand_over("db", true).await);
    assert_eq!(refused.code, Code::Fenced);
    assert!(refused.detail.contains("east has taken it over"), "{refused:?}");
    assert!(refused.hint.unwrap().contains("failover failback"));
    let after = west.client.replication("db").await.unwrap();
    assert_eq!((after.state, after.why), (ReplicationState::Fenced, fenced.why));
}

#[tokio::test(flavor = "multi_thread")]
async fn replicated_back_it_goes_on_as_before_but_for_what_is_asked() {
    let (east, west) = replicated().await;
    until_protected(&west).await;
    let edit = EditReplication {
        retention_hours: Some(48),
        rate_limit_bytes_per_second: Some(ByteCount(50 << 20)),
        rate_windows: Some(vec!["08:00-18:00=10MiB".parse().unwrap()]),
        application_every_seconds: Some(3600),
        journal_size_bytes: Some(ByteCount(128 << 20)),
        ..EditReplication::default()
    };
    west.client.edit_replication("db", &edit).await.unwrap();
    let told = async {
        while east.client.replica("db").await.unwrap().retention_seconds != 48 * 3600 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap();
    until(&west, "in sync", |view| view.state == ReplicationState::Protected && view.lag_bytes == 0).await;
    fail_over(&east).await;
    east.client.commit_failover("db").await.unwrap();
    let back: StartReplication = serde_json::from_value(
        serde_json::json!({"to": "west", "as_before": true, "application_every_seconds": 0, "interval_seconds": 60}),
    )
    .unwrap();
    let view = east.client.start_replication("db", &back).await.unwrap();
    assert_eq!((view.retention_hours, view.journal_size_bytes), (48, 128 << 20));
    assert_eq!(view.rate_limit_bytes_per_second, Some(50 << 20));
    assert_eq!(view.rate_windows, edit.rate_windows.unwrap());
    assert_eq!((view.application_every_seconds, view.interval_seconds), (None, Some(60)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_server_had_begun_to_end_the_next_one_ends() {
    let (east, west) = replicated().await;
    until_protected(&west).await;
    let vm = west.client.vm("db").await.unwrap().id;
    let (clock, peers) = (west.clock.clone(), west.peers.clone());
    let left = west.stop().await;
    let catalog = Catalog::open(&left.0.path().join("catalog.db")).await.unwrap();
    catalog.begin_to_end_replication(vm, true).await.unwrap();
    catalog.close().await;
    let journals = left.0.path().join("journals");
    std::fs::remove_dir_all(journals.read_dir().unwrap().next().unwrap().unwrap().path()).unwrap();
    let west = TestSite::start_again(left, clock, peers).await;
    let ended = async {
        while west.client.replication("db").await.is_ok() || !east.client.replicas().await.unwrap().is_empty()
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    assert_eq!(code(west.client.replication("db").await), Code::NotFound);
    assert_eq!(journals.read_dir().unwrap().count(), 0);
}

use env::{Env, random};
use model::{CaptureId, SnapshotId, SnapshotState, Timestamp, VmId};
use sqlx::Row as _;
use tempfile::TempDir;

use super::{CALLED, KnownSnapshot, STORED, SnapshotFilter};
use crate::{Catalog, ErrorKind};

async fn open(directory: &TempDir) -> Catalog {
    Catalog::open(&directory.path().join("catalog.db")).await.unwrap()
}

fn snapshot(env: &Env, name: &str, at_us: i64) -> KnownSnapshot {
    KnownSnapshot {
        id: SnapshotId::from_random(random(&*env.entropy)),
        name: name.parse().unwrap(),
        family: VmId::from_random([1; 10]),
        family_name: "web, \"1\"".parse().unwrap(),
        source: "web, \"1\"/root".to_owned(),
        disk: Some("root".parse().unwrap()),
        state: SnapshotState::Waiting,
        capture_id: CaptureId::from_random(random(&*env.entropy)),
        created_at: Timestamp::from_microseconds(at_us),
        taken_at: None,
        ready_at: None,
        consistency: None,
        disks: Vec::new(),
        tags: [("team".to_owned(), "web".to_owned())].into(),
        locked_until: None,
        deleted_at: None,
        purge_after: None,
        policy: None,
        job_id: None,
        problem: None,
    }
}

/// Takes a snapshot through these states.
async fn pass(catalog: &Catalog, snapshot: &mut KnownSnapshot, states: &[SnapshotState]) {
    for state in states {
        snapshot.state = *state;
        snapshot.taken_at = Some(snapshot.created_at);
        catalog.move_snapshot(snapshot).await.unwrap();
    }
}

#[tokio::test]
async fn a_snapshot_is_kept_as_it_is_and_moves_on_only_as_it_may() {
    use SnapshotState::{Copying, Deleted, Failed, Ready, Waiting};
    let (directory, env) = (tempfile::tempdir().unwrap(), Env::seeded(1));
    let catalog = open(&directory).await;
    let mut monday = snapshot(&env, "monday", 1);
    catalog.add_snapshot(&monday).await.unwrap();
    assert_eq!(catalog.snapshot(monday.id).await.unwrap(), Some(monday.clone()));
    for (now, refused) in [
        (Waiting, vec![Waiting, Deleted]),
        (Copying, vec![Waiting, Copying, Deleted]),
        (Ready, vec![Waiting, Copying, Ready, Failed]),
        (Deleted, vec![Waiting, Copying, Deleted, Failed]),
    ] {
        if now != Waiting {
            pass(&catalog, &mut monday, &[now]).await;
        }
        for state in refused {
            let moved = catalog.move_snapshot(&KnownSnapshot { state, ..monday.clone() }).await;
            assert_eq!(moved.unwrap_err().kind(), ErrorKind::NotFound, "from {now} to {state}");
        }
        assert_eq!(catalog.snapshot(monday.id).await.unwrap(), Some(monday.clone()));
    }
    catalog.remove_snapshot(monday.id).await.unwrap();
    assert_eq!(catalog.snapshot(monday.id).await.unwrap(), None);
}

#[tokio::test]
async fn a_name_is_free_again_when_its_snapshot_lives_no_more() {
    use SnapshotState::{Copying, Deleted, Ready};
    let (directory, env) = (tempfile::tempdir().unwrap(), Env::seeded(2));
    let catalog = open(&directory).await;
    let mut first = snapshot(&env, "monday", 1);
    catalog.add_snapshot(&first).await.unwrap();
    let second = snapshot(&env, "monday", 2);
    assert_eq!(catalog.add_snapshot(&second).await.unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(catalog.remove_snapshot(first.id).await.unwrap_err().kind(), ErrorKind::NotFound, "it lives");
    pass(&catalog, &mut first, &[Copying, Ready, Deleted]).await;
    catalog.add_snapshot(&second).await.unwrap();
    let called = catalog.snapshots_called("monday", 9).await.unwrap();
    assert_eq!(called.iter().map(|it| it.id).collect::<Vec<_>>(), [second.id, first.id], "the living first");
    let back = catalog.move_snapshot(&KnownSnapshot { state: Ready, ..first.clone() }).await;
    assert_eq!(back.unwrap_err().kind(), ErrorKind::Exists);
    let by_id = catalog.snapshots_called(&first.id.as_str()[..9], 9).await.unwrap();
    assert_eq!(by_id.iter().map(|it| it.id).collect::<Vec<_>>(), [first.id]);
}

#[tokio::test]
async fn a_lock_is_extended_and_not_shortened() {
    let (directory, env) = (tempfile::tempdir().unwrap(), Env::seeded(3));
    let catalog = open(&directory).await;
    let monday = snapshot(&env, "monday", 1);
    catalog.add_snapshot(&monday).await.unwrap();
    let until = Timestamp::from_microseconds;
    for (at_us, is_taken) in [(5, true), (4, false), (6, true)] {
        assert_eq!(catalog.lock_snapshot(monday.id, until(at_us)).await.is_ok(), is_taken, "{at_us}");
    }
    assert_eq!(catalog.snapshot(monday.id).await.unwrap().unwrap().locked_until, Some(until(6)));
}

/// How SQLite would find the rows.
async fn plan(catalog: &Catalog, sql: &'static str) -> String {
    let sql = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
    let rows = sqlx::query(sql).fetch_all(&catalog.pool).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>("detail")).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn no_question_that_is_asked_often_looks_at_all_snapshots() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = open(&directory).await;
    let family = Some(VmId::from_random([1; 10]));
    for deleted in [false, true] {
        for family in [None, family] {
            let plan = plan(&catalog, SnapshotFilter { family, deleted, ..Default::default() }.sql()).await;
            assert!(plan.starts_with("SEARCH") && !plan.contains("TEMP B-TREE"), "{plan}");
        }
    }
    let stored = plan(&catalog, STORED).await;
    assert!(stored.starts_with("SEARCH") && !stored.contains("TEMP B-TREE"), "{stored}");
    assert!(!plan(&catalog, CALLED).await.contains("SCAN"), "{}", plan(&catalog, CALLED).await);
}

#[tokio::test]
async fn five_thousand_snapshots_of_one_disk_are_listed_page_by_page() {
    let (directory, env) = (tempfile::tempdir().unwrap(), Env::seeded(4));
    let catalog = open(&directory).await;
    let mut first = snapshot(&env, "s-0", 1);
    catalog.add_snapshot(&first).await.unwrap();
    pass(&catalog, &mut first, &[SnapshotState::Copying, SnapshotState::Ready]).await;
    let many = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 4999) \
                INSERT INTO snapshots SELECT printf('%016d', n), 's-' || n, family, family_name, source, disk, state, \
                capture_id, created_at + n / 10, taken_at + n / 10, ready_at, consistency, disks, tags, locked_until, \
                deleted_at, purge_after, job_id, problem, policy FROM snapshots, numbers WHERE name = 's-0'";
    sqlx::query(many).execute(&catalog.pool).await.unwrap();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let filter = SnapshotFilter { family: Some(first.family), after, ..Default::default() };
        let page = catalog.snapshots(&filter, 200).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.created_at, last.id));
        seen.extend(page);
    }
    assert_eq!(seen.len(), 5000);
    assert!(seen.is_sorted_by_key(|it| std::cmp::Reverse((it.created_at, it.id))), "newest first, each once");
    assert_eq!(catalog.stored_snapshots(first.family, 1).await.unwrap()[0].id, seen[0].id);
}

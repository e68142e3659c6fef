//! What the snapshot store and the catalog tell of each other, and what holds however many snapshots there are.

use std::{path::Path, time::Instant};

use api::{
    CreateDisk, CreateSnapshot, DeleteSnapshot, DiskState, ImageQuery, JobResult, LockSnapshot,
    SnapshotQuery, SnapshotView,
};
use model::{JobState, PointId, SnapshotKind, SnapshotState, Timestamp};

use crate::{
    disks::shows,
    site::{TestSite, pattern},
};

async fn ready(site: &TestSite, source: &str, name: &str) -> SnapshotView {
    let name = Some(name.parse().unwrap());
    let request = CreateSnapshot { source: source.to_owned(), name, ..CreateSnapshot::default() };
    let created = site.client.create_snapshot(&request).await.unwrap();
    match site.end(&created.job).await {
        job if job.state == JobState::Succeeded => match job.result {
            Some(JobResult::Snapshot(snapshot)) => *snapshot,
            other => panic!("{other:?}"),
        },
        job => panic!("{:?}", job.problem),
    }
}

async fn all_of(site: &TestSite, reference: &str) -> Vec<u8> {
    let image = ImageQuery { reference, from_copy: None };
    let mut stream = site.client.image_data(image).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    bytes
}

async fn all_snapshots(site: &TestSite) -> Vec<SnapshotView> {
    site.client.snapshots(&SnapshotQuery::default()).await.unwrap().snapshots
}

fn at_once() -> DeleteSnapshot {
    DeleteSnapshot { now: true, dry_run: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_catalog_is_made_anew_of_what_the_store_has() {
    let site = TestSite::start().await;
    site.add_guest("db", pattern(1)).await;
    let path = site.path("golden.img");
    std::fs::write(&path, pattern(3)).unwrap();
    let file = format!("file:{}", path.display());
    let mut made = vec![ready(&site, "db", "monday").await, ready(&site, &file, "golden").await];
    site.hypervisor.write(&site.path("db"), 0, &[7; 512]);
    made.insert(1, ready(&site, "db", "tuesday").await);
    ready(&site, "db", "purged").await;
    site.client.delete_snapshot("purged", &at_once()).await.unwrap();

    let left = site.stop().await;
    for name in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
        let _ = std::fs::remove_file(left.0.path().join(name)); // not all of them are always there
    }
    let site = TestSite::start_over(left).await;
    assert_eq!(all_snapshots(&site).await.len(), 3);
    for snapshot in &made {
        let found = site.client.snapshot(snapshot.id.as_str()).await.unwrap();
        assert_eq!((found.state, &found.name), (SnapshotState::Ready, &snapshot.name));
        assert_eq!((&found.family, &found.source), (&snapshot.family, &snapshot.source));
        assert_eq!((found.kind, &found.disks), (snapshot.kind, &snapshot.disks));
        assert_eq!(found.taken_at, snapshot.taken_at);
    }
    assert!(all_of(&site, "snapshot:monday").await == pattern(1));
    assert!(all_of(&site, "snapshot:golden").await == pattern(3));
    let again = ready(&site, &file, "again").await;
    assert_eq!((again.kind, again.stored_bytes.0), (Some(SnapshotKind::Compared), 0), "of the same family");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_the_catalog_knows_comes_back_by_itself() {
    let site = TestSite::start().await;
    site.add_guest("db", pattern(1)).await;
    for name in ["deleted", "purged", "locked"] {
        ready(&site, "db", name).await;
    }
    let until = LockSnapshot { until: "2999-01-01T00:00:00Z".parse().unwrap() };
    site.client.lock_snapshot("locked", &until).await.unwrap();
    site.client.delete_snapshot("deleted", &DeleteSnapshot::default()).await.unwrap();
    site.client.delete_snapshot("purged", &at_once()).await.unwrap();
    let before = all_snapshots(&site).await;
    let site = site.restart().await;
    assert_eq!(all_snapshots(&site).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_making_was_interrupted_is_made_anew() {
    let site = TestSite::start().await;
    site.add_guest("db", pattern(1)).await;
    // A server that died has got as far as the first entry of the log.
    for folder in ["log", "states", "keys"] {
        std::fs::create_dir_all(site.path("snapshots").join(folder)).unwrap();
        std::fs::write(site.path("snapshots").join(folder).join("1"), "half").unwrap();
    }
    ready(&site, "db", "monday").await;
    assert!(all_of(&site, "snapshot:monday").await == pattern(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_family_began_with_may_go_while_a_disk_hydrates_from_a_later_one() {
    let site = TestSite::start().await;
    site.add_guest("db", pattern(1)).await;
    ready(&site, "db", "base").await;
    let mut changed = pattern(1);
    changed[..1 << 20].copy_from_slice(&pattern(2)[..1 << 20]);
    site.hypervisor.write(&site.path("db"), 0, &changed[..1 << 20]);
    ready(&site, "db", "later").await;

    let slowly = serde_json::json!({
        "name": "new", "reference": "snapshot:later/root", "rate_limit_bytes_per_second": 64 << 10,
    });
    let request: CreateDisk = serde_json::from_value(slowly).unwrap();
    let created = site.end(&site.client.create_disk(&request).await.unwrap()).await;
    assert_eq!(created.state, JobState::Succeeded, "{:?}", created.problem);
    site.client.delete_snapshot("base", &at_once()).await.unwrap();
    let disk = site.client.disk("new").await.unwrap();
    assert_eq!(disk.state, DiskState::Hydrating, "the base went first");
    assert!(
        site.client.delete_snapshot("later", &DeleteSnapshot::default()).await.is_err(),
        "it is read from"
    );
    assert!(shows(&site, Path::new(&disk.path), &changed));

    // As fast as it can.
    let job = site.client.hydrate_disk("new", &Default::default()).await.unwrap();
    assert_eq!(site.end(&job).await.state, JobState::Succeeded);
    assert_eq!(site.client.disk("new").await.unwrap().state, DiskState::Whole);
    assert!(shows(&site, Path::new(&disk.path), &changed));
    assert!(all_of(&site, "snapshot:later").await == changed);
}

/// Snapshots of one disk that are promised.
const MANY: usize = 5_000;

/// Adds as many snapshots to the store of a site that does not run, as if each had been made.
async fn fill_store(directory: &Path) {
    let location = format!("file://{}", directory.join("snapshots").display());
    let key = std::fs::read_to_string(directory.join("keys/snapshot-store.key-file")).unwrap();
    let location = vault::StoreLocation::parse(&location).unwrap();
    let store = vault::Vault::open(&location, &key.parse().unwrap(), env::Env::system()).await.unwrap();
    let first = store.points().await.unwrap().points.remove(0);
    for number in 1..MANY {
        let mut point = first.clone();
        point.summary.id = PointId::from_random(env::random(&env::SystemEntropy));
        point.summary.captured_at =
            Timestamp::from_microseconds(first.summary.captured_at.as_microseconds() + number as i64);
        point.summary.label = Some(format!("s{number}"));
        store.writer().await.unwrap().commit(point).await.unwrap();
    }
}

/// All snapshots of a family, page by page.
async fn list(site: &TestSite, family: &str) -> Vec<SnapshotView> {
    let (mut after, mut all): (Option<String>, Vec<SnapshotView>) = (None, Vec::new());
    loop {
        let query = SnapshotQuery { family: Some(family), after: after.as_deref(), ..Default::default() };
        let page = site.client.snapshots(&query).await.unwrap();
        all.extend(page.snapshots);
        match page.next {
            Some(next) => after = Some(next),
            None => return all,
        }
    }
}

/// Says what something took: nothing is asserted of time.
async fn timed<T>(what: &str, work: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let done = work.await;
    println!("{what}: {:?}", begun.elapsed());
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_snapshots_of_one_disk_are_listed_made_used_and_deleted() {
    let site = TestSite::start().await;
    site.add_guest("db", pattern(1)).await;
    timed("the first", ready(&site, "db", "first")).await;
    timed("the second", ready(&site, "db", "second")).await;
    let left = site.stop().await;
    timed("filling the store", fill_store(left.0.path())).await;
    let site = timed("starting, and making them known", Box::pin(TestSite::start_over(left))).await;
    let all = timed("listing all", list(&site, "db")).await;
    assert_eq!(all.len(), MANY + 1);
    timed("the first page", site.client.snapshots(&SnapshotQuery::default())).await.unwrap();

    site.hypervisor.write(&site.path("db"), 0, &[7; 512]);
    let one_more = timed("one more", ready(&site, "db", "one-more")).await;
    assert_eq!(one_more.kind, Some(SnapshotKind::Incremental));
    let now = at_once();
    timed("deleting one for good", site.client.delete_snapshot("first", &now)).await.unwrap();
    let site = timed("starting again", Box::pin(site.restart())).await;
    assert_eq!(list(&site, "db").await.len(), MANY + 1);
    let bytes = timed("reading one", all_of(&site, &format!("snapshot:s{}", MANY / 2))).await;
    assert!(bytes == pattern(1));
}

//! Object Lock, where there is one.

use env::{Clock, SystemClock};
use model::Timestamp;
use object_store::ObjectStoreExt;
use testkit::stores::S3Server;
use vault::{ErrorKind, ObjectLock, ProbeReport, Retention, RetentionMode, StoreLocation, Verdict};

const HOUR_US: i64 = 3_600_000_000;

pub async fn bucket(server: &S3Server, name: &str, object_lock: bool) -> StoreLocation {
    server.create_bucket(name, object_lock).await.unwrap();
    let url = format!("s3://{name}/a%20prefix?endpoint={}", server.endpoint());
    StoreLocation::parse(&url).unwrap().with_variables(server.variables())
}

#[tokio::test]
async fn only_a_locked_bucket_of_s3_has_an_object_lock() {
    let server = S3Server::start().await.unwrap();
    let open = bucket(&server, "open", false).await;
    assert!(ObjectLock::of(&open).await.unwrap().is_none());
    assert!(ObjectLock::of(&StoreLocation::parse("/srv/vault").unwrap()).await.unwrap().is_none());
    let absent = format!("s3://absent?endpoint={}", server.endpoint());
    let absent = StoreLocation::parse(&absent).unwrap().with_variables(server.variables());
    assert_eq!(ObjectLock::of(&absent).await.unwrap_err().kind(), ErrorKind::NotFound);
    let locked = bucket(&server, "locked", true).await;
    assert_eq!(ObjectLock::of(&locked).await.unwrap().unwrap().default_mode(), None);
}

#[tokio::test]
async fn a_retention_is_extended() {
    let server = S3Server::start().await.unwrap();
    let location = bucket(&server, "locked", true).await;
    let (store, prefix) = location.object_store().await.unwrap();
    store.put(&prefix.join("points").join("one"), vec![1, 2, 3].into()).await.unwrap();
    let lock = ObjectLock::of(&location).await.unwrap().unwrap();
    let now = SystemClock.now().as_microseconds();
    let later = |hours: i64| Timestamp::from_microseconds(now + hours * HOUR_US);
    let compliance = |until| Retention { mode: RetentionMode::Compliance, until };
    assert_eq!(lock.retention_of("points/one").await.unwrap(), None);
    lock.extend("points/one", compliance(later(2))).await.unwrap();
    let held = lock.extend("points/one", compliance(later(4))).await.unwrap();
    // To the second, rounded up.
    let second = later(4).as_microseconds().div_euclid(1_000_000) + 1;
    assert_eq!(held, compliance(Timestamp::from_microseconds(second * 1_000_000)));
    assert_eq!(lock.retention_of("points/one").await.unwrap(), Some(held));
}

#[tokio::test]
async fn a_probe_says_whether_the_bucket_locks_what_is_in_it() {
    let server = S3Server::start().await.unwrap();
    let open = vault::probe(&bucket(&server, "open", false).await, &env::Env::system()).await.unwrap();
    let locked = vault::probe(&bucket(&server, "locked", true).await, &env::Env::system()).await.unwrap();
    let verdict = |report: &ProbeReport, name: &str| {
        report.checks.iter().find(|check| check.name == name).map(|check| check.verdict.clone())
    };
    let is_noted = |verdict: Option<Verdict>, word: &str| matches!(verdict, Some(Verdict::Noted(told)) if told.contains(word));
    assert!(is_noted(verdict(&open, "object lock"), "no Object Lock"), "{open:#?}");
    assert_eq!(verdict(&open, "noncurrent versions"), None);
    assert_eq!(verdict(&locked, "object lock"), Some(Verdict::Passed));
    assert!(is_noted(verdict(&locked, "noncurrent versions"), "NoncurrentVersionExpiration"), "{locked:#?}");
    assert!(open.is_fit() && locked.is_fit());
}

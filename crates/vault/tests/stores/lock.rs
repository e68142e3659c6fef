//! Object Lock, where there is one.

use env::{Clock, SystemClock};
use model::Timestamp;
use object_store::ObjectStoreExt;
use testkit::stores::S3Server;
use vault::{ErrorKind, ObjectLock, RetentionMode, StoreLocation};

const HOUR_US: i64 = 3_600_000_000;

async fn bucket(server: &S3Server, name: &str, object_lock: bool) -> StoreLocation {
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
    let lock = ObjectLock::of(&location).await.unwrap().unwrap().with_mode(RetentionMode::Compliance);
    let now = SystemClock.now().as_microseconds();
    let later = |hours: i64| Timestamp::from_microseconds(now + hours * HOUR_US);
    lock.extend("points/one", later(2)).await.unwrap();
    lock.extend("points/one", later(4)).await.unwrap();
    let until = lock.retained_until("points/one").await.unwrap().unwrap();
    assert!(
        (later(4)..=Timestamp::from_microseconds(now + 4 * HOUR_US + 1_000_000)).contains(&until),
        "{until}"
    );
    let absent = lock.extend("points/two", later(1)).await.unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::NotFound);
}

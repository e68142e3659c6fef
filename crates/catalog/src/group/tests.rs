use model::{GroupId, JournalId, SiteId, Timestamp, VmId};

use super::{KnownGroup, KnownReplicaGroup};
use crate::{Catalog, ErrorKind};

fn group(number: u8, name: &str) -> KnownGroup {
    KnownGroup {
        id: GroupId::from_random([number; 10]),
        name: name.parse().unwrap(),
        peer_id: SiteId::from_random([9; 10]),
        peer_name: "west".parse().unwrap(),
        members: vec![VmId::from_random([1; 10]), VmId::from_random([2; 10])],
        every_ms: 1000,
        revision: 1,
        numbers_through: 0,
        created_at: Timestamp::from_microseconds(7),
    }
}

#[tokio::test]
async fn groups_are_kept_as_they_change() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&directory.path().join("catalog.db")).await.unwrap();
    let mut shop = group(1, "shop");
    catalog.add_group(&shop).await.unwrap();
    assert_eq!(catalog.add_group(&group(2, "shop")).await.unwrap_err().kind(), ErrorKind::Exists);
    shop.members.pop();
    (shop.every_ms, shop.revision) = (5000, 2);
    catalog.set_group(&shop).await.unwrap();
    shop.numbers_through = 10_000;
    catalog.reserve_group_numbers(shop.id, 10_000).await.unwrap();
    // Who changes the members does not give numbers back.
    catalog.set_group(&KnownGroup { numbers_through: 0, ..shop.clone() }).await.unwrap();
    assert_eq!(catalog.groups().await.unwrap(), std::slice::from_ref(&shop));
    catalog.remove_group(shop.id).await.unwrap();
    assert_eq!(catalog.set_group(&shop).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(catalog.groups().await.unwrap().is_empty());
}

#[tokio::test]
async fn of_a_group_of_replicas_the_last_word_counts() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&directory.path().join("catalog.db")).await.unwrap();
    let mut known = KnownReplicaGroup {
        id: GroupId::from_random([1; 10]),
        peer_id: SiteId::from_random([9; 10]),
        name: "shop".parse().unwrap(),
        members: vec![JournalId::from_random([1; 10])],
        revision: 1,
    };
    catalog.put_replica_group(&known).await.unwrap();
    known.members.push(JournalId::from_random([2; 10]));
    known.revision = 2;
    catalog.put_replica_group(&known).await.unwrap();
    assert_eq!(catalog.replica_groups().await.unwrap(), std::slice::from_ref(&known));
    catalog.remove_replica_group(known.id).await.unwrap();
    assert!(catalog.replica_groups().await.unwrap().is_empty());
}

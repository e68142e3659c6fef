//! What is kept, shown, folded, and survives.

use api::{Code, CreateDisk, ReplicaPointKind, ReplicaState, RetainReplica};
use journal::{CheckpointKind, Sequence};
use peer::ErrorKind;

use super::{PATIENCE, Source, read, restart, sites};
use crate::site::{TestSite, code, problem};

#[tokio::test]
async fn every_moment_is_an_image_also_after_a_restart() {
    let (east, _west, peer) = sites().await;
    let mut web = Source::new(1, "web");
    let begun = peer.offer_replica(web.id, &web.offer()).await.unwrap();
    assert_eq!((begun.durable_through, begun.reaches_back_to), (Sequence(0), None));
    let first = web.write(0, 1);
    let after_first = web.bytes.clone();
    web.mark(CheckpointKind::Bookmark, "before the upgrade");
    web.write(0, 2);
    web.mark(CheckpointKind::Application, "");
    let after_second = web.bytes.clone();
    let last = web.write(3, 3);
    let shipped = web.ship(&peer).await.unwrap();
    assert_eq!(shipped.durable_through, last);
    assert!(shipped.newest_time.is_some() && shipped.reaches_back_to.is_some());

    assert!(read(&east, "replica:web").await == web.bytes);
    assert!(read(&east, &format!("replica:web/#{}/root", first.0)).await == after_first);
    assert!(read(&east, "replica:web/before the upgrade").await == after_first);
    assert!(read(&east, "replica:web/latest-application").await == after_second);
    let view = east.client.replica("web").await.unwrap();
    assert_eq!((view.state, view.site.as_str()), (ReplicaState::Receiving, "west"), "{view:?}");
    let at = view.newest_at.unwrap();
    assert!(read(&east, &format!("replica:{}/{at}", web.id)).await == web.bytes);
    let east = restart(east).await;
    assert!(read(&east, "replica:web/latest-application").await == after_second);
    assert_eq!(peer.replica_progress(web.id).await.unwrap().durable_through, last);
    web.write(9, 9);
    web.ship(&peer).await.unwrap();
    assert!(read(&east, "replica:web/latest/root").await == web.bytes, "and goes on where it was");
}

#[tokio::test]
async fn checkpoints_are_listed_with_what_names_them() {
    let (east, _west, peer) = sites().await;
    let mut web = Source::new(1, "web");
    peer.offer_replica(web.id, &web.offer()).await.unwrap();
    web.write(0, 1);
    let marked = web.mark(CheckpointKind::Bookmark, "payday");
    web.mark(CheckpointKind::Crash, "");
    web.ship(&peer).await.unwrap();
    let points = east.client.replica_points("web", false).await.unwrap();
    let told: Vec<_> = points.iter().map(|point| (point.kind, point.name.as_str())).collect();
    assert_eq!(told, [(ReplicaPointKind::Bookmark, "payday"), (ReplicaPointKind::Crash, "")]);
    assert_eq!(points[0].sequence, marked.0);
    assert!(read(&east, &points[0].reference).await == web.bytes);
    let missing =
        east.client.image_data(api::ImageQuery { reference: "replica:web/nothing", from_copy: None });
    assert!(missing.await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_the_retention_is_folded_but_never_under_a_reader() {
    let (east, _west, peer) = sites().await;
    let mut web = Source::new(1, "web");
    peer.offer_replica(web.id, &web.offer()).await.unwrap();
    let old = web.write(0, 1);
    let then = web.bytes.clone();
    web.seal();
    web.write(0, 2);
    web.ship(&peer).await.unwrap();
    let reference = format!("replica:web/#{}", old.0);
    let disk: CreateDisk =
        serde_json::from_value(serde_json::json!({"name": "look", "reference": reference, "hydrate": false}))
            .unwrap();
    let made = east.end(&east.client.create_disk(&disk).await.unwrap()).await;
    assert_eq!(made.problem, None);

    for number in 3..6 {
        web.seal();
        web.write(0, number);
    }
    web.ship(&peer).await.unwrap();
    let before = east.client.replica("web").await.unwrap();
    let retained = east.client.retain_replica("web", &RetainReplica { retention_seconds: 60 }).await.unwrap();
    assert!(retained.retention_is_set);
    let refused = east.client.retain_replica("web", &RetainReplica { retention_seconds: 1 }).await;
    assert_eq!(code(refused), Code::Invalid);
    let east = restart(east).await;
    assert!(read(&east, &reference).await == then, "somebody's disk reads from it");
    assert_eq!(code(east.client.delete_replica("web", false).await), Code::Conflict);

    east.client.delete_disk("look", false).await.unwrap();
    let query = || api::ImageQuery { reference: &reference, from_copy: None };
    let folded = async {
        while east.client.image_changes("replica:web", query(), 0).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, folded).await.expect("it is folded now");
    let gone = problem(east.client.image_changes("replica:web", query(), 0).await);
    assert_eq!(gone.code, Code::NotFound, "{gone:?}");
    let view = east.client.replica("web").await.unwrap();
    assert!(view.reaches_back_to > before.reaches_back_to, "{view:?}");
    assert_eq!(view.state, ReplicaState::Receiving, "{view:?}");
    assert!(read(&east, "replica:web").await == web.bytes);
}

#[tokio::test]
async fn a_replica_that_lacks_writes_says_so_and_shows_older_moments() {
    let (east, _west, peer) = sites().await;
    let mut web = Source::new(1, "web");
    peer.offer_replica(web.id, &web.offer()).await.unwrap();
    web.write(0, 1);
    let whole = web.bytes.clone();
    web.journal.begin_epoch(web.vm).unwrap();
    let missed = web.write(1, 1);
    web.ship(&peer).await.unwrap();
    let view = east.client.replica("web").await.unwrap();
    assert_eq!(view.state, ReplicaState::NotWhole, "{view:?}");
    assert!(view.not_whole_since.is_some());
    assert!(read(&east, "replica:web/latest").await == whole);
    let reference = format!("replica:web/#{}", missed.0);
    let refused = east.client.image_changes(
        "replica:web",
        api::ImageQuery { reference: &reference, from_copy: None },
        0,
    );
    assert_eq!(code(refused.await), Code::Conflict);
}

#[tokio::test]
async fn a_damaged_folder_is_a_state_and_harms_nobody_else() {
    let (east, _west, peer) = sites().await;
    let (mut web, mut db, mut gone) = (Source::new(1, "web"), Source::new(2, "db"), Source::new(3, "gone"));
    db.vm = model::VmId::from_random([8; 10]);
    gone.vm = model::VmId::from_random([9; 10]);
    for source in [&mut web, &mut db, &mut gone] {
        peer.offer_replica(source.id, &source.offer()).await.unwrap();
        source.write(0, 1);
        source.ship(&peer).await.unwrap();
    }
    std::fs::write(east.path("replicas").join(web.id.as_str()).join("state"), b"nonsense").unwrap();
    std::fs::remove_dir_all(east.path("replicas").join(gone.id.as_str())).unwrap();
    let east = restart(east).await;
    for name in ["web", "gone"] {
        let view = east.client.replica(name).await.unwrap();
        assert_eq!(view.state, ReplicaState::Damaged, "{view:?}");
        assert!(view.reason.is_some());
    }
    assert_eq!(web.ship(&peer).await.unwrap_err().kind(), ErrorKind::Damaged);
    db.write(1, 1);
    let shipped = db.ship(&peer).await.unwrap();
    assert_eq!(shipped.durable_through, db.journal.durable_through());
    east.client.delete_replica("web", false).await.unwrap();
    east.client.delete_replica("gone", false).await.unwrap();
    assert_eq!(names(&east).await, ["db"]);
}

#[tokio::test]
async fn an_ended_replication_stays_until_it_is_deleted() {
    let (east, _west, peer) = sites().await;
    let mut web = Source::new(1, "web");
    peer.offer_replica(web.id, &web.offer()).await.unwrap();
    web.write(0, 1);
    web.ship(&peer).await.unwrap();
    peer.end_replica(web.id, false).await.unwrap();
    assert_eq!(east.client.replica("web").await.unwrap().state, ReplicaState::Ended);
    web.write(0, 2);
    web.journal.flush().unwrap();
    assert_eq!(web.ship(&peer).await.unwrap_err().kind(), ErrorKind::Conflict);
    peer.offer_replica(web.id, &web.offer()).await.unwrap();
    web.ship(&peer).await.unwrap();
    assert!(read(&east, "replica:web").await == web.bytes, "taken up again");

    // One that is begun anew takes the place of the one before.
    let anew = Source::new(2, "web");
    peer.offer_replica(anew.id, &anew.offer()).await.unwrap();
    assert_eq!(east.client.replica("web").await.unwrap().journal_id, anew.id);
    assert_eq!(east.client.replica(web.id.as_str()).await.unwrap().state, ReplicaState::Ended);
    let refused = problem(east.client.replica("nobody").await);
    assert_eq!(refused.code, Code::NotFound);

    peer.end_replica(anew.id, true).await.unwrap();
    east.client.delete_replica(web.id.as_str(), true).await.unwrap();
    east.client.delete_replica(web.id.as_str(), false).await.unwrap();
    assert!(names(&east).await.is_empty());
    assert_eq!(std::fs::read_dir(east.path("replicas")).unwrap().count(), 0);
    assert_eq!(peer.replica_progress(web.id).await.unwrap_err().kind(), ErrorKind::NotFound);
}

async fn names(site: &TestSite) -> Vec<String> {
    site.client.replicas().await.unwrap().into_iter().map(|view| view.vm_name).collect()
}

//! Recovery points that are made of replicas, and tests of their moments by the engine that tests points.

use api::{BackUpReplica, ChangeSourceView, Code, JobResult, PointView, TestPoint};
use journal::CheckpointKind;
use model::{ByteCount, Consistency, JobState};

use super::{DISK_BYTES, Source, read, restart, sites};
use crate::site::{TestSite, code};

fn into_main(point: &str) -> BackUpReplica {
    BackUpReplica { point: point.to_owned(), vault: "main".to_owned(), label: Some("kept".to_owned()) }
}

async fn back_up(site: &TestSite, point: &str) -> PointView {
    let job = site.client.back_up_replica("web", &into_main(point)).await.unwrap();
    let ended = site.end(&job).await;
    match ended.result {
        Some(JobResult::Point(point)) => *point,
        other => panic!("no point but {other:?}, {:?}", ended.problem),
    }
}

async fn bytes_of(site: &TestSite, point: &PointView) -> Vec<u8> {
    read(site, &format!("point:web/{}/root", point.id)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn any_moment_becomes_a_point_and_the_next_reads_only_what_changed() {
    let (east, _west, peer) = sites().await;
    east.create_vault("main").await;
    let mut web = Source::new(1, "web");
    peer.offer_replica(web.id, &web.offer()).await.unwrap();
    assert_eq!(code(east.client.back_up_replica("web", &into_main("latest")).await), Code::Conflict);
    web.write(0, 1);
    web.write(70, 1);
    web.mark(CheckpointKind::Application, "");
    web.ship(&peer).await.unwrap();
    let (at_first, first) = (web.bytes.clone(), back_up(&east, "latest-application").await);
    assert_eq!((first.vm_name.as_str(), first.vm_id), ("web", web.vm));
    assert_eq!(first.consistency_reached, Consistency::Application);
    assert_eq!(first.disks[0].source, ChangeSourceView::Full);
    assert_eq!(first.label.as_deref(), Some("kept"));
    assert!(bytes_of(&east, &first).await == at_first);

    let second = web.write(1, 2);
    web.write(2, 3);
    web.ship(&peer).await.unwrap();
    let east = restart(east).await;
    let newest = back_up(&east, "latest").await;
    assert!(bytes_of(&east, &newest).await == web.bytes);
    assert_eq!((newest.parent, newest.consistency_reached), (Some(first.id), Consistency::Crash));
    assert_eq!(newest.disks[0].source, ChangeSourceView::Bitmap);
    let older = back_up(&east, &format!("#{}", second.0)).await;
    let mut then = at_first;
    then[4096..8192].fill(2);
    assert!(bytes_of(&east, &older).await == then, "an older moment than that of the newest point");
    assert_eq!((older.parent, &older.disks[0].source), (Some(first.id), &ChangeSourceView::Bitmap));

    let point = east.client.point(&format!("point:web/{}", newest.id)).await.unwrap();
    let definition = point.definition.unwrap();
    assert_eq!((definition.name.as_str(), definition.memory), ("web", ByteCount(1 << 30)));
    assert!(definition.disks.len() == 1 && definition.disks[0].path.is_none(), "{definition:?}");
    assert_eq!(east.hypervisor.captures.load(std::sync::atomic::Ordering::Relaxed), 0, "no guest is touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_replica_no_longer_tells_is_read_and_compared() {
    let (east, _west, peer) = sites().await;
    east.create_vault("main").await;
    let mut web = Source::new(1, "web");
    peer.offer_replica(web.id, &web.offer()).await.unwrap();
    web.write(0, 1);
    web.ship(&peer).await.unwrap();
    let first = back_up(&east, "latest").await;
    // The VM is replicated anew, in another journal: nothing links the two.
    let mut anew = Source::new(2, "web");
    peer.offer_replica(anew.id, &anew.offer()).await.unwrap();
    anew.write(0, 1);
    anew.write(5, 5);
    anew.ship(&peer).await.unwrap();
    let second = back_up(&east, "latest").await;
    assert!(bytes_of(&east, &second).await == anew.bytes);
    assert_eq!(second.parent, Some(first.id));
    let source = &second.disks[0].source;
    assert!(matches!(source, ChangeSourceView::Compared { .. }), "{source:?}");
    assert_eq!(second.disks[0].size_bytes, ByteCount(DISK_BYTES as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_backed_up_is_said_at_once() {
    let (east, _west, peer) = sites().await;
    east.create_vault("main").await;
    let mut web = Source::new(1, "web");
    peer.offer_replica(web.id, &web.offer()).await.unwrap();
    web.write(0, 1);
    web.ship(&peer).await.unwrap();
    let nowhere = BackUpReplica { vault: "nowhere".to_owned(), ..into_main("latest") };
    assert_eq!(code(east.client.back_up_replica("web", &nowhere).await), Code::NotFound);
    assert_eq!(code(east.client.back_up_replica("db", &into_main("latest")).await), Code::NotFound);
    let label = Some("a\nb".to_owned());
    let control = BackUpReplica { label, ..into_main("latest") };
    assert_eq!(code(east.client.back_up_replica("web", &control).await), Code::Invalid);
    assert_eq!(code(east.client.back_up_replica("web", &into_main("payday")).await), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_is_booted_and_the_verdict_is_among_the_tests_of_the_replica() {
    let (east, _west, peer) = sites().await;
    let mut web = Source::new(1, "web");
    peer.offer_replica(web.id, &web.offer()).await.unwrap();
    web.write(0, 1);
    web.ship(&peer).await.unwrap();
    let test = |reference: &str| TestPoint {
        reference: reference.to_owned(),
        from_copy: None,
        console: None,
        check: Vec::new(),
        limit_seconds: 1,
    };
    assert_eq!(code(east.client.test_point(&test("replica:web/latest/root")).await), Code::Invalid);
    // A guest without an agent gives no sign of life.
    let job = east.client.test_point(&test("replica:web")).await.unwrap();
    let ended = east.end(&job).await;
    assert_eq!(ended.state, JobState::Failed, "{ended:?}");
    let Some(JobResult::Tested(verdict)) = ended.result else { panic!("{:?}", ended.problem) };
    assert!(!verdict.passed && verdict.reference.as_deref() == Some("replica:web"), "{verdict:?}");
    let view = east.client.replica("web").await.unwrap();
    let [kept] = view.tests.as_slice() else { panic!("{view:?}") };
    assert!(kept.cleaned_up_at.is_some() && kept.verdict.as_ref().unwrap().starts_with("did not pass: "));
    assert_eq!(code(east.client.vm(&kept.vm_name).await), Code::NotFound, "nothing is left of it");
    assert_eq!(std::fs::read_dir(east.path("disks")).unwrap().count(), 0);
}

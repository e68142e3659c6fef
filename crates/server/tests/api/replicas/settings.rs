//! What the VM of a replica is to be here: set, mapped, or as at the source; told, kept, used, and refused in time.

use std::{path::Path, sync::atomic::Ordering};

use api::{
    CleanUpTests, Code, ConnectNetwork, EditReplica, FailOver, JobResult, JobView, MapNetwork, MapNetworks,
    ReplicaSetting, ReplicaStage, ReplicaView, SettingOrigin, TestFailover,
};
use model::{ByteCount, JobState, NetworkKind};
use peer::replicas::ReplicaOffer;

use super::{Source, restart, sites};
use crate::site::{TestSite, code, problem};

/// An offer of a VM with two interfaces on bridges.
fn offer(source: &Source) -> ReplicaOffer {
    let mut offer = source.offer();
    let network = |bridge: &str| serde_json::json!({"kind": "bridge", "bridge": bridge});
    offer.definition.networks =
        ["vmbr0", "vmbr1"].map(|bridge| serde_json::from_value(network(bridge)).unwrap()).to_vec();
    offer
}

fn latest() -> FailOver {
    FailOver { point: "latest".to_owned(), rate_limit_bytes_per_second: None }
}

fn test(bridge: Option<&str>) -> TestFailover {
    TestFailover { point: "latest".to_owned(), name: None, bridge: bridge.map(str::to_owned) }
}

fn connect(number: u32, to: &str, is_test: bool) -> ConnectNetwork {
    ConnectNetwork { number, to: Some(to.to_owned()), is_test }
}

fn map(theirs: &str, ours: &str, is_test: bool) -> MapNetwork {
    MapNetwork { theirs: theirs.to_owned(), ours: Some(ours.to_owned()), is_test }
}

/// The VM that a job has made: its name, and where its disk is that was made.
async fn made(site: &TestSite, job: &JobView) -> (String, String) {
    let ended = site.end(job).await;
    match ended.result {
        Some(JobResult::RestoredVm(vm)) if ended.state == JobState::Succeeded => {
            (vm.vm_name, vm.disks.first().map(|disk| disk.path.clone()).unwrap_or_default())
        }
        other => panic!("no VM but {other:?}, {:?}", ended.problem),
    }
}

/// What a VM's interfaces are connected to.
async fn bridges(site: &TestSite, vm: &str) -> Vec<String> {
    let id = site.client.vm(vm).await.unwrap().id;
    let networks = site.hypervisor.definition(id).networks.into_iter();
    let connected = networks.map(|network| match (network.kind, network.bridge) {
        (NetworkKind::Bridge, Some(bridge)) => bridge,
        (kind, _) => format!("{kind:?}"),
    });
    connected.collect()
}

fn connections(view: &ReplicaView) -> Vec<(&str, SettingOrigin, &str, SettingOrigin)> {
    let networks = view.target.networks.iter();
    let each = networks.map(|network| {
        let (to, from) = (network.connected_to.as_str(), network.connected_from);
        (to, from, network.test_connected_to.as_str(), network.test_connected_from)
    });
    each.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_goes_before_what_is_mapped_and_that_before_what_the_source_says() {
    use SettingOrigin::{Default as Unsaid, Mapped, Set, Source as AtSource};
    let (east, _west, peer) = sites().await;
    let mut web = Source::new(1, "web");
    peer.offer_replica(web.id, &offer(&web)).await.unwrap();
    web.write(0, 1);
    web.ship(&peer).await.unwrap();
    let view = east.client.replica("web").await.unwrap();
    let unsaid = [("vmbr0", AtSource, "isolated", Unsaid), ("vmbr1", AtSource, "isolated", Unsaid)];
    assert_eq!(connections(&view), unsaid);
    assert_eq!((view.target.name.as_str(), view.target.cpus_from), ("web", AtSource));

    let mapped =
        vec![map("vmbr0", "br-lan", false), map("vmbr1", "isolated", false), map("vmbr1", "br-t", true)];
    let site = east.client.map_networks("west", &MapNetworks { networks: mapped }).await.unwrap();
    assert_eq!(site.networks.len(), 2, "{site:?}");
    let storage = tempfile::tempdir().unwrap();
    let request = EditReplica {
        name: Some("web-here".to_owned()),
        cpus: Some(3),
        memory_bytes: Some(ByteCount(512 << 20)),
        storage: Some(storage.path().display().to_string()),
        networks: vec![connect(1, "br-own", false), connect(0, "br-drill", true)],
        reset: Vec::new(),
    };
    east.client.edit_replica("web", &request).await.unwrap();
    let east = restart(east).await;
    let view = east.client.replica("web").await.unwrap();
    assert_eq!(connections(&view), [("br-lan", Mapped, "br-drill", Set), ("br-own", Set, "br-t", Mapped)]);
    assert_eq!(view.target.problems, Vec::<String>::new());

    let (drill, disk) = made(&east, &east.client.test_failover("web", &test(None)).await.unwrap()).await;
    assert_eq!(bridges(&east, &drill).await, ["br-drill", "br-t"]);
    assert!(
        drill.starts_with("test-web-here-") && disk.starts_with(storage.path().to_str().unwrap()),
        "{drill}"
    );
    let explicit = east.client.test_failover("web", &test(Some("br-now"))).await.unwrap();
    let (explicit, _) = made(&east, &explicit).await;
    assert_eq!(bridges(&east, &explicit).await, ["br-now", "br-now"], "what is said now goes before all");
    east.client.clean_up_tests("web", &CleanUpTests::default()).await.unwrap();
    assert_eq!(std::fs::read_dir(storage.path()).unwrap().count(), 0, "nothing is left of the tests");

    east.hypervisor.hydrations.close();
    assert_eq!(east.client.plan_failover("web", &latest()).await.unwrap().vm_name, "web-here");
    let (name, disk) = made(&east, &east.client.fail_over("web", &latest()).await.unwrap()).await;
    let vm = east.client.vm("web-here").await.unwrap();
    assert_eq!((name.as_str(), vm.cpus, vm.memory_bytes), ("web-here", 3, ByteCount(512 << 20)));
    assert_eq!(bridges(&east, "web-here").await, ["br-lan", "br-own"]);
    assert!(disk.starts_with(storage.path().to_str().unwrap()), "{disk}");

    let reset = vec![ReplicaSetting::Name, ReplicaSetting::Storage, ReplicaSetting::Networks];
    east.client.edit_replica("web", &EditReplica { reset, ..EditReplica::default() }).await.unwrap();
    let (name, again) = made(&east, &east.client.change_point("web", &latest()).await.unwrap()).await;
    assert_eq!(
        (name.as_str(), bridges(&east, "web").await),
        ("web", vec!["br-lan".to_owned(), "Isolated".to_owned()])
    );
    assert!(!Path::new(&disk).exists() && Path::new(&again).starts_with(east.path("disks")), "{again}");
    assert_eq!(std::fs::read_dir(storage.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_lacks_is_told_when_it_is_set_and_refuses_a_failover_in_time() {
    let (east, _west, peer) = sites().await;
    let mut web = Source::new(1, "web");
    peer.offer_replica(web.id, &offer(&web)).await.unwrap();
    web.write(0, 1);
    web.ship(&peer).await.unwrap();
    east.hypervisor.missing_bridges.lock().unwrap().extend(["vmbr1".to_owned(), "br-t".to_owned()]);
    east.add_guest("taken", vec![0; 4096]).await;
    let edit = |request: EditReplica| {
        let client = &east.client;
        async move { client.edit_replica("web", &request).await }
    };
    let nowhere = EditReplica { storage: Some("/nowhere/at/all".to_owned()), ..EditReplica::default() };
    assert_eq!(code(edit(nowhere).await), Code::Invalid);
    for number in [2, u32::MAX] {
        let networks = vec![connect(number, "br-lan", false)];
        assert_eq!(code(edit(EditReplica { networks, ..EditReplica::default() }).await), Code::Invalid);
    }
    for to in ["", "a/b", "br0,script=/bin/sh"] {
        let networks = vec![connect(0, to, false)];
        assert_eq!(code(edit(EditReplica { networks, ..EditReplica::default() }).await), Code::Invalid);
        let networks = vec![map("vmbr0", to, false)];
        assert_eq!(code(east.client.map_networks("west", &MapNetworks { networks }).await), Code::Invalid);
    }
    for request in [
        EditReplica { cpus: Some(0), ..EditReplica::default() },
        EditReplica { memory_bytes: Some(ByteCount(1)), ..EditReplica::default() },
        EditReplica { name: Some(String::new()), ..EditReplica::default() },
    ] {
        assert_eq!(code(edit(request).await), Code::Invalid);
    }

    let networks = vec![connect(0, "br-t", true)];
    let name = Some("taken".to_owned());
    let view = edit(EditReplica { name, networks, ..EditReplica::default() }).await.unwrap();
    let told = &view.target.problems;
    assert!(told.iter().any(|told| told.contains("there is a VM taken already")), "{told:?}");
    assert!(told.iter().any(|told| told == "there is no bridge vmbr1 on this host"), "{told:?}");
    assert!(told.iter().any(|told| told == "for tests, there is no bridge br-t on this host"), "{told:?}");

    let refused = problem(east.client.test_failover("web", &test(None)).await);
    assert!(refused.detail.contains("br-t"), "{refused:?}");
    let refused = problem(east.client.fail_over("web", &latest()).await);
    assert!(refused.code == Code::Conflict && refused.detail.contains("vmbr1"), "{refused:?}");
    east.hypervisor.missing_bridges.lock().unwrap().clear();
    let refused = problem(east.client.fail_over("web", &latest()).await);
    assert!(refused.detail.contains("taken"), "{refused:?}");
    assert_eq!(code(east.client.plan_failover("web", &latest()).await), Code::Conflict);
    let storage = tempfile::tempdir().unwrap();
    let away = Some(storage.path().display().to_string());
    let reset = vec![ReplicaSetting::Name];
    edit(EditReplica { storage: away, reset, ..EditReplica::default() }).await.unwrap();
    storage.close().unwrap();
    let refused = problem(east.client.fail_over("web", &latest()).await);
    assert!(refused.detail.contains("is no directory"), "{refused:?}");
    assert_eq!(east.client.replica("web").await.unwrap().stage, ReplicaStage::Protected, "nothing was done");
    web.write(0, 2);
    web.ship(&peer).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_whose_vm_did_not_start_goes_on_with_what_was_said_since() {
    let (east, _west, peer) = sites().await;
    let mut web = Source::new(1, "web");
    peer.offer_replica(web.id, &offer(&web)).await.unwrap();
    web.write(0, 1);
    web.ship(&peer).await.unwrap();
    east.hypervisor.hydrations.close();
    east.hypervisor.has_no_room.store(true, Ordering::Relaxed);
    let refused = east.failure(&east.client.fail_over("web", &latest()).await.unwrap()).await;
    assert!(refused.detail.contains("cannot set up guest memory"), "{refused:?}");
    let memory_bytes = Some(ByteCount(256 << 20));
    let networks = vec![connect(1, "isolated", false)];
    let request = EditReplica { memory_bytes, networks, ..EditReplica::default() };
    east.client.edit_replica("web", &request).await.unwrap();
    east.hypervisor.has_no_room.store(false, Ordering::Relaxed);
    made(&east, &east.client.fail_over("web", &latest()).await.unwrap()).await;
    let memory_bytes = east.client.vm("web").await.unwrap().memory_bytes;
    assert_eq!(
        (memory_bytes, bridges(&east, "web").await),
        (ByteCount(256 << 20), vec!["vmbr0".to_owned(), "Isolated".to_owned()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_go_with_the_replica() {
    let (east, _west, peer) = sites().await;
    let web = Source::new(1, "web");
    peer.offer_replica(web.id, &offer(&web)).await.unwrap();
    let request = EditReplica { cpus: Some(3), ..EditReplica::default() };
    assert_eq!(east.client.edit_replica("web", &request).await.unwrap().target.cpus, 3);
    east.client.delete_replica("web", false).await.unwrap();
    peer.offer_replica(web.id, &offer(&web)).await.unwrap();
    assert_eq!(east.client.replica("web").await.unwrap().target.cpus, 1);
}

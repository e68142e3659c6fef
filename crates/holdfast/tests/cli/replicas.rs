//! What the VMs of replicas are to be here: what is asked for, and how it looks.

use api::{Code, Problem, ReplicaView};
use model::{JournalId, VmId};
use serde_json::json;

use crate::{
    program::run,
    scripted::{Answer, ScriptedSite},
};

/// A replica whose VM is to be connected otherwise here, to a bridge that is missing.
fn replica() -> ReplicaView {
    let network = json!({
        "number": 0, "mac": "52:54:00:00:00:01", "at_source": "vmbr0", "connected_to": "br-lan",
        "connected_from": "set", "test_connected_to": "isolated", "test_connected_from": "default",
    });
    let target = json!({
        "name": "web-1", "name_from": "source", "cpus": 2, "cpus_from": "set", "memory_bytes": 2_u64 << 30,
        "memory_from": "source", "storage": "/srv/fast", "storage_from": "set", "networks": [network],
        "problems": ["there is no bridge br-lan on this host"],
    });
    serde_json::from_value(json!({
        "journal_id": JournalId::from_random([1; 10]), "vm_id": VmId::from_random([1; 10]), "vm_name": "web-1", "site": "east",
        "stage": "protected", "state": "receiving", "reason": null, "generation": 1, "rpo_seconds": 1,
        "newest_at": null, "reaches_back_to": null, "not_whole_since": null, "size_bytes": 1, "retention_seconds": 60,
        "retention_is_set": false, "disks": [], "target": target, "failover": null, "tests": [],
    }))
    .unwrap()
}

#[test]
fn settings_are_asked_for_as_they_were_written_and_what_is_lacking_is_said() {
    let site = ScriptedSite::new(|_| Answer::ok(&replica()));
    let run = run(
        site.directory(),
        &[
            "replica",
            "edit",
            "web-1",
            "--name",
            "here",
            "--cpus",
            "2",
            "--memory",
            "2GiB",
            "--storage",
            "/srv/fast",
            "--network",
            "0=br-lan",
            "--network",
            "1=",
            "--test-network",
            "0=isolated",
            "--reset",
            "name,test-networks",
        ],
    );
    assert_eq!(run.exit, Some(0), "{}", run.stderr);
    let expected = json!({
        "name": "here", "cpus": 2, "memory_bytes": 2_u64 << 30, "storage": "/srv/fast",
        "networks": [
            {"number": 0, "to": "br-lan", "is_test": false},
            {"number": 1, "to": null, "is_test": false},
            {"number": 0, "to": "isolated", "is_test": true},
        ],
        "reset": ["name", "test_networks"],
    });
    assert_eq!(site.body("PATCH /v1/replicas/web-1"), expected);
    assert!(run.stderr.contains("there is no bridge br-lan on this host"), "{}", run.stderr);
    for words in ["br-lan", "set here", "/srv/fast", "network 0 in tests", "A failover would be refused"] {
        assert!(run.stdout.contains(words), "{words}: {}", run.stdout);
    }
}

/// An answer that ends the command where only what it asked for matters.
fn gone() -> Answer {
    Answer::problem(&Problem::new(Code::NotFound, "gone"))
}

#[test]
fn a_network_map_and_a_backup_of_a_replica_are_asked_for_as_they_were_written() {
    let site = ScriptedSite::new(|_| gone());
    run(
        site.directory(),
        &["site", "map-network", "east", "vmbr0=br-lan", "vmbr1=", "--test", "vmbr0=isolated"],
    );
    let expected = json!({"networks": [
        {"theirs": "vmbr0", "ours": "br-lan", "is_test": false},
        {"theirs": "vmbr1", "ours": null, "is_test": false},
        {"theirs": "vmbr0", "ours": "isolated", "is_test": true},
    ]});
    assert_eq!(site.body("PATCH /v1/sites/east/networks"), expected);
    let moment = "replica:web-1/2026-03-01T14:05:07Z";
    run(site.directory(), &["backup", moment, "--vault", "main", "--label", "month"]);
    let expected = json!({"point": "2026-03-01T14:05:07Z", "vault": "main", "label": "month"});
    assert_eq!(site.body("POST /v1/replicas/web-1/backups"), expected);
}

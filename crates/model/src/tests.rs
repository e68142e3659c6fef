use proptest::prelude::*;

use crate::{
    ByteCount, Consistency, DiskBus, Firmware, ImageReference, MomentSelector, NameError, PointId,
    PointReference, PointSelector, ReplicaReference, SnapshotReference, SnapshotState, Timestamp, VaultName,
    VmDefinition, VmName,
};

#[test]
fn sizes_read_as_people_write_them() {
    for (text, bytes) in
        [("0", 0), ("512", 512), ("64k", 65_536), ("1.5 KiB", 1_536), ("20G", 20 << 30), ("2TiB", 2 << 40)]
    {
        assert_eq!(text.parse(), Ok(ByteCount(bytes)), "{text}");
    }
    for text in ["", "G", "-1", "1.2.3K", "7 apples", "99999999EiB", "1e400"] {
        assert!(text.parse::<ByteCount>().is_err(), "{text}");
    }
}

#[test]
fn sizes_are_shown_with_three_digits() {
    for (bytes, text) in
        [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (10 << 20, "10.0 MiB"), (u64::MAX, "16.0 EiB")]
    {
        assert_eq!(ByteCount(bytes).to_string(), text);
    }
}

#[test]
fn any_name_a_person_would_give_a_vm_is_a_name() {
    for name in
        ["web-1", "a b", "it's \"mine\"", "a/b\\c", "서울 데이터베이스", &"한".repeat(300), "🦀", "..", "%2F"]
    {
        assert!(name.parse::<VmName>().is_ok(), "{name}");
    }
    assert_eq!("".parse::<VmName>(), Err(NameError::Empty));
    assert_eq!("a\nb".parse::<VmName>(), Err(NameError::ControlCharacter));
    for unseen in ['\u{200B}', '\u{200F}', '\u{202A}', '\u{202E}', '\u{2060}', '\u{2069}', '\u{FEFF}'] {
        let name = format!("a{unseen}b");
        assert_eq!(name.parse::<VmName>(), Err(NameError::ControlCharacter), "{unseen:?}");
    }
    assert_eq!(" a".parse::<VmName>(), Err(NameError::OuterSpace));
    assert_eq!("a/b".parse::<VaultName>(), Err(NameError::Character('/')));
}

#[test]
fn a_definition_in_toml_needs_little() {
    let text = r#"{"name":"db","memory":"2GiB","disk":[{"name":"root","path":"/x.qcow2"},{"name":"data","path":"/y","bus":"scsi"}],"network":[{}]}"#;
    let definition: VmDefinition = serde_json::from_str(text).unwrap();
    assert_eq!(definition.memory, ByteCount(2 << 30));
    assert_eq!(definition.firmware, Firmware::Bios);
    assert_eq!(definition.disks[1].bus, DiskBus::Scsi);
    assert_eq!(
        serde_json::from_str::<VmDefinition>(&serde_json::to_string(&definition).unwrap()).unwrap(),
        definition
    );
    assert!(serde_json::from_str::<VmDefinition>(r#"{"name":"db","memory":1,"disc":[]}"#).is_err());
}

#[test]
fn stronger_consistency_is_greater() {
    assert!(
        Consistency::Application > Consistency::FileSystem && Consistency::FileSystem > Consistency::Crash
    );
}

#[test]
fn references_select_points_in_four_ways() {
    let select = |text: &str| text.parse::<PointReference>().map(|reference| reference.point);
    assert_eq!(select("point:web-1/latest"), Ok(PointSelector::Latest));
    assert_eq!(select("point:web-1/7k3m"), Ok(PointSelector::IdPrefix("7k3m".into())));
    let moment: Timestamp = "2026-03-01T14:05:00Z".parse().unwrap();
    assert_eq!(select("point:web-1/2026-03-01T14:05:00Z/vroot"), Ok(PointSelector::At(moment)));
    for text in ["web-1/latest", "point:", "point:web-1", "point:/latest", "point:a/b/c/d", "point:a/B%"] {
        assert!(select(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn ids_survive_text(random: [u8; 10]) {
        let id = PointId::from_random(random);
        prop_assert_eq!(id.to_string().parse::<PointId>(), Ok(id));
    }

    #[test]
    fn different_randomness_gives_different_ids(a: [u8; 10], b: [u8; 10]) {
        prop_assert_eq!(a == b, PointId::from_random(a) == PointId::from_random(b));
    }

    #[test]
    fn references_survive_text(vm in "[^\\p{Cc}]{1,40}", disk in proptest::option::of("[a-z/%]{1,9}")) {
        let reference = PointReference { vm, point: PointSelector::Latest, disk: disk.map(|name| name.parse().unwrap()) };
        prop_assert_eq!(reference.to_string().parse::<PointReference>(), Ok(reference));
    }

    #[test]
    fn sizes_survive_as_numbers(bytes: u64) {
        prop_assert_eq!(bytes.to_string().parse(), Ok(ByteCount(bytes)));
    }
}

#[test]
fn references_to_snapshots_name_all_of_it_or_a_disk() {
    let read = |text: &str| text.parse::<ImageReference>();
    let of = |disk: Option<&str>| {
        let disk = disk.map(|disk| disk.parse().unwrap());
        ImageReference::Snapshot(SnapshotReference { snapshot: "monday".to_owned(), disk })
    };
    assert_eq!(read("snapshot:monday"), Ok(of(None)));
    assert_eq!(read("snapshot:monday/a%2Fb"), Ok(of(Some("a/b"))));
    for reference in [of(None), of(Some("a/b%"))] {
        assert_eq!(read(&reference.to_string()), Ok(reference));
    }
    for text in ["snapshot:", "snapshot:/vda", "snapshot:monday/", "snapshot:monday/a/b", "monday"] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains("snapshot:<name>[/<disk>]"), "{error}");
    }
}

#[test]
fn a_snapshot_ends_as_deleted_or_failed_and_only_the_deleted_come_back() {
    use SnapshotState::{Copying, Deleted, Failed, Ready, Waiting};
    for (from, to) in [
        (Waiting, vec![Copying, Ready, Failed]),
        (Copying, vec![Ready, Failed]),
        (Ready, vec![Deleted]),
        (Deleted, vec![Ready]),
        (Failed, vec![]),
    ] {
        let may: Vec<_> = SnapshotState::ALL.into_iter().filter(|next| from.may_become(*next)).collect();
        assert_eq!(may, to, "from {from}");
        assert_eq!(from.to_string().parse(), Ok(from));
    }
}

#[test]
fn references_to_replicas_name_a_moment_or_mean_the_newest() {
    let read = |text: &str| text.parse::<ReplicaReference>();
    let of = |moment, disk: Option<&str>| ReplicaReference {
        vm: "web-1".to_owned(),
        moment,
        disk: disk.map(|disk| disk.parse().unwrap()),
    };
    let shared = |moment| MomentSelector::Shared { group: "shop".to_owned(), moment: Box::new(moment) };
    let time = "2026-03-01T14:05:07Z".parse().unwrap();
    assert_eq!(read("replica:web-1"), Ok(of(MomentSelector::Latest, None)));
    for (text, moment, disk) in [
        ("replica:web-1/latest-application", MomentSelector::LatestApplication, None),
        ("replica:web-1/2026-03-01T14:05:07Z/vda", MomentSelector::At(time), Some("vda")),
        ("replica:web-1/#17/vda", MomentSelector::Sequence(17), Some("vda")),
        ("replica:web-1/before%2Fafter", MomentSelector::Checkpoint("before/after".to_owned()), None),
        ("replica:web-1/@shop", shared(MomentSelector::Latest), None),
        ("replica:web-1/@shop#17/vda", shared(MomentSelector::Sequence(17)), Some("vda")),
        ("replica:web-1/@shop:latest-application", shared(MomentSelector::LatestApplication), None),
        ("replica:web-1/@shop:2026-03-01T14:05:07Z", shared(MomentSelector::At(time)), None),
        ("replica:web-1/@shop:payday", shared(MomentSelector::Checkpoint("payday".to_owned())), None),
    ] {
        let reference = of(moment, disk);
        assert_eq!(read(text).as_ref(), Ok(&reference), "{text}");
        assert_eq!(read(&reference.to_string()), Ok(reference));
    }
    let is_newest = |moment: &str| moment.parse::<MomentSelector>().unwrap().is_newest();
    assert!(["latest", "latest-application", "@shop", "@shop:latest-application"].into_iter().all(is_newest));
    assert!(!["payday", "#17", "@shop#17", "@shop:payday"].into_iter().any(is_newest));
    for text in [
        "replica:",
        "replica:/latest",
        "replica:web-1/",
        "replica:web-1/#x",
        "replica:web-1/latest/a/b",
        "replica:web-1/@",
        "replica:web-1/@shop:",
        "replica:web-1/@shop#x",
        "replica:web-1/@shop:@shop",
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains("replica:<vm>"), "{error}");
    }
}

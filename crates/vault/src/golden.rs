//! Frozen bytes of every format: what was written once must be read for ever, and is still written the same.
//!
//! The files under `golden/` are never rewritten. A format changes by getting a new version and new files beside them.

use std::{fs, path::PathBuf};

use env::Env;
use model::{PointId, Timestamp, VaultId, VaultSettings};

use crate::{
    ChunkId, Config, Digest, Identity, KeptKey, KeyFile, MasterKey, Monitor, NewKey, NewSlot, Passphrase,
    Recipient, Retentions, StoreLocation, Unlock, Vault, WriterKey,
    fixture::{MIB, back_up, changed_source, key_file, noise, point, restored, source},
    frame::{CompressedFrame, Encoding, FrameKind},
    index::Segment,
    keys::{Keys, open_slot, slot::Slot},
    log::{Change, Entry, Moment, NewPoint, Sequence, State, entry::Collection},
    pack::{self, OpenPack, PackBuilder},
    point::{decode, encode},
    pool::BufferPool,
    tree::{ChunkRef, InnerNode, Leaf},
};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

fn golden(name: &str) -> Vec<u8> {
    fs::read(path(name)).unwrap_or_else(|error| panic!("golden file {name}: {error}"))
}

fn master() -> MasterKey {
    MasterKey::from_bytes(std::array::from_fn(|place| place as u8))
}

fn vault_id() -> VaultId {
    VaultId::from_random([5; 10])
}

fn keys() -> Keys {
    Keys::full(master(), vault_id())
}

fn id(number: u8) -> ChunkId {
    ChunkId([number; 32])
}

fn config() -> Config {
    Config::new(vault_id(), Timestamp::from_microseconds(1_767_225_600_000_000), keys().reader_key())
}

fn new_slot(key: NewKey) -> NewSlot {
    NewSlot { key, label: "금고, printed kit".parse().unwrap() }
}

fn slot(key: NewKey) -> Slot {
    Slot::wrap(&keys(), &new_slot(key), &Env::seeded(3)).unwrap()
}

fn identity() -> Identity {
    Identity::from_bytes([0x42; 32])
}

/// As it is typed from paper.
fn printed_key_file() -> String {
    let (prefix, groups, check) = key_file().to_print();
    format!("{prefix}\n{}\n{check}\n", groups.join("\n"))
}

fn passphrase() -> Passphrase {
    Passphrase::new("correct horse battery staple")
}

fn leaf() -> Leaf {
    let chunk = |number: u8| ChunkRef {
        offset_bytes: u32::from(number) * (1 << 20),
        length_bytes: u32::from(number) * 4096,
        id: id(number),
    };
    Leaf { chunks: (1..4).map(chunk).collect() }
}

fn node() -> InnerNode {
    let mut node = InnerNode::new(2);
    for place in [0, 7, 63] {
        node.children[place] = Some(id(place as u8));
    }
    node
}

/// A pack with a raw frame; compressed ones are in the whole vault, for zstd may come to compress better.
fn pack_builder(kind: FrameKind) -> PackBuilder {
    let buffers = BufferPool::of_capacity(0);
    let mut builder = PackBuilder::new(&keys(), kind, [9; 32], buffers.take()).unwrap();
    let mut bytes = buffers.take_empty();
    bytes.extend(noise(1, 3000));
    let chunks = vec![(id(1), 1000), (id(2), 2000)];
    builder.push(CompressedFrame { kind, encoding: Encoding::Raw, bytes, raw_bytes: 3000, chunks });
    builder
}

fn segment() -> Segment {
    let pack = pack_builder(FrameKind::Data).finish();
    let mut segment = Segment::default();
    segment.add_pack(Digest::of(&pack.bytes), pack.salt, &pack.frames);
    segment.sort();
    segment
}

fn recovery_point() -> crate::PointRecord {
    point(
        1,
        &crate::StoredDisk {
            map: crate::DiskMap { size_bytes: 10 << 20, root: Some(id(4)) },
            read_bytes: 5 << 20,
            stored_bytes: 2 << 20,
            new_chunks: 0,
        },
    )
}

fn at(second: i64) -> Moment {
    let local = Timestamp::from_microseconds(1_767_225_600_000_000 + second * 1_000_000);
    Moment { local, store: Some(Timestamp::from_microseconds(local.as_microseconds() - 1)) }
}

/// The second entry of a log: a commit.
fn entry() -> Entry {
    let summary = recovery_point().summary;
    let point = NewPoint {
        id: summary.id,
        object: Digest([1; 32]),
        vm_id: summary.vm_id,
        captured_at: summary.captured_at,
        roots: vec![id(4)],
    };
    let change = Change::Commit { point, segments: vec![Digest([2; 32])], settled: Vec::new() };
    Entry { sequence: Sequence(2), previous: Digest([3; 32]), at: at(2), change }
}

/// The state after a commit, a deletion, a loose segment and a collection.
fn state() -> State {
    let point = recovery_point().summary.id;
    let Change::Commit { point: new_point, segments, settled } = entry().change else { unreachable!() };
    let kept = NewPoint { id: PointId::from_random([2; 10]), ..new_point.clone() };
    let changes = [
        Change::Settings(VaultSettings::default()),
        Change::Commit { point: new_point, segments, settled },
        Change::Commit { point: kept, segments: Vec::new(), settled: Vec::new() },
        Change::Hold { points: vec![PointId::from_random([2; 10])], reason: "case 12".into() },
        Change::Delete { points: vec![point] },
        Change::Index { segments: vec![Digest([6; 32])] },
        Change::Collect(Collection { packs: vec![Digest([7; 32])], ..Collection::default() }),
    ];
    let mut state = State::empty();
    for (number, change) in changes.into_iter().enumerate() {
        let sequence = Sequence(number as u64 + 1);
        let entry = Entry { sequence, previous: state.head, at: at(number as i64), change };
        state.apply(&entry, Digest([number as u8; 32])).unwrap();
    }
    state
}

/// Every golden file, as it is written today.
fn written_today() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("config-v1.bin", config().encode(&keys())),
        ("key-slot-passphrase-v1.bin", slot(NewKey::Passphrase(passphrase())).encode()),
        ("key-slot-key-file-v1.bin", slot(NewKey::KeyFile(key_file())).encode()),
        ("key-slot-recipient-v1.bin", slot(NewKey::Recipient(identity().recipient())).encode()),
        ("key-file-v1.txt", key_file().to_text().into_bytes()),
        ("key-file-printed-v1.txt", printed_key_file().into_bytes()),
        ("identity-v1.txt", identity().to_text().into_bytes()),
        ("recipient-v1.txt", format!("{}\n", identity().recipient()).into_bytes()),
        ("master-key-v1.txt", KeptKey::Master(master()).to_text().into_bytes()),
        ("writer-key-v1.txt", KeptKey::Writer(keys().writer().clone()).to_text().into_bytes()),
        ("pack-v1.bin", pack_builder(FrameKind::Data).finish().bytes.to_vec()),
        ("pack-tree-v1.bin", pack_builder(FrameKind::Tree).finish().bytes.to_vec()),
        ("pack-directory-v1.bin", pack::encode_directory(&pack_builder(FrameKind::Data).finish().frames)),
        ("index-segment-v1.bin", segment().encode(&keys(), [8; 32])),
        ("index-segment-body-v1.bin", segment().encode_body()),
        ("tree-leaf-v1.bin", leaf().encode()),
        ("tree-node-v1.bin", node().encode()),
        ("point-v1.bin", encode(&recovery_point(), &keys(), [6; 32]).unwrap()),
        ("point-body-v1.json", crate::point::encode_body(&recovery_point()).unwrap()),
        ("log-entry-v1.bin", entry().encode(&keys(), [5; 32]).unwrap()),
        ("log-entry-body-v1.json", entry().encode_body()),
        ("log-state-v1.bin", state().encode(&keys(), [4; 32]).unwrap()),
        ("log-state-body-v1.json", state().encode_body()),
        ("retentions-v1.bin", Retentions::example().encode()),
    ]
}

#[test]
fn every_format_is_written_as_ever() {
    for (name, bytes) in written_today() {
        assert!(bytes == golden(name), "{name} has changed: give the format a new version");
    }
}

#[test]
fn every_format_is_read_as_ever() {
    let (found, proof) = Config::decode(&golden("config-v1.bin")).unwrap();
    assert_eq!((&found, proof), (&config(), keys().config_proof(&config())));
    for (name, unlock) in [
        ("key-slot-passphrase-v1.bin", Unlock::Passphrase(passphrase())),
        ("key-slot-key-file-v1.bin", Unlock::KeyFile(key_file())),
        ("key-slot-recipient-v1.bin", Unlock::Identity(identity())),
    ] {
        let slot = Slot::decode(&golden(name)).unwrap();
        assert_eq!(slot.open_label(&keys()).unwrap().as_str(), "금고, printed kit", "{name}");
        let opened = open_slot(&[slot], &unlock, &found, &proof).unwrap();
        assert!(opened.unwrap().master().unwrap() == &master(), "{name}");
    }
    for (name, kind) in [("pack-v1.bin", FrameKind::Data), ("pack-tree-v1.bin", FrameKind::Tree)] {
        let bytes = golden(name);
        let pack = OpenPack::parse(&bytes, &keys()).unwrap();
        assert_eq!(pack.frames[0].0, pack_builder(kind).finish().frames[0]);
    }
    assert_eq!(Segment::decode(&keys(), &golden("index-segment-v1.bin")).unwrap(), segment());
    assert_eq!(Leaf::decode(&golden("tree-leaf-v1.bin")).unwrap(), leaf());
    assert_eq!(InnerNode::decode(&golden("tree-node-v1.bin")).unwrap(), node());
    assert_eq!(decode(&golden("point-v1.bin"), &keys()).unwrap(), recovery_point());
    assert_eq!(Entry::decode(Sequence(2), &golden("log-entry-v1.bin"), &keys()).unwrap(), entry());
    assert_eq!(State::decode(Sequence(7), &golden("log-state-v1.bin"), &keys()).unwrap(), state());
    assert_eq!(Retentions::decode(&golden("retentions-v1.bin")).unwrap(), Retentions::example());
}

#[test]
fn every_text_is_read_as_ever() {
    let text = |name| String::from_utf8(golden(name)).unwrap();
    assert!(text("key-file-v1.txt").parse::<KeyFile>().unwrap() == key_file());
    assert!(text("key-file-printed-v1.txt").parse::<KeyFile>().unwrap() == key_file());
    assert!(text("identity-v1.txt").parse::<Identity>().unwrap() == identity());
    assert_eq!(text("recipient-v1.txt").parse::<Recipient>().unwrap(), identity().recipient());
    assert_eq!(text("master-key-v1.txt").parse::<KeptKey>().unwrap(), KeptKey::Master(master()));
    assert!(text("writer-key-v1.txt").parse::<WriterKey>().unwrap() == *keys().writer());
}

/// The disk in the golden vault's two points.
fn disk(changed: bool) -> Vec<u8> {
    let mut bytes = vec![0; 6 * MIB];
    bytes[..40_960].copy_from_slice(&noise(1, 40_960));
    bytes[5 * MIB..5 * MIB + 300_000].fill(b'x');
    if changed {
        bytes[5 * MIB..5 * MIB + 4096].fill(b'y');
    }
    bytes
}

#[tokio::test]
async fn a_whole_vault_is_read_as_ever() {
    let location = StoreLocation::parse(path("vault-v1").to_str().unwrap()).unwrap();
    for unlock in
        [Unlock::KeyFile(key_file()), Unlock::Passphrase(passphrase()), Unlock::Identity(identity())]
    {
        let vault = Vault::open(&location, &unlock, Env::seeded(1)).await.unwrap();
        let points = vault.points().await.unwrap().points;
        assert!(restored(&vault, &points[0].maps[0]).await.unwrap() == disk(false));
        assert!(restored(&vault, &points[1].maps[0]).await.unwrap() == disk(true));
        assert!(vault.verify(&Monitor::default()).await.unwrap().is_clean());
    }
}

/// `UPDATE_GOLDEN=1 cargo test -p vault --lib golden` writes those that do not exist yet.
#[tokio::test]
async fn no_golden_file_is_missing() {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        write_missing().await;
    }
    let mut names = written_today().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    names.push("vault-v1");
    names.retain(|name| !path(name).exists());
    assert!(names.is_empty(), "missing: {names:?}; UPDATE_GOLDEN=1 writes them");
}

async fn write_missing() {
    for (name, bytes) in written_today() {
        if !path(name).exists() {
            fs::write(path(name), bytes).unwrap();
        }
    }
    if !path("vault-v1").exists() {
        let location = StoreLocation::parse(path("vault-v1").to_str().unwrap()).unwrap();
        let slots = [
            NewKey::KeyFile(key_file()),
            NewKey::Passphrase(passphrase()),
            NewKey::Recipient(identity().recipient()),
        ];
        let slots = slots.map(new_slot);
        let vault = Vault::create(&location, &slots, Env::seeded(4)).await.unwrap();
        let first = back_up(&vault, 1, source(&disk(false))).await.unwrap();
        let change = vec![image::ByteRange::new(5 * MIB as u64, 4096)];
        back_up(&vault, 2, changed_source(&disk(true), first.map, change)).await.unwrap();
        fs::remove_file(path("vault-v1/reserve")).unwrap();
    }
}

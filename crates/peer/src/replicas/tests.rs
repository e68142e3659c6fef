use bytes::Bytes;
use journal::{Part, PartContent, Position, SegmentNumber, Sequence};

use super::*;
use crate::ErrorKind;

fn parts() -> Vec<Part> {
    let at = |offset_bytes| Position { segment: SegmentNumber(7), offset_bytes };
    vec![
        Part { position: at(0), content: PartContent::Header(Bytes::from_static(b"header")) },
        Part { position: at(6), content: PartContent::Block(Bytes::from(vec![5; 3000])) },
        Part { position: at(3006), content: PartContent::Seal([9; 32]) },
    ]
}

#[test]
fn parts_come_back_as_they_were() {
    let body = encode(&parts()).unwrap();
    assert_eq!(decode(&body).unwrap(), parts());
    assert_eq!(decode(&encode(&[]).unwrap()).unwrap(), []);
}

#[test]
fn a_changed_byte_and_a_lost_one_are_found() {
    let body = encode(&parts()).unwrap();
    for place in [0, 4, 8, 30, 100, body.len() - 1] {
        let mut changed = body.to_vec();
        changed[place] ^= 1;
        assert!(decode(&changed.into()).is_err(), "byte {place}");
    }
    for length in 0..body.len() {
        assert!(decode(&body.slice(..length)).is_err(), "{length} bytes");
    }
}

#[test]
fn a_hostile_body_takes_no_memory() {
    let sealed = |mut body: Vec<u8>| {
        let digest = crate::Digest::of(&body);
        body.extend(digest.0);
        Bytes::from(body)
    };
    let endless = [b"HFJP".as_slice(), &[1, 0, 0, 0], &u32::MAX.to_le_bytes()].concat();
    assert_eq!(decode(&sealed(endless)).unwrap_err().kind(), ErrorKind::Invalid);
    let mut long = [b"HFJP".as_slice(), &[1, 0, 0, 0], &1u32.to_le_bytes(), &[0; 16], &[2, 0, 0, 0]].concat();
    long.extend(u32::MAX.to_le_bytes());
    assert_eq!(decode(&sealed(long)).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn more_than_a_request_holds_is_refused() {
    let block = Part {
        content: PartContent::Block(Bytes::from(vec![0; PARTS_BODY_MAX_BYTES])),
        ..parts()[1].clone()
    };
    assert_eq!(encode(&[block]).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn progress_is_plain_json() {
    let progress = ReplicaProgress {
        wanted: Position { segment: SegmentNumber(3), offset_bytes: 99 },
        durable_through: Sequence(1000),
        generation: Generation(2),
        newest_time: None,
        reaches_back_to: None,
        size_bytes: 5,
        retention_seconds: 86_400,
    };
    let json = serde_json::to_value(progress).unwrap();
    assert_eq!(json["wanted"], serde_json::json!({"segment": 3, "offset_bytes": 99}));
    assert_eq!((json["durable_through"].as_u64(), json["generation"].as_u64()), (Some(1000), Some(2)));
    assert_eq!(serde_json::from_value::<ReplicaProgress>(json).unwrap(), progress);
}

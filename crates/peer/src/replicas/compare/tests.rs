use image::MemoryImage;

use super::*;

const MIB: usize = 1 << 20;

fn ask() -> Compare {
    Compare {
        disk: DiskNumber(0),
        through: Sequence(7),
        offset_bytes: 0,
        length_bytes: 2 * MIB as u64,
        piece_bytes: PIECE_MAX_BYTES,
    }
}

#[tokio::test]
async fn each_piece_has_its_digest_and_zeros_have_none() {
    let mut bytes = vec![0; 3 * MIB + 512];
    bytes[MIB + 17] = 1;
    bytes[3 * MIB..].fill(9);
    let image = MemoryImage::new(bytes.clone());
    let all = ByteRange::new(0, bytes.len() as u64);
    let digests = piece_digests(&image, all, PIECE_MAX_BYTES).await.unwrap();
    let expected = bytes.chunks(MIB).map(piece_digest).collect::<Vec<_>>();
    assert_eq!(digests, expected);
    assert_eq!(digests.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false, true]);
    let part = ByteRange::new(MIB as u64, 8192);
    let fine = piece_digests(&image, part, PIECE_MIN_BYTES).await.unwrap();
    assert_eq!(fine, [piece_digest(&bytes[MIB..MIB + 4096]), None]);
}

#[test]
fn nobody_is_asked_for_too_much() {
    ask().check().unwrap();
    let refused = [
        Compare { piece_bytes: 0, ..ask() },
        Compare { piece_bytes: 5000, ..ask() },
        Compare { piece_bytes: 2 * PIECE_MAX_BYTES, ..ask() },
        Compare { length_bytes: COMPARED_MAX_BYTES + 1, ..ask() },
        Compare { length_bytes: COMPARED_MAX_BYTES, piece_bytes: PIECE_MIN_BYTES, ..ask() },
        Compare { offset_bytes: u64::MAX, ..ask() },
    ];
    for compare in refused {
        assert_eq!(compare.check().unwrap_err().kind(), crate::ErrorKind::Invalid, "{compare:?}");
    }
}

#[test]
fn what_is_compared_is_plain_json() {
    let json = serde_json::to_value(ask()).unwrap();
    assert_eq!((json["disk"].as_u64(), json["through"].as_u64()), (Some(0), Some(7)));
    assert_eq!(serde_json::from_value::<Compare>(json).unwrap(), ask());
    let compared = Compared { digests: vec![None, Some(Digest::of(b"x"))] };
    let json = serde_json::to_value(&compared).unwrap();
    assert!(json["digests"][0].is_null() && json["digests"][1].is_string());
    assert_eq!(serde_json::from_value::<Compared>(json).unwrap(), compared);
    let prepared: Prepared = serde_json::from_str(r#"{"is_ready": true}"#).unwrap();
    assert!(prepared.is_ready && prepared.fresh.is_empty());
}

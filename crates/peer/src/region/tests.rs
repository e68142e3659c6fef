use super::{REGION_BODY_MAX_BYTES, RegionChange};
use crate::{ErrorKind, transfer::REGION_SIZE_BYTES};

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    env::Entropy::fill(&env::SeededEntropy::new(seed), &mut bytes);
    bytes
}

#[test]
fn a_region_sent_whole_leaves_zeros_out() {
    let mut region = vec![0; 64 << 10];
    region[8192..12288].copy_from_slice(&noise(4096, 1));
    region[60_000] = 1;
    let whole = 0..region.len();
    let change = RegionChange::new(&region, std::slice::from_ref(&whole), true);
    let bytes = change.encode();
    assert!(bytes.len() < 3 * 4096, "{} bytes for two blocks", bytes.len());
    let arrived = RegionChange::decode(&bytes).unwrap();
    assert_eq!(arrived, change);
    let mut there = vec![0; region.len()];
    arrived.apply(&mut there).unwrap();
    assert!(there == region);
}

#[test]
fn changes_carry_zeros_too_and_nothing_beside_them() {
    let base = noise(64 << 10, 2);
    let mut region = base.clone();
    region[512..1024].fill(7);
    region[16384..32768].fill(0);
    let change = RegionChange::new(&region, &[512..1024, 16384..32768], false);
    let arrived = RegionChange::decode(&change.encode()).unwrap();
    let mut there = base.clone();
    arrived.apply(&mut there).unwrap();
    assert!(there == region);
    assert!(change.encode().len() < 1024, "16 KiB of zeros are a few bytes");
    let mut other_base = base;
    other_base[0] ^= 1;
    assert_eq!(arrived.apply(&mut other_base).unwrap_err().kind(), ErrorKind::Damaged);
    assert_eq!(arrived.apply(&mut [0; 4096]).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn the_longest_region_is_within_the_limit() {
    let region = noise(REGION_SIZE_BYTES as usize, 3);
    let every_other: Vec<_> = (0..region.len()).step_by(1024).map(|start| start..start + 512).collect();
    assert!(RegionChange::new(&region, &every_other, false).encode().len() <= REGION_BODY_MAX_BYTES);
    let whole = 0..region.len();
    let bytes = RegionChange::new(&region, std::slice::from_ref(&whole), true).encode();
    assert!(bytes.len() <= REGION_BODY_MAX_BYTES);
}

#[test]
fn what_is_cut_or_of_another_version_is_refused() {
    let region = noise(8192, 4);
    let whole = 0..region.len();
    let bytes = RegionChange::new(&region, std::slice::from_ref(&whole), true).encode();
    for length in 0..bytes.len() {
        assert!(RegionChange::decode(&bytes[..length]).is_err(), "cut at {length}");
    }
    let mut newer = bytes;
    newer[4] = 2;
    assert_eq!(RegionChange::decode(&newer).unwrap_err().kind(), ErrorKind::Version);
}

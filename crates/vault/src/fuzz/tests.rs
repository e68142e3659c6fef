use env::{Entropy, SeededEntropy, random};

use crate::golden::golden;

type Decoder = fn(&[u8]) -> bool;

/// Every decoder, and bytes that it accepts.
const DECODERS: [(&str, Decoder); 11] = [
    ("pack-directory-v1.bin", super::pack_directory),
    ("index-segment-body-v1.bin", super::index_segment),
    ("tree-leaf-v1.bin", super::tree_leaf),
    ("tree-node-v1.bin", super::tree_node),
    ("config-v1.bin", super::config),
    ("key-slot-passphrase-v1.bin", super::key_slot),
    ("key-slot-key-file-v1.bin", super::key_slot),
    ("key-file-v1.txt", super::key_file),
    ("point-body-v1.json", super::point),
    ("log-entry-body-v1.json", super::log_entry),
    ("log-state-body-v1.json", super::log_state),
];

/// One to four mutations: bits flipped, numbers set to extremes, bytes cut out, doubled or appended.
fn mutate(bytes: &[u8], entropy: &dyn Entropy) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random::<1>(entropy)[0] % 4 {
        let [kind, value, a, b] = random(entropy);
        let place = usize::from(u16::from_le_bytes([a, b])) % bytes.len().max(1);
        let end = (place + usize::from(value % 16)).min(bytes.len());
        match kind % 6 {
            0 if place < bytes.len() => bytes[place] ^= 1 << (value % 8),
            1 => bytes[place..end].fill(0xff),
            2 => bytes[place..end].fill(0),
            3 => drop(bytes.drain(place..end)),
            4 => bytes.truncate(place),
            _ => bytes.extend_from_within(place..end),
        }
    }
    bytes
}

#[test]
fn no_decoder_stumbles_over_mutated_bytes() {
    let entropy = SeededEntropy::new(2026);
    for (name, decode) in DECODERS {
        let bytes = golden(name);
        assert!(decode(&bytes), "{name} itself is good");
        let accepted = (0..4000).filter(|_| decode(&mutate(&bytes, &entropy))).count();
        assert!(accepted < 4000, "{name} accepts anything");
    }
}

#[test]
fn frames_and_trailers_survive_any_bytes() {
    let entropy = SeededEntropy::new(7);
    let frame = zstd::bulk::compress(&vec![b'x'; 3 << 20], 1).unwrap();
    for _ in 0..500 {
        super::frame(&mutate(&frame, &entropy));
        super::pack_trailer(&mutate(&golden("pack-v1.bin"), &entropy));
    }
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
    assert!(!super::frame(&bomb), "a frame of 64 MiB is refused");
}

//! Mutations: bits flipped, numbers set to extremes, bytes cut out, doubled, moved in from other inputs, and words of JSON.

use env::{Entropy, SeededEntropy, random};

/// Numbers at which decoders stumble, as far as their bytes fit.
const NUMBERS: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    i64::MAX.cast_unsigned(),
    1 << 63,
    u64::MAX,
];

/// Pieces of text at which parsers stumble.
const WORDS: [&str; 16] = [
    "null",
    "true",
    "-1",
    "0",
    "1e999",
    "18446744073709551616",
    "9223372036854775807",
    "\"\"",
    "\"\\ud800\"",
    "[",
    "[]",
    "{",
    "{}",
    ",",
    ":",
    "\u{feff}",
];

/// Dice that follow from a seed.
pub(crate) struct Dice(SeededEntropy);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SeededEntropy::new(seed))
    }

    /// A number below `end`, or zero.
    pub(crate) fn below(&self, end: usize) -> usize {
        (u64::from_le_bytes(random(&self.0)) % (end.max(1) as u64)) as usize
    }

    pub(crate) fn pick<'a, T>(&self, choices: &'a [T]) -> Option<&'a T> {
        choices.get(self.below(choices.len()))
    }

    fn bytes(&self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.fill(&mut bytes);
        bytes
    }
}

/// One to four mutations of `bytes`, no longer than `length_max`; `other` is another input.
pub(crate) fn mutate(bytes: &[u8], other: &[u8], length_max: usize, dice: &Dice) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=dice.below(4) {
        mutate_once(&mut bytes, other, dice);
        bytes.truncate(length_max);
    }
    bytes
}

fn mutate_once(bytes: &mut Vec<u8>, other: &[u8], dice: &Dice) {
    let start = dice.below(bytes.len() + 1);
    let short = if dice.below(8) == 0 { bytes.len() } else { 16 };
    let end = (start + dice.below(short + 1)).min(bytes.len());
    match dice.below(10) {
        0 if start < bytes.len() => bytes[start] ^= 1 << dice.below(8),
        1 => put_number(bytes, start, dice),
        2 => drop(bytes.drain(start..end)),
        3 => bytes.truncate(start),
        4 => bytes.extend_from_within(start..end),
        5 => {
            let doubled = bytes[start..end].to_vec();
            bytes.splice(start..start, doubled);
        }
        6 => {
            let from = dice.below(other.len() + 1);
            let until = (from + dice.below(64)).min(other.len());
            bytes.splice(start..end, other[from..until].iter().copied());
        }
        7 => {
            let word = dice.pick(&WORDS).copied().unwrap_or_default();
            bytes.splice(start..end, word.bytes());
        }
        8 => {
            let noise = dice.bytes(end - start);
            bytes[start..end].copy_from_slice(&noise);
        }
        _ => {
            let value = *dice.pick(&[0x00, 0xff, b'0', b'a', b' ']).unwrap_or(&0);
            bytes[start..end].fill(value);
        }
    }
}

/// Overwrites one to eight bytes with a number, or moves the one that is there by a little.
fn put_number(bytes: &mut [u8], start: usize, dice: &Dice) {
    let width = 1 << dice.below(4);
    let Some(place) = bytes.get_mut(start..start + width) else { return };
    let is_big_endian = dice.below(2) == 0;
    let mut number = [0; 8];
    number[..width].copy_from_slice(place);
    if is_big_endian {
        number[..width].reverse();
    }
    let there = u64::from_le_bytes(number);
    let number = match dice.below(3) {
        0 => there.wrapping_add(dice.below(17) as u64).wrapping_sub(8),
        _ => *dice.pick(&NUMBERS).unwrap_or(&0),
    };
    let mut number = number.to_le_bytes();
    if is_big_endian {
        number[..width].reverse();
    }
    place.copy_from_slice(&number[..width]);
}

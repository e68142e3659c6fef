//! What systems write beside their packages: pages of a data base, and logs.

use crate::bench::random::Random;

/// The size of a data base's pages.
pub const PAGE_BYTES: usize = 8192;

const NAMES: [&str; 12] = [
    "james",
    "mary",
    "robert",
    "patricia",
    "john",
    "jennifer",
    "michael",
    "linda",
    "david",
    "elizabeth",
    "susan",
    "thomas",
];
const NOUNS: [&str; 24] = [
    "order",
    "invoice",
    "customer",
    "payment",
    "shipment",
    "account",
    "product",
    "session",
    "request",
    "response",
    "error",
    "timeout",
    "connection",
    "worker",
    "queue",
    "message",
    "backup",
    "volume",
    "cluster",
    "storage",
    "driver",
    "config",
    "update",
    "report",
];
const ADJECTIVES: [&str; 12] = [
    "new", "old", "pending", "failed", "active", "closed", "internal", "external", "primary", "remote",
    "invalid", "final",
];

/// A page as PostgreSQL lays it out: a header with the version, pointers behind it, rows of numbers and words from the end.
pub fn page(random: &mut Random, number: u64, version: u64) -> Vec<u8> {
    const HEADER_BYTES: usize = 24;
    const POINTER_BYTES: usize = 4;
    let mut page = vec![0; PAGE_BYTES];
    let mut rows_start = PAGE_BYTES;
    let mut pointers_end = HEADER_BYTES;
    for row_number in 0.. {
        let row = row(random, number * 60 + row_number);
        if rows_start - row.len() < pointers_end + POINTER_BYTES {
            break;
        }
        rows_start -= row.len();
        page[rows_start..rows_start + row.len()].copy_from_slice(&row);
        let pointer = rows_start as u32 | 1 << 15 | (row.len() as u32) << 17;
        page[pointers_end..pointers_end + POINTER_BYTES].copy_from_slice(&pointer.to_le_bytes());
        pointers_end += POINTER_BYTES;
    }
    page[..8].copy_from_slice(&version.to_le_bytes());
    page[12..14].copy_from_slice(&(pointers_end as u16).to_le_bytes());
    page[14..16].copy_from_slice(&(rows_start as u16).to_le_bytes());
    page
}

fn row(random: &mut Random, key: u64) -> Vec<u8> {
    let mut row = Vec::with_capacity(160);
    row.extend(((random.next() >> 33) as u32).to_le_bytes());
    row.extend([0; 12]);
    row.extend(key.to_le_bytes());
    // Moments of one year, in microseconds, and a random key.
    row.extend((1_735_689_600_000_000 + (random.next() >> 19)).to_le_bytes());
    row.extend(random.bytes(16));
    let words = [NAMES, NAMES, ADJECTIVES].map(|words| *random.pick(&words));
    let cents = random.below(2_000_000);
    let text = format!("{} {} {}.{:02}", words.join(" "), random.pick(&NOUNS), cents / 100, cents % 100);
    row.extend(text.as_bytes());
    row.resize(row.len().next_multiple_of(8), 0);
    row
}

/// Lines of a log, cut off at this length.
pub fn log(random: &mut Random, length: usize) -> Vec<u8> {
    let mut log = Vec::with_capacity(length + 256);
    let mut seconds = 1_735_689_600;
    while log.len() < length {
        seconds += random.below(3);
        let line = format!(
            "{seconds}.{:06} vm {}[{}]: {} {} {} from 10.{}.{}.{} port {} id={:08x} took {} ms\n",
            random.below(1_000_000),
            random.pick(&NOUNS),
            300 + random.below(32_000),
            random.pick(&ADJECTIVES),
            random.pick(&NOUNS),
            random.pick(&NOUNS),
            random.below(4),
            random.below(256),
            random.below(256),
            1024 + random.below(64_000),
            random.next() as u32,
            random.below(5000),
        );
        log.extend(line.as_bytes());
    }
    log.truncate(length);
    log
}

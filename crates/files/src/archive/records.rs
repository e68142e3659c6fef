//! What a header of tar has no room for: records of POSIX's `pax` format, with those that star and GNU tar added.

use crate::Time;

/// Keys of POSIX.
pub(crate) const PATH: &[u8] = b"path";
pub(crate) const LINK_PATH: &[u8] = b"linkpath";
pub(crate) const SIZE: &[u8] = b"size";
pub(crate) const USER: &[u8] = b"uid";
pub(crate) const GROUP: &[u8] = b"gid";
pub(crate) const MODIFIED: &[u8] = b"mtime";
pub(crate) const ACCESSED: &[u8] = b"atime";

/// Extended attributes, as star and GNU tar have them.
pub(crate) const ATTRIBUTE_PREFIX: &[u8] = b"SCHILY.xattr.";

/// Sparse files, in version 1.0 of GNU tar's format for pax ("Storing Sparse Files" in its manual): the content starts with a
/// map, lines of decimal numbers, filled up to a block.
pub(crate) const SPARSE_MAJOR: &[u8] = b"GNU.sparse.major";
pub(crate) const SPARSE_MINOR: &[u8] = b"GNU.sparse.minor";
pub(crate) const SPARSE_NAME: &[u8] = b"GNU.sparse.name";
pub(crate) const SPARSE_SIZE: &[u8] = b"GNU.sparse.realsize";

/// Records in the making: `<length> <key>=<value>\n`, where the length counts itself.
#[derive(Debug, Default)]
pub(crate) struct Records(Vec<u8>);

impl Records {
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while rest + length.to_string().len() != length {
            length = rest + length.to_string().len();
        }
        self.0.extend_from_slice(length.to_string().as_bytes());
        for part in [b" ".as_slice(), key, b"=", value, b"\n"] {
            self.0.extend_from_slice(part);
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A key and its value.
pub(crate) type Record<'a> = (&'a [u8], &'a [u8]);

/// The records in a block of them, in order.
pub(crate) fn parse(mut block: &[u8]) -> Result<Vec<Record<'_>>, &'static str> {
    let mut records = Vec::new();
    while !block.is_empty() {
        let space = block.iter().position(|&byte| byte == b' ').ok_or("a record has no length")?;
        let length: usize = number(&block[..space]).ok_or("a record's length is none")?;
        let (record, rest) = block.split_at_checked(length).ok_or("a record breaks off")?;
        let record = record.get(space + 1..).and_then(|record| record.strip_suffix(b"\n"));
        let record = record.ok_or("a record has no end")?;
        let equals = record.iter().position(|&byte| byte == b'=').ok_or("a record has no value")?;
        records.push((&record[..equals], &record[equals + 1..]));
        block = rest;
    }
    Ok(records)
}

/// A decimal number.
pub(crate) fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A time as a decimal number of seconds.
pub(crate) fn time_text(time: Time) -> String {
    let Time { seconds, nanoseconds } = time;
    if nanoseconds == 0 {
        return seconds.to_string();
    }
    // Times before 1970 count nanoseconds forward too.
    let (sign, seconds, nanoseconds) = if seconds < 0 {
        ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds)
    } else {
        ("", seconds.unsigned_abs(), nanoseconds)
    };
    format!("{sign}{seconds}.{nanoseconds:09}")
}

/// Reads such a number.
pub(crate) fn parse_time(text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?;
    let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().ok().filter(|seconds| *seconds >= 0)?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    Some(match (is_negative, nanoseconds) {
        (false, nanoseconds) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds: 0 },
        (true, nanoseconds) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

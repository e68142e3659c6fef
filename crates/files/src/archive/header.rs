//! Headers of tar: POSIX's `ustar` format (IEEE Std 1003.1-2017, `pax`, "ustar Interchange Format").

/// Everything in an archive is a multiple of this.
pub(crate) const BLOCK_BYTES: usize = 512;

/// Where the fields lie.
const NAME: std::ops::Range<usize> = 0..100;
const MODE: std::ops::Range<usize> = 100..108;
const USER: std::ops::Range<usize> = 108..116;
const GROUP: std::ops::Range<usize> = 116..124;
const SIZE: std::ops::Range<usize> = 124..136;
const MODIFIED: std::ops::Range<usize> = 136..148;
const CHECKSUM: std::ops::Range<usize> = 148..156;
const TYPE: usize = 156;
const LINK: std::ops::Range<usize> = 157..257;
const MAGIC: std::ops::Range<usize> = 257..265;
const MAJOR: std::ops::Range<usize> = 329..337;
const MINOR: std::ops::Range<usize> = 337..345;

/// What an entry of an archive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryType {
    File = b'0' as isize,
    HardLink = b'1' as isize,
    Symlink = b'2' as isize,
    CharacterDevice = b'3' as isize,
    BlockDevice = b'4' as isize,
    Directory = b'5' as isize,
    Fifo = b'6' as isize,
    /// Records about the entry that follows.
    Records = b'x' as isize,
}

impl EntryType {
    const ALL: [Self; 8] = [
        Self::File,
        Self::HardLink,
        Self::Symlink,
        Self::CharacterDevice,
        Self::BlockDevice,
        Self::Directory,
        Self::Fifo,
        Self::Records,
    ];
}

/// The fields of a header. Values that do not fit are cut, and belong into records too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: EntryType,
    pub(crate) mode: u32,
    pub(crate) user: u32,
    pub(crate) group: u32,
    /// Bytes of content that follow.
    pub(crate) size_bytes: u64,
    pub(crate) modified_seconds: i64,
    pub(crate) link: Vec<u8>,
    pub(crate) device: (u32, u32),
}

impl Header {
    /// A header of this name and kind, with nothing else to tell.
    pub(crate) fn new(name: &[u8], kind: EntryType, size_bytes: u64) -> Self {
        Self {
            name: name.to_vec(),
            kind,
            mode: 0o644,
            user: 0,
            group: 0,
            size_bytes,
            modified_seconds: 0,
            link: Vec::new(),
            device: (0, 0),
        }
    }

    pub(crate) fn encode(&self) -> [u8; BLOCK_BYTES] {
        let mut block = [0; BLOCK_BYTES];
        put(&mut block[NAME], &self.name);
        put(&mut block[LINK], &self.link);
        for (field, value) in [
            (MODE, u64::from(self.mode)),
            (USER, u64::from(self.user)),
            (GROUP, u64::from(self.group)),
            (SIZE, self.size_bytes),
            (MODIFIED, u64::try_from(self.modified_seconds).unwrap_or(0)),
            (MAJOR, u64::from(self.device.0)),
            (MINOR, u64::from(self.device.1)),
        ] {
            put_octal(&mut block[field], value);
        }
        block[TYPE] = self.kind as u8;
        block[MAGIC].copy_from_slice(b"ustar\x0000");
        block[CHECKSUM].fill(b' ');
        let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
        // Six digits, a zero and a space, as every tar has always written it.
        put(&mut block[CHECKSUM], format!("{sum:06o}\0 ").as_bytes());
        block
    }

    /// Reads a header; none for the blocks of zeros at the end.
    pub(crate) fn decode(block: &[u8; BLOCK_BYTES]) -> Result<Option<Self>, &'static str> {
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let sum = block
            .iter()
            .enumerate()
            .map(|(at, &byte)| u64::from(if CHECKSUM.contains(&at) { b' ' } else { byte }));
        if octal(&block[CHECKSUM]) != Some(sum.sum()) {
            return Err("the checksum of a header is wrong");
        }
        let kind = EntryType::ALL.into_iter().find(|kind| *kind as u8 == block[TYPE]);
        let number = |field: std::ops::Range<usize>| octal(&block[field]).ok_or("a number is none");
        let small =
            |field| number(field).and_then(|value| u32::try_from(value).map_err(|_| "a number is too large"));
        Ok(Some(Self {
            name: text(&block[NAME]).to_vec(),
            kind: kind.ok_or("an entry of an unknown kind")?,
            mode: small(MODE)?,
            user: small(USER)?,
            group: small(GROUP)?,
            size_bytes: number(SIZE)?,
            modified_seconds: i64::try_from(number(MODIFIED)?).map_err(|_| "a time is none")?,
            link: text(&block[LINK]).to_vec(),
            device: (small(MAJOR)?, small(MINOR)?),
        }))
    }

    /// Whether a name or link needs no record: it is in the header whole.
    pub(crate) fn holds_name(name: &[u8]) -> bool {
        name.len() <= NAME.len() && name.is_ascii()
    }

    /// Whether a size needs no record: eleven octal digits.
    pub(crate) fn holds_size(size_bytes: u64) -> bool {
        size_bytes < 1 << 33
    }

    /// Whether an owner's number needs no record: seven octal digits.
    pub(crate) fn holds_owner(number: u32) -> bool {
        number < 1 << 21
    }
}

fn put(field: &mut [u8], value: &[u8]) {
    let length = value.len().min(field.len());
    field[..length].copy_from_slice(&value[..length]);
}

/// Octal digits and a zero. What does not fit is left as zero.
fn put_octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    put(field, if text.len() <= digits { text.as_bytes() } else { b"0" });
}

fn octal(field: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(text(field)).ok()?.trim();
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}

/// What is before the first zero.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

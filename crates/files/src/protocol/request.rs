//! What the host asks.

use super::{Malformed, Reader, Writer};
use crate::limits::{DISKS_MAX, PATH_MAX_BYTES, READ_MAX_BYTES};

/// Longest passphrase, in bytes: cryptsetup's own limit for one that is typed.
const PASSPHRASE_MAX_BYTES: usize = 512;

/// What the host asks. Paths lie inside a volume, without a slash at their start.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// Which volumes are there. The disks are in the order of their serials, `d0` first. Asked once, before all else.
    Volumes { disks: Vec<String>, passphrases: Vec<Vec<u8>> },
    /// One entry with its attributes.
    Stat { volume: u32, path: Vec<u8>, follow: bool },
    /// A page of a directory.
    List { volume: u32, path: Vec<u8>, start: u64, with_attributes: bool },
    /// Some bytes of a file.
    Read { volume: u32, path: Vec<u8>, offset_bytes: u64, length_bytes: u32 },
    /// Where a file has data.
    DataRanges { volume: u32, path: Vec<u8>, offset_bytes: u64 },
    /// The digest of a range of a file, or of its start.
    Digest { volume: u32, path: Vec<u8>, offset_bytes: u64, end_bytes: u64 },
    /// Grow what lies last on the only disk, which can be written. Nothing else is asked of such a machine.
    Grow,
}

impl Request {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        let place = |writer: &mut Writer, tag: u8, volume: u32, path: &[u8]| {
            writer.u8(tag);
            writer.u32(volume);
            writer.bytes(path);
        };
        match self {
            Self::Volumes { disks, passphrases } => {
                writer.u8(0);
                writer.count(disks.len());
                disks.iter().for_each(|disk| writer.bytes(disk.as_bytes()));
                writer.count(passphrases.len());
                passphrases.iter().for_each(|passphrase| writer.bytes(passphrase));
            }
            Self::Stat { volume, path, follow } => {
                place(&mut writer, 1, *volume, path);
                writer.u8((*follow).into());
            }
            Self::List { volume, path, start, with_attributes } => {
                place(&mut writer, 2, *volume, path);
                writer.u64(*start);
                writer.u8((*with_attributes).into());
            }
            Self::Read { volume, path, offset_bytes, length_bytes } => {
                place(&mut writer, 3, *volume, path);
                writer.u64(*offset_bytes);
                writer.u32(*length_bytes);
            }
            Self::DataRanges { volume, path, offset_bytes } => {
                place(&mut writer, 4, *volume, path);
                writer.u64(*offset_bytes);
            }
            Self::Digest { volume, path, offset_bytes, end_bytes } => {
                place(&mut writer, 5, *volume, path);
                writer.u64(*offset_bytes);
                writer.u64(*end_bytes);
            }
            Self::Grow => writer.u8(6),
        }
        writer.finish()
    }

    pub(crate) fn decode(message: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(message);
        let path = |reader: &mut Reader<'_>| reader.bytes(PATH_MAX_BYTES).map(<[u8]>::to_vec);
        let request = match reader.u8()? {
            0 => Self::Volumes {
                disks: reader.list(DISKS_MAX, |reader| reader.text(PATH_MAX_BYTES))?,
                passphrases: reader
                    .list(DISKS_MAX, |reader| reader.bytes(PASSPHRASE_MAX_BYTES).map(<[u8]>::to_vec))?,
            },
            1 => Self::Stat { volume: reader.u32()?, path: path(&mut reader)?, follow: reader.u8()? != 0 },
            2 => Self::List {
                volume: reader.u32()?,
                path: path(&mut reader)?,
                start: reader.u64()?,
                with_attributes: reader.u8()? != 0,
            },
            3 => Self::Read {
                volume: reader.u32()?,
                path: path(&mut reader)?,
                offset_bytes: reader.u64()?,
                length_bytes: reader.u32().map(|length| length.min(READ_MAX_BYTES as u32))?,
            },
            4 => Self::DataRanges {
                volume: reader.u32()?,
                path: path(&mut reader)?,
                offset_bytes: reader.u64()?,
            },
            5 => Self::Digest {
                volume: reader.u32()?,
                path: path(&mut reader)?,
                offset_bytes: reader.u64()?,
                end_bytes: reader.u64()?,
            },
            6 => Self::Grow,
            _ => return Err(Malformed("an unknown request")),
        };
        reader.finish()?;
        Ok(request)
    }
}

//! What a file is, by its first bytes.

use model::DiskFormat;

/// How much of a file's beginning [`recognise`] looks at; a shorter file is given whole.
pub(crate) const HEADER_LENGTH_BYTES: usize = 512;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recognised {
    /// A format that is handled; raw is everything that is nothing else.
    Handled(DiskFormat),
    /// A format that is not, by name.
    Foreign(&'static str),
}

/// Bit of qcow2's incompatible features: the data lies in another file.
const QCOW2_EXTERNAL_DATA_FILE: u64 = 1 << 2;

/// Formats by their magic number and its offset.
const FOREIGN_MAGICS: [(usize, &[u8], &str); 9] = [
    (0, b"conectix", "VHD"),
    (0, b"vhdxfile", "VHDX"),
    (0, b"KDMV", "VMDK"),
    (0, b"COWD", "VMDK"),
    (0, b"# Disk DescriptorFile", "VMDK"),
    (64, b"\x7f\x10\xda\xbe", "VDI"),
    (0, b"QED\0", "QED"),
    (0, b"LUKS\xba\xbe", "LUKS"),
    (0, b"WithoutFreeSpace", "Parallels"),
];

/// Recognises a file by its first bytes. A fixed VHD has its magic at the end and is seen as raw.
pub(crate) fn recognise(header: &[u8]) -> Recognised {
    if header.starts_with(b"QFI\xfb") {
        return recognise_qcow(header);
    }
    let has = |&(offset, magic, _): &(usize, &[u8], &str)| {
        header.get(offset..).is_some_and(|rest| rest.starts_with(magic))
    };
    match FOREIGN_MAGICS.iter().find(|candidate| has(candidate)) {
        Some((_, _, name)) => Recognised::Foreign(name),
        None => Recognised::Handled(DiskFormat::Raw),
    }
}

fn recognise_qcow(header: &[u8]) -> Recognised {
    let version = header.get(4..8).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    let features = header.get(72..80).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
    match version {
        Some(3) if features & QCOW2_EXTERNAL_DATA_FILE != 0 => {
            Recognised::Foreign("qcow2 with an external data file")
        }
        Some(2 | 3) => Recognised::Handled(DiskFormat::Qcow2),
        Some(1) => Recognised::Foreign("qcow (version 1)"),
        _ => Recognised::Foreign("qcow2 of an unknown version"),
    }
}

#[cfg(test)]
mod tests;

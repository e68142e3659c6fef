//! What a file is, by its first bytes.

use model::{DiskFormat, ImageFormat};

/// How much of a file's beginning [`recognise`] looks at; a shorter file is given whole.
pub(crate) const HEADER_LENGTH_BYTES: usize = 512;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recognised {
    /// A format that is handled; raw is everything that is nothing else.
    Handled(DiskFormat),
    /// A format that no VM here runs from, but that can be read.
    Readable(ImageFormat),
    /// A format that is not handled, by name.
    Foreign(&'static str),
}

/// Bit of qcow2's incompatible features: the data lies in another file.
const QCOW2_EXTERNAL_DATA_FILE: u64 = 1 << 2;

/// The magic number of VHD, at the beginning and, with its footer, at the end.
pub(crate) const VHD_MAGIC: &[u8] = b"conectix";

/// Formats by their magic number and its offset.
const MAGICS: [(usize, &[u8], Recognised); 9] = [
    (0, VHD_MAGIC, Recognised::Readable(ImageFormat::Vhd)),
    (0, b"vhdxfile", Recognised::Readable(ImageFormat::Vhdx)),
    (0, b"KDMV", Recognised::Readable(ImageFormat::Vmdk)),
    (0, b"COWD", Recognised::Foreign("VMDK of ESX")),
    // It names other files that would be read.
    (0, b"# Disk DescriptorFile", Recognised::Foreign("VMDK in several files")),
    (64, b"\x7f\x10\xda\xbe", Recognised::Foreign("VDI")),
    (0, b"QED\0", Recognised::Foreign("QED")),
    (0, b"LUKS\xba\xbe", Recognised::Foreign("LUKS")),
    (0, b"WithoutFreeSpace", Recognised::Foreign("Parallels")),
];

/// Recognises a file by its first bytes. A fixed VHD has its magic at the end and is seen as raw.
pub(crate) fn recognise(header: &[u8]) -> Recognised {
    if header.starts_with(b"QFI\xfb") {
        return recognise_qcow(header);
    }
    let has = |&&(offset, magic, _): &&(usize, &[u8], Recognised)| {
        header.get(offset..).is_some_and(|rest| rest.starts_with(magic))
    };
    let found = MAGICS.iter().find(has).map(|(_, _, recognised)| *recognised);
    found.unwrap_or(Recognised::Handled(DiskFormat::Raw))
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

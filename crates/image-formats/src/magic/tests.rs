use model::{DiskFormat, ImageFormat};

use super::{Recognised, recognise};

fn qcow2(version: u32, incompatible_features: u64) -> Vec<u8> {
    let mut header = vec![0; 104];
    header[..4].copy_from_slice(b"QFI\xfb");
    header[4..8].copy_from_slice(&version.to_be_bytes());
    header[72..80].copy_from_slice(&incompatible_features.to_be_bytes());
    header
}

#[test]
fn files_are_recognised_by_their_first_bytes() {
    let vdi = [vec![b'<'; 64], b"\x7f\x10\xda\xbe".to_vec()].concat();
    let cases: [(&[u8], Recognised); 14] = [
        (b"", Recognised::Handled(DiskFormat::Raw)),
        (&[0; 512], Recognised::Handled(DiskFormat::Raw)),
        (b"conectiy", Recognised::Handled(DiskFormat::Raw)),
        (&qcow2(2, 0), Recognised::Handled(DiskFormat::Qcow2)),
        (&qcow2(3, 1), Recognised::Handled(DiskFormat::Qcow2)),
        (&qcow2(3, 4), Recognised::Foreign("qcow2 with an external data file")),
        (&qcow2(1, 0), Recognised::Foreign("qcow (version 1)")),
        (b"QFI\xfb", Recognised::Foreign("qcow2 of an unknown version")),
        (b"conectix", Recognised::Readable(ImageFormat::Vhd)),
        (b"vhdxfile", Recognised::Readable(ImageFormat::Vhdx)),
        (b"KDMV\x01", Recognised::Readable(ImageFormat::Vmdk)),
        (&vdi, Recognised::Foreign("VDI")),
        (b"QED\0", Recognised::Foreign("QED")),
        (b"LUKS\xba\xbe", Recognised::Foreign("LUKS")),
    ];
    for (header, expected) in cases {
        assert_eq!(recognise(header), expected, "{header:?}");
    }
}

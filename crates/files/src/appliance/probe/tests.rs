use std::os::unix::fs::FileExt as _;

use super::*;

fn probe_with(marks: &[(u64, &[u8])]) -> Content {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(1 << 20).unwrap();
    for (at, mark) in marks {
        file.as_file().write_all_at(mark, *at).unwrap();
    }
    probe(file.path(), 1 << 20).unwrap()
}

#[test]
fn formats_are_told_by_their_magic_numbers() {
    for Magic(at, magic, content) in MAGICS {
        assert_eq!(probe_with(&[(at, magic)]), content);
    }
    assert_eq!(probe_with(&[EXT]), Content::FileSystem("ext4"));
    let at = |offset: usize| BTRFS_SUPERBLOCK + offset as u64;
    let device = probe_with(&[
        BTRFS,
        (at(BTRFS_ID), &[7; 16]),
        (at(BTRFS_GENERATION), &[9, 1]),
        (at(BTRFS_DEVICE), &[2]),
    ]);
    assert_eq!(device, Content::Btrfs(BtrfsDevice { id: [7; 16], number: 2, generation: 265 }));
    assert_eq!(probe_with(&[]), Content::Unknown);
}

#[test]
fn a_container_hides_what_it_holds() {
    assert_eq!(probe_with(&[EXT, ((1 << 20) - (64 << 10), RAID_MAGIC)]), Content::RaidMember);
    assert_eq!(probe_with(&[EXT, (0, b"LUKS\xba\xbe")]), Content::Luks);
}

use image::{ByteRange, ChangeMap};

use crate::{
    At, DiskNumber, ErrorKind, Sequence,
    fixture::{MIB, Pair, block_on, noise, taken, vm},
    replica::fold::Retention,
};

const ALL: ByteRange = ByteRange { offset_bytes: 0, length_bytes: MIB };

fn changes(pair: &Pair, disk: DiskNumber, since: Sequence, until: Sequence) -> Option<Vec<ByteRange>> {
    let moment = |at| pair.replica.moment(vm(), At::Sequence(at)).unwrap();
    let changes = moment(until).changes_since(&moment(since), disk)?;
    Some(block_on(changes.changed_within(ALL)).unwrap())
}

#[test]
fn only_what_was_touched_between_two_moments_is_told() {
    let mut pair = Pair::new();
    let disk = pair.disk("root", MIB);
    taken(pair.journal.write(disk, 0, &noise(1, 65_536)).unwrap());
    let before = pair.ship();
    taken(pair.journal.write(disk, 4096, &noise(2, 4096)).unwrap());
    taken(pair.journal.zero(disk, ByteRange::new(16_384, 1024)).unwrap());
    pair.seal();
    taken(pair.journal.write(disk, 8192, &noise(3, 512)).unwrap());
    let after = pair.ship();
    taken(pair.journal.write(disk, 4096, &noise(4, 512)).unwrap());
    taken(pair.journal.write(disk, 524_288, &noise(5, 512)).unwrap());
    let last = pair.ship();
    let expected = [ByteRange::new(4096, 4608), ByteRange::new(16_384, 1024)];
    assert_eq!(changes(&pair, disk, before, after).unwrap(), expected, "not what came later");
    assert_eq!(changes(&pair, disk, after, after).unwrap(), []);
    assert!(changes(&pair, disk, after, before).is_none(), "nothing tells backwards");
    pair.reopen_replica();
    let expected = [ByteRange::new(4096, 512), ByteRange::new(524_288, 512)];
    assert_eq!(changes(&pair, disk, after, last).unwrap(), expected);
    let window = ByteRange::new(4100, 100);
    let moment = |at| pair.replica.moment(vm(), At::Sequence(at)).unwrap();
    let told = moment(last).changes_since(&moment(after), disk).unwrap();
    assert_eq!(block_on(told.changed_within(window)).unwrap(), [window]);
}

#[test]
fn a_moment_that_is_held_to_tell_changes_is_not_folded() {
    let pair = Pair::new();
    let disk = pair.disk("root", MIB);
    let mut moments = Vec::new();
    for round in 0..4 {
        taken(pair.journal.write(disk, round * 8192, &noise(round, 8192)).unwrap());
        moments.push(pair.ship());
        pair.seal();
    }
    let moment = |at: usize| pair.replica.moment(vm(), At::Sequence(moments[at])).unwrap();
    let told = moment(3).changes_since(&moment(1), disk).unwrap();
    let fold = || {
        let keep = Retention { window: std::time::Duration::ZERO, segment_bytes: Some(0) };
        pair.replica.fold(&pair.replica.plan_fold(&keep)).unwrap();
    };
    fold();
    assert_eq!(block_on(told.changed_within(ALL)).unwrap(), [ByteRange::new(16_384, 16_384)]);
    drop(told);
    fold();
    let refused = pair.replica.moment(vm(), At::Sequence(moments[1])).map(drop).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Folded);
}

#[test]
fn a_disk_of_another_size_or_another_disk_of_the_name_is_not_told_of() {
    let pair = Pair::new();
    let disk = pair.disk("root", MIB);
    taken(pair.journal.write(disk, 0, &noise(1, 512)).unwrap());
    let before = pair.ship();
    pair.journal.resize_disk(disk, MIB / 2).unwrap();
    let shrunk = pair.ship();
    assert!(changes(&pair, disk, before, shrunk).is_none());
    pair.journal.resize_disk(disk, MIB).unwrap();
    let again = pair.ship();
    let cut_off = ByteRange::new(MIB / 2, MIB / 2);
    assert_eq!(changes(&pair, disk, before, again).unwrap(), [cut_off], "what was cut off is zeros now");
    pair.journal.remove_disk(disk).unwrap();
    let other = pair.disk("root", MIB);
    let last = pair.ship();
    assert!(changes(&pair, other, before, last).is_none());
}

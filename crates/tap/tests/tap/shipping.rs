//! What was acknowledged and durable is in the replica.

use std::{sync::Arc, time::Duration};

use image::ByteRange;
use journal::{At, Position};
use proptest::{collection::vec, prelude::*};
use tap::Copied;
use tokio::{runtime::Runtime, time::timeout};

use crate::fixture::{LONG, MIB, Running, Target, add_whole, copy, until, vm};

const SIZE_BYTES: u64 = MIB;

/// What a guest does to one of two disks.
#[derive(Debug, Clone)]
enum Step {
    Write {
        disk: usize,
        sector: u64,
        sectors: u64,
        byte: u8,
    },
    Zero {
        disk: usize,
        sector: u64,
        sectors: u64,
    },
    /// The target takes what there is, and both are compared.
    Ship,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let last = SIZE_BYTES / 512;
    let range =
        || (0..last, 1..64_u64).prop_map(move |(sector, sectors)| (sector, sectors.min(last - sector)));
    let write = (0..2_usize, range(), any::<u8>());
    let write = write.prop_map(|(disk, (sector, sectors), byte)| Step::Write { disk, sector, sectors, byte });
    let zero = (0..2_usize, range());
    let zero = zero.prop_map(|(disk, (sector, sectors))| Step::Zero { disk, sector, sectors });
    vec(prop_oneof![8 => write, 2 => zero, 1 => Just(Step::Ship)], 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acknowledged_and_durable_is_in_the_replica(steps in steps()) {
        Runtime::new().unwrap().block_on(async {
            let running = Running::start().await;
            let client = running.client();
            let (mut disks, mut guests, mut expected) = (Vec::new(), Vec::new(), Vec::new());
            for name in ["root", "data"] {
                let disk = add_whole(client, vm(1), name, SIZE_BYTES).await;
                guests.push(running.connect(&disk).await.unwrap());
                disks.push(disk.number);
                expected.push(vec![0; SIZE_BYTES as usize]);
            }
            let mut target = Target::new();
            for step in steps.into_iter().chain([Step::Ship]) {
                match step {
                    Step::Write { disk, sector, sectors, byte } => {
                        let data = vec![byte; sectors as usize * 512];
                        let start = sector as usize * 512;
                        expected[disk][start..start + data.len()].copy_from_slice(&data);
                        guests[disk].write(sector * 512, data).await.unwrap();
                    }
                    Step::Zero { disk, sector, sectors } => {
                        let (start, length) = (sector as usize * 512, sectors as usize * 512);
                        expected[disk][start..start + length].fill(0);
                        guests[disk].write_zeroes(sector * 512, length as u32).await.unwrap();
                    }
                    Step::Ship => {
                        let taken = client.status().await.unwrap().usage.taken_through;
                        target.ship(client, taken).await;
                        for (disk, expected) in disks.iter().zip(&expected) {
                            assert!(target.read(vm(1), *disk, At::Sequence(taken)).await == *expected);
                        }
                    }
                }
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_is_copied_while_its_guest_writes() {
    let running = Running::start().await;
    let client = running.client();
    let disk = client.add_disk(vm(1), &"root".parse().unwrap(), 4 * MIB).await.unwrap();
    let guest = Arc::new(running.connect(&disk).await.unwrap());
    // What the disk held before, of which the guest writes over the first quarter of each MiB.
    let mut live = vec![0xaa; 4 * MIB as usize];
    let epoch = client.begin_epoch(vm(1)).await.unwrap();
    let mut tickets = Vec::new();
    for number in 0..3 {
        tickets.push(client.begin_copy(disk.number, ByteRange::new(number * MIB, MIB)).await.unwrap());
    }
    let before = live.clone();
    for number in 0..4 {
        let start = (number * MIB) as usize;
        live[start..start + 65_536].fill(0xbb);
        guest.write(number * MIB, vec![0xbb; 65_536]).await.unwrap();
    }
    let early = client.disk_is_whole(disk.number, epoch).await.unwrap_err();
    assert_eq!(early.kind(), tap::ErrorKind::Invalid, "copies are under way: {early}");
    for ticket in tickets {
        let range = ticket.range();
        let read = &before[range.offset_bytes as usize..range.end_bytes() as usize];
        client.finish_copy(ticket, Copied::Data(read)).await.unwrap();
    }
    let ticket = client.begin_copy(disk.number, ByteRange::new(3 * MIB, MIB)).await.unwrap();
    client.finish_copy(ticket, Copied::Data(&live[3 * MIB as usize..])).await.unwrap();
    let whole = client.disk_is_whole(disk.number, epoch).await.unwrap();
    let mut target = Target::new();
    target.ship(client, whole).await;
    assert!(target.read(vm(1), disk.number, At::Latest).await == live);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_dropped_is_given_up() {
    let running = Running::start().await;
    let client = running.client();
    let disk = client.add_disk(vm(1), &"root".parse().unwrap(), 4 * MIB).await.unwrap();
    drop(client.begin_copy(disk.number, ByteRange::new(0, MIB)).await.unwrap());
    until("the copy is given up", || async { client.disk_is_whole(disk.number, disk.epoch).await.is_ok() })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_waited_for_and_come_while_the_guest_writes() {
    let running = Running::start_with(|options| options.checkpoint_interval_ms = 3_600_000).await;
    let client = running.client();
    let disk = add_whole(client, vm(1), "root", 16 * MIB).await;
    let guest = running.connect(&disk).await.unwrap();
    let taken = client.status().await.unwrap().usage.taken_through;
    client.durable(taken).await.unwrap();
    let end = client.position_after(taken).await.unwrap();
    let at_once = client.parts(end, MIB, Duration::ZERO).await.unwrap();
    assert!(at_once.is_empty(), "there is nothing yet");
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.parts(end, MIB, LONG).await }
    });
    guest.write(0, vec![1; 4096]).await.unwrap();
    let parts = timeout(LONG, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(parts[0].position, end);
    let writing = tokio::spawn(async move {
        for number in 0..256 {
            guest.write(number * 4096, vec![number as u8; 4096]).await.unwrap();
        }
    });
    let mut target = Target::new();
    while !writing.is_finished() {
        let taken = client.status().await.unwrap().usage.taken_through;
        target.ship(client, taken).await;
    }
    timeout(LONG, writing).await.unwrap().unwrap();
    let taken = client.status().await.unwrap().usage.taken_through;
    target.ship(client, taken).await;
    let shown = target.read(vm(1), disk.number, At::Latest).await;
    assert!(shown.chunks(4096).take(256).enumerate().all(|(number, block)| block == [number as u8; 4096]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_released_is_gone_and_gives_room() {
    let running = Running::start_with(|options| options.segment_age_ms = 0).await;
    let client = running.client();
    let disk = add_whole(client, vm(1), "root", MIB).await;
    let guest = running.connect(&disk).await.unwrap();
    let start = client.start().await.unwrap();
    for number in 0..4 {
        guest.write(number * 4096, vec![1; 4096]).await.unwrap();
        let taken = client.status().await.unwrap().usage.taken_through;
        client.durable(taken).await.unwrap();
    }
    let wanted = client.position_after(client.status().await.unwrap().usage.durable_through).await.unwrap();
    assert!(wanted.segment > start.segment);
    client.release(wanted.segment).await.unwrap();
    assert_eq!(client.start().await.unwrap(), Position { segment: wanted.segment, offset_bytes: 0 });
    let refused = client.parts(start, MIB, Duration::ZERO).await.unwrap_err();
    assert_eq!(refused.kind(), tap::ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_share_of_the_disk_breaks_the_tap_and_copies_leave_it_to_guests() {
    let running = Running::start_with(|options| options.disk_bytes = 64 * MIB).await;
    let client = running.client();
    let disk = client.add_disk(vm(1), &"root".parse().unwrap(), 256 * MIB).await.unwrap();
    let guest = running.connect(&disk).await.unwrap();
    let noise: Vec<u8> = (0..MIB / 8).flat_map(|number| blake(number).to_le_bytes()).collect();
    let copying = tokio::spawn({
        let (client, disk, bytes) = (client.clone(), disk.clone(), noise.repeat(200));
        async move { copy(&client, &disk, &bytes).await }
    });
    until("copies wait for room", || async { client.status().await.unwrap().usage.disk_bytes > 47 * MIB })
        .await;
    guest.write(0, noise.clone()).await.expect("there is room for the guest");
    let mut written = 0;
    while guest.write(written * MIB, noise.clone()).await.is_ok() {
        written += 1;
        assert!(written < 64, "the share is 64 MiB");
    }
    let broken = client.status().await.unwrap().broken.expect("it is broken");
    assert!(broken.reason.contains("disk is full"), "{}", broken.reason);
    // The target takes what there is; what waited for room is of an epoch that is over.
    let taken = client.status().await.unwrap().usage.taken_through;
    Target::new().ship(client, taken).await;
    let error = timeout(LONG, copying).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error.kind(), tap::ErrorKind::Superseded | tap::ErrorKind::Broken), "{error}");
}

/// Bytes that do not compress.
fn blake(number: u64) -> u64 {
    let mut word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word ^ (word >> 27)
}

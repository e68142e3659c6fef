//! What was missed is never taken for what was there.

use journal::At;
use tap::ErrorKind;

use crate::fixture::{MIB, Running, Target, add_whole, until, vm};

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ends_begins_an_epoch() {
    let running = Running::start().await;
    let client = running.client();
    let disk = add_whole(client, vm(1), "root", MIB).await;
    let other = add_whole(client, vm(2), "root", MIB).await;
    let guest = running.connect(&disk).await.unwrap();
    guest.write(0, vec![1; 512]).await.unwrap();
    let last = client.status().await.unwrap().usage.taken_through;
    assert_eq!(client.status().await.unwrap().disks[0].clients, 1);
    guest.disconnect().await.unwrap();
    until("the disk is not whole", || async { !client.status().await.unwrap().disks[0].is_whole }).await;
    let status = client.status().await.unwrap();
    assert!(status.broken.is_none() && status.disks[0].clients == 0 && status.disks[0].accepts);
    assert!(status.disks[1].is_whole, "another VM has missed nothing");
    assert_eq!(status.disks[1].number, other.number);
    let stale = client.disk_is_whole(disk.number, disk.epoch).await.unwrap_err();
    assert_eq!(stale.kind(), ErrorKind::Superseded);
    client.disk_is_whole(disk.number, status.disks[0].epoch).await.unwrap();
    // The moment before is still there.
    let mut target = Target::new();
    target.ship(client, client.status().await.unwrap().usage.taken_through).await;
    let shown = target.read(vm(1), disk.number, At::Sequence(last)).await;
    assert!(shown[..512] == [1; 512] && shown[512..].iter().all(|byte| *byte == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_and_does_not_begin_ends_no_epoch() {
    let running = Running::start().await;
    let client = running.client();
    let disk = add_whole(client, vm(1), "root", MIB).await;
    let endpoint = nbd::Endpoint::Unix(running.options.nbd_socket());
    assert_eq!(nbd::list(&endpoint).await.unwrap(), std::slice::from_ref(&disk.export));
    assert!(running.connect(&tap::AddedDisk { export: "none".to_owned(), ..disk }).await.is_err());
    let status = client.status().await.unwrap();
    assert!(status.disks[0].is_whole && status.disks[0].clients == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_that_gave_up_lets_in_those_for_whom_an_epoch_begins() {
    let running = Running::start().await;
    let client = running.client();
    let first = add_whole(client, vm(1), "root", MIB).await;
    let second = add_whole(client, vm(2), "root", MIB).await;
    let guests = (running.connect(&first).await.unwrap(), running.connect(&second).await.unwrap());
    client.give_up("a test wants it").await.unwrap();
    assert_eq!(guests.0.write(0, vec![1; 512]).await.unwrap_err().kind(), image::ErrorKind::Gone);
    assert_eq!(guests.1.flush().await.unwrap_err().kind(), image::ErrorKind::Gone);
    let status = client.status().await.unwrap();
    assert_eq!(status.broken.as_ref().map(|it| it.vms.len()), Some(2));
    assert!(status.disks.iter().all(|disk| !disk.is_whole && !disk.accepts));
    let refused = client.begin_copy(first.number, image::ByteRange::new(0, 512)).await.map(drop);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Broken);

    let epoch = client.begin_epoch(vm(1)).await.unwrap();
    assert!(running.connect(&first).await.is_ok());
    assert!(running.connect(&second).await.is_err(), "what it missed was not told of");
    assert_eq!(client.status().await.unwrap().broken.unwrap().vms, [vm(2)]);
    assert!(epoch > first.epoch);
    client.begin_epoch(vm(2)).await.unwrap();
    assert!(running.connect(&second).await.is_ok());
    assert_eq!(client.status().await.unwrap().broken, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn moments_are_marked_only_while_a_vm_is_whole() {
    let running = Running::start_with(|options| options.checkpoint_interval_ms = 20).await;
    let client = running.client();
    let disk = add_whole(client, vm(1), "root", MIB).await;
    until("a checkpoint is durable", || async { client.status().await.unwrap().checkpoint.is_some() }).await;
    let guest = running.connect(&disk).await.unwrap();
    client.give_up("a test wants it").await.unwrap();
    drop(guest);
    let taken = client.status().await.unwrap().usage.taken_through;
    client.durable(taken).await.unwrap();
    let newest = client.status().await.unwrap().checkpoint.unwrap();
    assert!(newest.sequence <= taken);
    let mut target = Target::new();
    target.ship(client, taken).await;
    assert!(target.replica.newest_whole(vm(1)).unwrap() < taken, "the epoch's mark is behind it");
    assert!(target.replica.moment(vm(1), At::Sequence(newest.sequence)).is_ok());
    assert_eq!(client.status().await.unwrap().usage.taken_through, taken, "nothing more is marked");
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_come_change_and_go() {
    let running = Running::start().await;
    let client = running.client();
    let name = "virtio disk 0".parse().unwrap();
    let disk = client.add_disk(vm(1), &name, MIB).await.unwrap();
    assert_eq!(client.add_disk(vm(1), &name, MIB).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(client.add_disk(vm(2), &name, 1000).await.unwrap_err().kind(), ErrorKind::Invalid);
    let guest = running.connect(&disk).await.unwrap();
    assert_eq!(client.remove_disk(disk.number).await.unwrap_err().kind(), ErrorKind::Busy);
    client.resize_disk(disk.number, 2 * MIB).await.unwrap();
    guest.write(MIB - 512, vec![1; 512]).await.expect("what the client knows of is still there");
    assert_eq!(running.connect(&disk).await.unwrap().export().size_bytes, 2 * MIB);
    drop(guest);
    until("nobody is connected", || async { client.status().await.unwrap().disks[0].clients == 0 }).await;
    client.remove_disk(disk.number).await.unwrap();
    assert!(running.connect(&disk).await.is_err());
    assert_eq!(client.resize_disk(disk.number, MIB).await.unwrap_err().kind(), ErrorKind::NotFound);
    let next = client.add_disk(vm(1), &name, MIB).await.unwrap();
    assert!(next.number > disk.number, "a number is given once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_of_a_moment_has_one_moment_and_its_time() {
    let running = Running::start_with(|options| options.checkpoint_interval_ms = 5).await;
    let client = running.client();
    // A moment of which this tap hears late.
    let held_at = client.status().await.unwrap().started_at;
    let epoch = client.begin_epoch_at(vm(1), held_at).await.unwrap();
    let disk = client.add_disk(vm(1), &"root".parse().unwrap(), MIB).await.unwrap();
    for part in 0..2 {
        let range = image::ByteRange::new(part * 4096, 4096);
        let ticket = client.begin_copy(disk.number, range).await.unwrap();
        client.finish_copy(ticket, tap::Copied::Data(&[7; 4096])).await.unwrap();
    }
    let copied = client.status().await.unwrap().usage.taken_through;
    client.disk_is_whole(disk.number, epoch).await.unwrap();
    let checkpoint =
        tap::Checkpoint { kind: tap::CheckpointKind::Crash, vm: Some(vm(1)), name: String::new() };
    let closed = client.checkpoint(checkpoint).await.unwrap();
    let mut target = Target::new();
    target.ship(client, closed).await;
    assert_eq!(client.status().await.unwrap().checkpoint.map(|it| it.time), Some(held_at));
    for inside in 1..=copied.0 {
        let shown = target.replica.moment(vm(1), At::Sequence(journal::Sequence(inside))).map(drop);
        assert!(shown.is_err(), "record {inside}");
    }
    let shown = target.read(vm(1), disk.number, At::Latest).await;
    assert!(shown[..8192].iter().all(|byte| *byte == 7) && shown[8192..].iter().all(|byte| *byte == 0));
    let later = model::Timestamp::from_microseconds(held_at.as_microseconds() + 3_600_000_000);
    let points = target.replica.checkpoints(vm(1), held_at..=later).unwrap();
    assert_eq!(
        points.iter().map(|point| (point.sequence, point.time)).collect::<Vec<_>>(),
        [(closed, held_at)]
    );
    assert_eq!(target.replica.sequence_at(later).unwrap(), closed, "the tap has marked nothing meanwhile");
    // The next one begins: nothing of it is shown until it is closed.
    client.begin_epoch_at(vm(1), later).await.unwrap();
    let through = client.status().await.unwrap().usage.taken_through;
    target.ship(client, through).await;
    assert_eq!((target.replica.newest_whole(vm(1)), through), (Some(closed), closed.next()));
}

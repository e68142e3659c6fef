//! Disks come, go and grow under replication: the others go on from where they were.

use hypervisor::{Hypervisor, Missed, Tap, TapEnd, TapRequest, TappedDisk, TrackingEpoch};
use image::ByteRange;
use serde_json::json;

use crate::{
    machine::{Disk, Machine, SIZE_BYTES, assert_shows, bytes_of, qemu_img},
    replication::{BLOCK, begin, journal_id, request},
    tap_server::{TapServer, export, in_time, replay},
};

/// A disk behind a controller that takes others while the VM runs.
fn scsi() -> Disk {
    let device = ["-device", "virtio-scsi-pci,id=s", "-device", "scsi-hd,id=vroot,bus=s.0,drive=vroot"];
    Disk::qcow2("vroot").with_device(&device)
}

/// Plugs a new disk in.
fn plug(machine: &mut Machine, disk: &Disk) {
    let path = machine.dir.path().join(format!("{}.qcow2", disk.name));
    qemu_img(&["create", "-q", "-f", "qcow2", path.to_str().unwrap(), &disk.size_bytes.to_string()]);
    let file = json!({"driver": "file", "filename": path});
    machine.execute("blockdev-add", json!({"driver": "qcow2", "node-name": disk.name, "file": file}));
    let device = json!({"driver": "scsi-hd", "id": disk.name, "bus": "s.0", "drive": disk.name});
    machine.execute("device_add", device);
}

/// Taps the machine's own disk and another one.
async fn begin_both(
    machine: &Machine,
    server: &TapServer,
    more: &Disk,
    trusted: TrackingEpoch,
) -> Box<dyn Tap> {
    let mut request: TapRequest = request(machine, server, Some(trusted));
    request.disks.push(TappedDisk { disk: more.name.parse().unwrap(), export: export(more.name) });
    in_time(machine.hypervisor.begin_tap(&request)).await.unwrap()
}

fn missed(tap: &dyn Tap, disk: usize) -> Vec<ByteRange> {
    match &tap.disks()[disk].missed {
        Missed::Ranges(ranges) => ranges.clone(),
        Missed::All(reason) => panic!("nobody knows what was missed: {reason}"),
    }
}

/// Begins an epoch that is trusted.
async fn settle(tap: &dyn Tap) -> TrackingEpoch {
    tap.end_reading().await.unwrap();
    let epoch = tap.begin_epoch().await.unwrap();
    tap.trust(epoch).await.unwrap();
    epoch
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_comes_is_read_and_the_others_are_not_and_one_that_goes_is_let_go() {
    let (root, more) = (scsi(), Disk::qcow2("more"));
    let mut machine = Machine::start(std::slice::from_ref(&root));
    machine.write("vroot", 0, 1 << 20, 0x11);
    let server = TapServer::start(machine.dir.path(), "tap", &[root, more.clone()]).await;
    let tap = begin(&machine, &server, None).await;
    let mut replica = bytes_of(&*tap.disks()[0].live).await;
    let epoch = settle(&*tap).await;
    machine.write("vroot", 2 << 20, 4096, 0x22);

    plug(&mut machine, &more);
    assert_eq!(in_time(tap.ended()).await, TapEnd::DisksChanged);
    machine.write("vroot", 5 * BLOCK, 512, 0x33);
    machine.write("more", 0, 8192, 0x44);
    drop(tap);
    let tap = begin_both(&machine, &server, &more, epoch).await;
    // The mirror went on until the tap began anew: what is read again is what may have been missed.
    let again = missed(&*tap, 0);
    assert_eq!(again, [ByteRange::new(5 * BLOCK, BLOCK), ByteRange::new(2 << 20, BLOCK)]);
    assert!(matches!(&tap.disks()[1].missed, Missed::All(why) if why.contains("is new")));
    assert_eq!(tap.disks()[1].size_bytes, SIZE_BYTES);
    let mut added = bytes_of(&*tap.disks()[1].live).await;
    machine.write("vroot", 7 * BLOCK, 512, 0x55);
    machine.write("more", 4096, 512, 0x66);
    replay(&mut replica, "vroot", &server.taken());
    replay(&mut added, "more", &server.taken());
    assert_shows(&*tap.disks()[0].live, &replica).await;
    assert_shows(&*tap.disks()[1].live, &added).await;

    let epoch = settle(&*tap).await;
    machine.execute("device_del", json!({"id": "more"}));
    assert_eq!(in_time(tap.ended()).await, TapEnd::DisksChanged);
    drop(tap);
    machine.write("vroot", 11 * BLOCK, 512, 0x77);
    let tap = begin(&machine, &server, Some(epoch)).await;
    assert_eq!(missed(&*tap, 0), [ByteRange::new(11 * BLOCK, BLOCK)]);
    machine.execute("blockdev-del", json!({"node-name": "more"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_grows_while_its_tap_is_taken_out_and_only_what_was_written_is_read() {
    let disk = Disk::qcow2("vroot");
    let mut machine = Machine::start(std::slice::from_ref(&disk));
    let server = TapServer::start(machine.dir.path(), "tap", std::slice::from_ref(&disk)).await;
    let tap = begin(&machine, &server, None).await;
    let mut replica = bytes_of(&*tap.disks()[0].live).await;
    let epoch = settle(&*tap).await;
    machine.write("vroot", 0, 512, 0x11);
    let resize = |size: u64| json!({"node-name": "vroot", "size": size});
    let refused = machine.refused("block_resize", resize(2 * SIZE_BYTES));
    assert!(refused.contains("in use"), "{refused}");

    tap.cut().await;
    drop(tap);
    in_time(machine.hypervisor.release_tap(&machine.access(), journal_id(2))).await.unwrap();
    assert_ne!(machine.leftovers(), [""; 0], "it is not that journal's");
    in_time(machine.hypervisor.release_tap(&machine.access(), journal_id(1))).await.unwrap();
    assert_eq!(machine.leftovers(), [""; 0]);
    assert_ne!(machine.bitmaps("vroot"), [""; 0], "what is written is tracked");
    machine.write("vroot", 3 * BLOCK, 512, 0x22);
    machine.execute("block_resize", resize(2 * SIZE_BYTES));
    machine.write("vroot", SIZE_BYTES + BLOCK, 512, 0x33);

    let grown = Disk { size_bytes: 2 * SIZE_BYTES, ..disk };
    let second = TapServer::start(machine.dir.path(), "second", &[grown]).await;
    let tap = begin(&machine, &second, Some(epoch)).await;
    let ranges = missed(&*tap, 0);
    let expected = [0, 3 * BLOCK, SIZE_BYTES + BLOCK].map(|start| ByteRange::new(start, BLOCK));
    assert_eq!((tap.disks()[0].size_bytes, ranges.as_slice()), (2 * SIZE_BYTES, expected.as_slice()));
    replica.resize(2 * SIZE_BYTES as usize, 0);
    for range in ranges {
        let place = range.offset_bytes as usize..range.end_bytes() as usize;
        tap.disks()[0].live.read_at(range.offset_bytes, &mut replica[place]).await.unwrap();
    }
    machine.write("vroot", SIZE_BYTES, 512, 0x44);
    replay(&mut replica, "vroot", &second.taken());
    assert_shows(&*tap.disks()[0].live, &replica).await;
}

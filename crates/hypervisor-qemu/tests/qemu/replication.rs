//! Every write of a running VM in a journal, on real QEMUs: what a tap takes, and what becomes of the guest when it breaks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use hypervisor::{ErrorKind, Hypervisor, Missed, Tap, TapEnd, TapRequest, TappedDisk, TrackingEpoch};
use hypervisor_qemu::QemuHypervisor;
use image::ByteRange;
use model::JournalId;
use serde_json::json;

use crate::{
    machine::{Disk, Machine, SIZE_BYTES, TestMonitor, assert_shows, blocks, bytes_of, config, expected},
    tap_server::{TapServer, export, in_time, replay},
};

pub const BLOCK: u64 = 16 << 10;

pub fn journal_id(number: u8) -> JournalId {
    JournalId::from_random([number; 10])
}

pub fn disks() -> [Disk; 2] {
    [Disk::qcow2("vroot"), Disk::raw("vdata")]
}

pub fn request(machine: &Machine, server: &TapServer, trusted: Option<TrackingEpoch>) -> TapRequest {
    let tapped = |disk: &Disk| TappedDisk { disk: disk.name.parse().unwrap(), export: export(disk.name) };
    TapRequest {
        vm: machine.access(),
        journal_id: journal_id(1),
        socket: server.socket.clone(),
        disks: machine.disks().iter().map(tapped).collect(),
        trusted,
    }
}

pub async fn begin(machine: &Machine, server: &TapServer, trusted: Option<TrackingEpoch>) -> Box<dyn Tap> {
    in_time(machine.hypervisor.begin_tap(&request(machine, server, trusted))).await.unwrap()
}

/// The ranges that were missed of the first disk.
fn missed(tap: &dyn Tap) -> Vec<ByteRange> {
    match &tap.disks()[0].missed {
        Missed::Ranges(ranges) => ranges.clone(),
        Missed::All(reason) => panic!("nobody knows what was missed: {reason}"),
    }
}

fn why_all(tap: &dyn Tap, disk: usize) -> String {
    match &tap.disks()[disk].missed {
        Missed::All(reason) => reason.clone(),
        Missed::Ranges(ranges) => panic!("only {ranges:?} was missed"),
    }
}

/// What a tap has left in a VM.
fn left(machine: &mut Machine) -> Vec<String> {
    let mut left = machine.leftovers();
    left.extend(machine.bitmaps("vroot"));
    left
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_takes_every_write_of_all_disks_and_leaves_nothing() {
    let disks = disks();
    let mut machine = Machine::start(&disks);
    machine.write("vroot", 0, 65536, 0x11);
    let server = TapServer::start(machine.dir.path(), "tap", &disks).await;
    let tap = begin(&machine, &server, None).await;
    assert_eq!(tap.disks().iter().map(|disk| disk.name.as_str()).collect::<Vec<_>>(), ["vroot", "vdata"]);
    assert!(why_all(&*tap, 0).contains("nothing is known"));
    assert_eq!(tap.disks()[1].size_bytes, SIZE_BYTES);

    machine.write("vroot", 4096, 512, 0x22);
    machine.write("vdata", 65536, 4096, 0x33);
    machine.write("vroot", 4096, 8192, 0x44);
    machine.qemu_io("vdata", "write -z 65536 4096");
    let taken = server.taken();
    let order: Vec<_> =
        taken.iter().map(|write| (write.disk, write.offset_bytes, write.data.len())).collect();
    assert_eq!(
        order,
        [("vroot", 4096, 512), ("vdata", 65536, 4096), ("vroot", 4096, 8192), ("vdata", 65536, 4096)]
    );
    assert_eq!((taken[1].data[0], taken[2].data[0], taken[3].data[0]), (0x33, 0x44, 0));
    let live = expected(SIZE_BYTES, &[(0, 65536, 0x11), (4096, 8192, 0x44)]);
    assert_shows(&*tap.disks()[0].live, &live).await;

    tap.end_reading().await.unwrap();
    assert!(tap.disks()[0].live.read_at(0, &mut [0; 512]).await.is_err());
    machine.write("vroot", 0, 512, 0x55);
    assert_eq!(server.taken().len(), 5, "it goes on");
    in_time(machine.hypervisor.end_tap(&machine.access(), journal_id(1))).await.unwrap();
    assert!(matches!(in_time(tap.ended()).await, TapEnd::Broken(_)));
    machine.write("vroot", 0, 512, 0x66);
    assert_eq!(server.taken().len(), 5);
    assert_eq!(left(&mut machine), [""; 0]);
}

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % bound
    }
}

/// Writes at random to both disks, with several in flight, until it is told to end.
fn keep_writing(machine: &Machine, is_over: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    let monitor = machine.dir.path().join("qmp2.sock");
    std::thread::spawn(move || {
        let (mut monitor, mut random) = (TestMonitor::connect(&monitor), Random(7));
        while !is_over.load(Ordering::Relaxed) {
            for _ in 0..8 {
                let disk = ["vroot", "vdata"][random.below(2) as usize];
                let offset = random.below(SIZE_BYTES / 512 - 64) * 512;
                let (length, byte) = ((1 + random.below(63)) * 512, 1 + random.below(255));
                let id = format!("/machine/peripheral/{disk}/virtio-backend");
                let line = format!("qemu-io -d {id} \"aio_write -q -P {byte} {offset} {length}\"");
                monitor.send("human-monitor-command", json!({"command-line": line}));
            }
        }
        for disk in ["vroot", "vdata"] {
            let line = format!("qemu-io -d /machine/peripheral/{disk}/virtio-backend aio_flush");
            monitor.send("human-monitor-command", json!({"command-line": line}));
        }
    })
}

/// The proof of the method: the live disks, read while they are written, and what was taken since, make every later moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_live_disks_and_any_prefix_of_what_was_taken_later_is_a_moment_of_the_vm() {
    let disks = disks();
    let mut machine = Machine::start(&disks);
    machine.write("vroot", 0, SIZE_BYTES, 0x11);
    machine.write("vdata", 1 << 20, 1 << 20, 0x22);
    let before =
        [expected(SIZE_BYTES, &[(0, SIZE_BYTES, 0x11)]), expected(SIZE_BYTES, &[(1 << 20, 1 << 20, 0x22)])];
    let is_over = Arc::new(AtomicBool::new(false));
    let server = TapServer::start(machine.dir.path(), "tap", &disks).await;
    let tap = begin(&machine, &server, None).await;
    let writer = keep_writing(&machine, is_over.clone());
    server.arrived(50).await;

    let mut base = Vec::new();
    for disk in tap.disks() {
        let mut bytes = vec![0; SIZE_BYTES as usize];
        for (number, part) in bytes.chunks_mut(64 << 10).enumerate() {
            disk.live.read_at(number as u64 * (64 << 10), part).await.unwrap();
        }
        base.push(bytes);
    }
    let copied_from = server.taken().len();
    in_time(tap.begin_epoch()).await.unwrap(); // all that the copy may have seen is taken now
    let copied_to = server.taken().len();
    assert!(copied_to > 60, "the disks were written while they were read");
    server.arrived(copied_to + 300).await;
    is_over.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    in_time(tap.begin_epoch()).await.unwrap();

    let taken = server.taken();
    let mut random = Random(3);
    let mut moments: Vec<usize> =
        (0..40).map(|_| copied_to + random.below((taken.len() - copied_to) as u64) as usize).collect();
    moments.push(taken.len());
    println!("copied from {copied_from} to {copied_to} of {}", taken.len());
    for moment in moments {
        for (place, disk) in ["vroot", "vdata"].into_iter().enumerate() {
            let (mut rebuilt, mut model) = (base[place].clone(), before[place].clone());
            replay(&mut rebuilt, disk, &taken[..moment]);
            replay(&mut model, disk, &taken[..moment]);
            assert!(rebuilt == model, "the disk {disk} after {moment} writes");
        }
    }
    for (place, disk) in tap.disks().iter().enumerate() {
        let mut model = before[place].clone();
        replay(&mut model, disk.name.as_str(), &taken);
        assert_shows(&*disk.live, &model).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_tap_costs_the_guest_nothing_and_only_what_it_missed_is_read_again() {
    let disks = [Disk::qcow2("vroot")];
    let mut machine = Machine::start(&disks);
    machine.write("vroot", 0, 1 << 20, 0x11);
    let server = TapServer::start(machine.dir.path(), "tap", &disks).await;
    let tap = begin(&machine, &server, None).await;
    let mut replica = bytes_of(&*tap.disks()[0].live).await;
    tap.end_reading().await.unwrap();
    machine.write("vroot", 2 << 20, 4096, 0x22);
    let epoch = tap.begin_epoch().await.unwrap();
    tap.trust(epoch).await.unwrap();
    assert_eq!(machine.bitmaps("vroot").len(), 1, "{:?}", machine.bitmaps("vroot"));
    machine.write("vroot", 3 << 20, 4096, 0x33);
    let later = tap.begin_epoch().await.unwrap();
    assert!(later > epoch);

    replay(&mut replica, "vroot", &server.kill().await);
    machine.write("vroot", 5 * BLOCK, 512, 0x44);
    machine.write("vroot", 9 * BLOCK, 2 * BLOCK, 0x55);
    let end = in_time(tap.ended()).await;
    assert!(matches!(&end, TapEnd::Broken(_)), "{end:?}");
    assert_eq!(
        tap.begin_epoch().await.unwrap_err().kind(),
        ErrorKind::Failed,
        "nothing may be trusted any more"
    );
    assert_eq!(machine.status(), "running");

    let second = TapServer::start(machine.dir.path(), "second", &disks).await;
    let tap = begin(&machine, &second, Some(epoch)).await;
    let ranges = missed(&*tap);
    let (written, early) = (blocks(48, 1), ByteRange::new(3 << 20, BLOCK));
    assert_eq!(written.offset_bytes, early.offset_bytes);
    assert_eq!(ranges, [ByteRange::new(5 * BLOCK, BLOCK), ByteRange::new(9 * BLOCK, 2 * BLOCK), early]);
    machine.write("vroot", 9 * BLOCK, 512, 0x66);
    for range in ranges {
        let place = range.offset_bytes as usize..range.end_bytes() as usize;
        tap.disks()[0].live.read_at(range.offset_bytes, &mut replica[place]).await.unwrap();
    }
    replay(&mut replica, "vroot", &second.taken());
    assert_shows(&*tap.disks()[0].live, &replica).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_that_stalls_is_cut_off_and_the_guest_goes_on() {
    let disks = disks();
    let mut machine = Machine::start(&disks);
    let server = TapServer::start(machine.dir.path(), "tap", &disks).await;
    let tap = begin(&machine, &server, None).await;
    server.stall(true);
    machine.qemu_io("vroot", "aio_write -P 0x11 0 4096");
    server.arrived(1).await;
    in_time(tap.cut()).await;
    assert!(matches!(in_time(tap.ended()).await, TapEnd::Broken(_)));
    // This waits for the write before it.
    let said = machine.qemu_io("vroot", "aio_flush");
    assert!(!said.contains("failed"), "{said}");
    assert!(machine.qemu_io("vroot", "read -P 0x11 0 4096").starts_with("read 4096"));
    assert_eq!(machine.status(), "running");
}

/// The worst case: QEMU's main loop itself waits for the tap, and nobody else's command is served.
#[tokio::test(flavor = "multi_thread")]
async fn a_tap_that_hangs_the_main_loop_is_cut_off_all_the_same() {
    let disks = disks();
    let machine = Machine::start(&disks);
    let server = TapServer::start(machine.dir.path(), "tap", &disks).await;
    let tap = begin(&machine, &server, None).await;
    server.stall(true);
    let monitor = machine.dir.path().join("qmp2.sock");
    let hangs = std::thread::spawn(move || {
        let line = "qemu-io -d /machine/peripheral/vroot/virtio-backend \"write -P 0x11 0 4096\"";
        TestMonitor::connect(&monitor).send("human-monitor-command", json!({"command-line": line}))
    });
    server.arrived(1).await;
    let access = machine.access();
    // More commands than QEMU reads from a monitor that hangs.
    let asked = futures::future::join_all((0..16).map(|_| machine.hypervisor.inspect(&access)));
    let cut = async {
        tokio::task::yield_now().await;
        tap.cut().await;
    };
    let (inspected, ()) = in_time(async { tokio::join!(asked, cut) }).await;
    assert!(inspected.iter().all(Result::is_ok));
    assert_eq!(hangs.join().unwrap()["return"], "");
    assert!(matches!(in_time(tap.ended()).await, TapEnd::Broken(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_that_stalls_is_taken_down_in_time() {
    let disks = disks();
    let mut machine = Machine::start(&disks);
    let server = TapServer::start(machine.dir.path(), "tap", &disks).await;
    let _tap = begin(&machine, &server, None).await;
    server.stall(true);
    machine.qemu_io("vdata", "aio_write -P 0x11 0 4096");
    server.arrived(1).await;
    in_time(machine.hypervisor.end_tap(&machine.access(), journal_id(1))).await.unwrap();
    assert_eq!(left(&mut machine), [""; 0]);
    assert!(machine.qemu_io("vdata", "read -P 0x11 0 4096").starts_with("read 4096"));
}

/// Nobody holds a tap yet that could cut it off.
#[tokio::test(flavor = "multi_thread")]
async fn a_tap_that_stalls_as_it_begins_does_not_begin() {
    let disks = disks();
    let mut machine = Machine::start(&disks);
    let server = TapServer::start(machine.dir.path(), "tap", &disks).await;
    server.stall(true);
    let monitor = machine.dir.path().join("qmp2.sock");
    let writer = std::thread::spawn(move || {
        let mut monitor = TestMonitor::connect(&monitor);
        let begun = Instant::now();
        while monitor.send("query-block-jobs", json!({}))["return"].as_array().is_none_or(Vec::is_empty) {
            assert!(begun.elapsed() < Duration::from_secs(60), "no mirror comes");
        }
        let line = "qemu-io -d /machine/peripheral/vroot/virtio-backend \"aio_write -q 0 4096\"";
        monitor.send("human-monitor-command", json!({"command-line": line}));
    });
    let begun = in_time(machine.hypervisor.begin_tap(&request(&machine, &server, None))).await;
    tokio::task::spawn_blocking(|| writer.join()).await.unwrap().unwrap();
    // The guest may have written a little later.
    if let Ok(tap) = begun {
        in_time(tap.cut()).await;
    }
    in_time(machine.hypervisor.end_tap(&machine.access(), journal_id(1))).await.unwrap();
    machine.write("vroot", 0, 512, 0x11);
    assert_eq!(left(&mut machine), [""; 0]);
}

/// A mirror that ends by itself frees what such writes still use.
#[tokio::test(flavor = "multi_thread")]
async fn a_tap_that_dies_with_many_writes_in_flight_leaves_the_vm_alive() {
    let disks = disks();
    let mut machine = Machine::start(&disks);
    for name in ["first", "second", "third"] {
        let server = TapServer::start(machine.dir.path(), name, &disks).await;
        let tap = begin(&machine, &server, None).await;
        server.stall(true);
        for write in 0..24 {
            machine.qemu_io("vroot", &format!("aio_write -q -P {} {} 20480", 1 + write, write % 5 * 512));
        }
        server.arrived(1).await;
        server.kill().await;
        assert!(matches!(in_time(tap.ended()).await, TapEnd::Broken(_)));
        machine.qemu_io("vroot", "aio_flush");
        in_time(machine.hypervisor.end_tap(&machine.access(), journal_id(1))).await.unwrap();
        assert_eq!(machine.status(), "running");
        assert_eq!(left(&mut machine), [""; 0]);
    }
}

/// QEMU does not notice that a tap has died before it has something for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_tap_that_died_unnoticed_is_not_gone_on_with() {
    let disks = [Disk::qcow2("vroot")];
    let mut machine = Machine::start(&disks);
    let server = TapServer::start(machine.dir.path(), "tap", &disks).await;
    let tap = begin(&machine, &server, None).await;
    let epoch = tap.begin_epoch().await.unwrap();
    machine.write("vroot", 0, 512, 0x11);
    drop(tap);
    server.kill().await;
    let server = TapServer::start(machine.dir.path(), "tap", &disks).await;
    let tap = begin(&machine, &server, Some(epoch)).await;
    assert_eq!(missed(&*tap), [ByteRange::new(0, BLOCK)], "what it had taken is lost with it");
    machine.write("vroot", 512, 512, 0x22);
    assert_eq!(server.taken().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_does_not_hold_the_vm_up() {
    let disks = disks();
    let mut machine = Machine::start(&disks);
    let silent = machine.dir.path().join("silent");
    let _listener = std::os::unix::net::UnixListener::bind(&silent).unwrap();
    let server = TapServer::start(machine.dir.path(), "tap", &disks).await;
    let silent = TapRequest { socket: silent, ..request(&machine, &server, None) };
    assert!(in_time(machine.hypervisor.begin_tap(&silent)).await.is_err());
    let absent = TapRequest { socket: machine.dir.path().join("absent"), ..silent };
    let error = in_time(machine.hypervisor.begin_tap(&absent)).await.err().unwrap();
    assert!(error.guidance().is_some(), "{error}");
    assert_eq!(left(&mut machine), [""; 0]);
    machine.write("vroot", 0, 512, 0x11);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_ends_in_order_has_handed_everything_on_and_tells_later_what_it_wrote_alone() {
    let disks = disks();
    let mut machine = Machine::start(&disks);
    let server = TapServer::start(machine.dir.path(), "tap", &disks).await;
    let tap = begin(&machine, &server, None).await;
    let epoch = tap.begin_epoch().await.unwrap();
    machine.write("vroot", 0, 512, 0x11);
    machine.quit();
    assert_eq!(in_time(tap.ended()).await, TapEnd::VmEnded);
    let gone = in_time(machine.hypervisor.begin_tap(&request(&machine, &server, None))).await.err().unwrap();
    assert_eq!(gone.kind(), ErrorKind::Gone, "{gone}");
    drop(tap);

    machine.start_again();
    machine.write("vroot", 7 * BLOCK, 512, 0x22);
    let tap = begin(&machine, &server, Some(epoch)).await;
    assert_eq!(missed(&*tap), [ByteRange::new(0, BLOCK), ByteRange::new(7 * BLOCK, BLOCK)]);
    assert!(why_all(&*tap, 1).contains("not qcow2"), "{}", why_all(&*tap, 1));
    let second = tap.begin_epoch().await.unwrap();
    assert!(second > epoch);

    machine.kill();
    assert!(matches!(in_time(tap.ended()).await, TapEnd::Broken(_)), "the disk may have more than the tap");
    drop(tap);
    machine.start_again();
    let tap = begin(&machine, &server, Some(second)).await;
    assert!(why_all(&*tap, 0).contains("powered off"), "{}", why_all(&*tap, 0));
    assert!(tap.begin_epoch().await.unwrap() > second, "an epoch is never counted twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_again_goes_on_with_the_tap_that_runs() {
    let disks = disks();
    let mut machine = Machine::start(&disks);
    let server = TapServer::start(machine.dir.path(), "tap", &disks).await;
    let tap = begin(&machine, &server, None).await;
    let epoch = tap.begin_epoch().await.unwrap();
    let jobs = machine.execute("query-block-jobs", json!({}));
    machine.write("vroot", 0, 512, 0x11);
    drop(tap);
    machine.hypervisor = QemuHypervisor::new(config(machine.dir.path()));
    machine.write("vroot", 512, 512, 0x22);

    let tap = begin(&machine, &server, Some(epoch)).await;
    assert_eq!(missed(&*tap), [], "the tap has it all");
    let names = |jobs: &serde_json::Value| -> Vec<String> {
        jobs.as_array().unwrap().iter().map(|job| job["device"].to_string()).collect()
    };
    assert_eq!(names(&machine.execute("query-block-jobs", json!({}))), names(&jobs));
    machine.write("vroot", 1024, 512, 0x33);
    assert_eq!(server.taken().len(), 3);
    drop(tap);

    // What the journal lacked before it still lacks.
    let tap = begin(&machine, &server, None).await;
    assert!(why_all(&*tap, 0).contains("nothing is known"));
    drop(tap);

    let elsewhere = TapServer::start(machine.dir.path(), "elsewhere", &disks).await;
    let tap = begin(&machine, &elsewhere, Some(epoch)).await;
    machine.write("vroot", 2048, 512, 0x44);
    assert_eq!((server.taken().len(), elsewhere.taken().len()), (3, 1));
    drop(tap);
    let other = TapRequest { journal_id: journal_id(2), ..request(&machine, &server, None) };
    let error = machine.hypervisor.begin_tap(&other).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    machine.hypervisor.end_tap(&machine.access(), journal_id(2)).await.unwrap();
    machine.write("vroot", 2048, 512, 0x55);
    assert_eq!(elsewhere.taken().len(), 2, "it is not that journal's to end");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_journal_leaves_nothing_in_the_images_of_a_stopped_vm() {
    let disks = [Disk::qcow2("vroot")];
    let mut machine = Machine::start(&disks);
    let server = TapServer::start(machine.dir.path(), "tap", &disks).await;
    let tap = begin(&machine, &server, None).await;
    machine.last_seen =
        Some(Box::new(machine.hypervisor.inspect(&machine.access()).await.unwrap().definition));
    machine.quit();
    drop(tap);
    let image = machine.dir.path().join("vroot.qcow2");
    let info = || crate::machine::qemu_img(&["info", "--output=json", image.to_str().unwrap()]);
    assert!(info().contains("holdfast-tap-"), "{}", info());
    machine.hypervisor.end_tap(&machine.access(), journal_id(2)).await.unwrap();
    assert!(info().contains("holdfast-tap-"), "it is not that journal's");
    machine.hypervisor.end_tap(&machine.access(), journal_id(1)).await.unwrap();
    assert!(!info().contains("holdfast-tap-"), "{}", info());
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_that_come_and_go_end_the_tap() {
    let scsi = ["-device", "virtio-scsi-pci,id=s", "-device", "scsi-hd,id=vroot,bus=s.0,drive=vroot"];
    let disks = [Disk::qcow2("vroot").with_device(&scsi)];
    let mut machine = Machine::start(&disks);
    let server = TapServer::start(machine.dir.path(), "tap", &disks).await;
    let tap = begin(&machine, &server, None).await;
    machine.execute("blockdev-add", json!({"driver": "null-co", "node-name": "more", "size": SIZE_BYTES}));
    machine.execute("device_add", json!({"driver": "scsi-hd", "id": "more", "bus": "s.0", "drive": "more"}));
    assert_eq!(in_time(tap.ended()).await, TapEnd::DisksChanged);

    let tap = begin(&machine, &server, None).await;
    machine.execute("device_del", json!({"id": "more"}));
    assert_eq!(in_time(tap.ended()).await, TapEnd::DisksChanged);

    let tap = begin(&machine, &server, None).await;
    machine.execute("device_del", json!({"id": "vroot"}));
    assert_eq!(in_time(tap.ended()).await, TapEnd::DisksChanged);
    in_time(machine.hypervisor.end_tap(&machine.access(), journal_id(1))).await.unwrap();
    assert_eq!(left(&mut machine), [""; 0]);
}

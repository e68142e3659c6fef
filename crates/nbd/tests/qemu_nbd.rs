//! The client against a real `qemu-nbd` and `qemu-storage-daemon`.

use std::{fs, path::PathBuf, process::Command, sync::Arc};

use image::{ByteRange, DiskImage, DiskTarget, ErrorKind, Extent, ExtentKind, conformance};
use nbd::{Client, Endpoint, NbdImage, NbdTarget, dirty_bitmap_context};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const SIZE_BYTES: u64 = 8 << 20;
const ONE: usize = 1;

/// A `qemu-nbd` of its own for one test.
struct Server {
    folder: TempDir,
}

impl Server {
    fn new() -> Self {
        Self { folder: TempDir::new().expect("a temporary folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Serves until it is killed. Returns when clients can connect.
    fn serve(&self, arguments: &[&str]) -> Endpoint {
        let common = ["--fork", "--persistent", "--shared=8", "--pid-file=pid", "--socket"];
        let mut command = Command::new("qemu-nbd");
        command.args(common).arg(self.path("socket")).args(arguments).current_dir(self.folder.path());
        assert!(command.status().expect("qemu-nbd starts").success());
        Endpoint::Unix(self.path("socket"))
    }

    fn create_qcow2(&self) {
        self.qemu_img(&["create", "-q", "-f", "qcow2", "disk.qcow2", &SIZE_BYTES.to_string()]);
    }

    fn qemu_img(&self, arguments: &[&str]) {
        self.run("qemu-img", arguments);
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = Command::new(program).args(arguments).current_dir(self.folder.path()).output();
        let output = output.expect("the program starts");
        assert!(output.status.success(), "{output:?}");
    }

    fn kill(&self, signal: Signal) {
        let Ok(pid) = fs::read_to_string(self.path("pid")) else { return };
        let pid = pid.trim().parse().ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("the server runs");
        fs::remove_file(self.path("pid")).expect("the file is there");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill(Signal::KILL);
    }
}

fn pattern() -> Vec<u8> {
    let mut bytes = vec![0; SIZE_BYTES as usize];
    for (place, byte) in bytes.iter_mut().enumerate().filter(|(place, _)| (place >> 16) % 3 == 1) {
        *byte = (place >> 9) as u8 | 1;
    }
    bytes
}

async fn connect(endpoint: Endpoint, export: &str) -> NbdImage {
    NbdImage::connect(endpoint, export, &[], NbdImage::CONNECTIONS_DEFAULT).await.expect("it connects")
}

#[tokio::test]
async fn an_export_conforms_as_an_image() {
    let server = Server::new();
    fs::write(server.path("disk.raw"), pattern()).unwrap();
    let image = connect(server.serve(&["--read-only", "--format=raw", "disk.raw"]), "").await;
    conformance::check_image(&image, &pattern()).await;
    image.disconnect().await.unwrap();
    assert_eq!(image.read_at(0, &mut [0; 512]).await.unwrap_err().kind(), ErrorKind::Gone);
}

#[tokio::test]
async fn an_export_with_large_blocks_conforms_as_an_image() {
    let server = Server::new();
    fs::write(server.path("disk.raw"), pattern()).unwrap();
    let options = "driver=blkdebug,align=4096,image.driver=file,image.filename=disk.raw";
    let endpoint = server.serve(&["--read-only", "--image-opts", options]);
    let client = Client::connect(&endpoint, "", &[]).await.unwrap();
    assert_eq!(client.export().block_sizes.minimum_bytes, 4096);
    conformance::check_image(&connect(endpoint, "").await, &pattern()).await;
}

#[tokio::test]
async fn an_export_conforms_as_a_target() {
    let server = Server::new();
    server.create_qcow2();
    let endpoint = server.serve(&["--discard=unmap", "--format=qcow2", "disk.qcow2"]);
    let target = NbdTarget::connect(endpoint.clone(), "", true).await.unwrap();
    let expected = conformance::check_target(&target).await;
    let image = connect(endpoint, "").await;
    conformance::check_image(&image, &expected).await;
    let hole = ByteRange::new(128 << 10, 128 << 10);
    assert_eq!(image.extents(hole).await.unwrap(), [Extent { range: hole, kind: ExtentKind::Zero }]);
    target.disconnect().await.unwrap();
}

#[tokio::test]
async fn an_export_with_large_blocks_conforms_as_a_target() {
    let server = Server::new();
    fs::write(server.path("disk.raw"), pattern()).unwrap();
    let options = "driver=blkdebug,align=4096,image.driver=file,image.filename=disk.raw";
    let endpoint = server.serve(&["--image-opts", options]);
    let target = NbdTarget::connect(endpoint.clone(), "", false).await.unwrap();
    let mut expected = conformance::check_target(&target).await;
    let unaligned = ByteRange::new(512, 10_000 * 512);
    target.write_zeroes(unaligned).await.unwrap();
    expected[512..unaligned.end_bytes() as usize].fill(0);
    conformance::check_image(&connect(endpoint, "").await, &expected).await;
}

#[tokio::test]
async fn a_read_only_export_is_no_target() {
    let server = Server::new();
    fs::write(server.path("disk.raw"), pattern()).unwrap();
    let endpoint = server.serve(&["--read-only", "--format=raw", "disk.raw"]);
    assert_eq!(NbdTarget::connect(endpoint, "", false).await.unwrap_err().kind(), ErrorKind::Protocol);
}

#[tokio::test]
async fn a_dirty_bitmap_tells_what_changed() {
    let server = Server::new();
    server.create_qcow2();
    server.qemu_img(&["bitmap", "--add", "-g", "64k", "disk.qcow2", "since-monday"]);
    let last_sector = format!("write {} 512", SIZE_BYTES - 512);
    server.run("qemu-io", &["-f", "qcow2", "-c", "write 70144 512", "-c", &last_sector, "disk.qcow2"]);

    let contexts = ["since-monday", "since-sunday"].map(dirty_bitmap_context);
    let endpoint = server.serve(&["--read-only", "--format=qcow2", "--bitmap=since-monday", "disk.qcow2"]);
    let image = NbdImage::connect(endpoint, "", &contexts, 2).await.unwrap();
    assert!(image.changes("since-sunday").is_none(), "the server has no such bitmap");
    let changes = image.changes("since-monday").unwrap();
    let all = changes.changed_within(ByteRange::new(0, SIZE_BYTES)).await.unwrap();
    assert_eq!(all, [ByteRange::new(65_536, 65_536), ByteRange::new(SIZE_BYTES - 65_536, 65_536)]);
    let part = changes.changed_within(ByteRange::new(100_000, 1 << 20)).await.unwrap();
    assert_eq!(part, [ByteRange::between(100_000, 131_072)]);
    assert_eq!(
        changes.changed_within(ByteRange::new(SIZE_BYTES, 1)).await.unwrap_err().kind(),
        ErrorKind::OutOfBounds
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_reads_are_in_flight_at_once() {
    let server = Server::new();
    fs::write(server.path("disk.raw"), pattern()).unwrap();
    let image = Arc::new(connect(server.serve(&["--read-only", "--format=raw", "disk.raw"]), "").await);
    let expected = Arc::new(pattern());
    let mut reads = tokio::task::JoinSet::new();
    for number in 0..512_usize {
        let (image, expected) = (Arc::clone(&image), Arc::clone(&expected));
        reads.spawn(async move {
            let (start, mut buffer) = (number * 9973, vec![0; 512 + number * 131]);
            image.read_at(start as u64, &mut buffer).await.unwrap();
            assert!(buffer == expected[start..start + buffer.len()], "read {number}");
        });
    }
    while let Some(read) = reads.join_next().await {
        read.unwrap();
    }
}

#[tokio::test]
async fn a_disk_larger_than_one_request_is_mapped_and_read() {
    let server = Server::new();
    fs::File::create(server.path("disk.raw")).unwrap().set_len(10 << 30).unwrap();
    let image = connect(server.serve(&["--read-only", "--format=raw", "disk.raw"]), "").await;
    let whole = ByteRange::new(0, 10 << 30);
    assert_eq!(image.extents(whole).await.unwrap(), [Extent { range: whole, kind: ExtentKind::Zero }]);
    let mut buffer = vec![1; 40 << 20];
    image.read_at(4096, &mut buffer).await.unwrap();
    assert!(buffer.iter().all(|&byte| byte == 0));
}

#[tokio::test]
async fn reads_fail_when_the_server_dies() {
    let server = Server::new();
    // Its reads take an hour.
    let options = "driver=null-co,size=1M,latency-ns=3600000000000";
    let image = connect(server.serve(&["--read-only", "--image-opts", options]), "").await;
    let mut buffer = [0; 512];
    let mut read = image.read_at(0, &mut buffer);
    assert!(
        std::future::poll_fn(|context| std::task::Poll::Ready(read.as_mut().poll(context)))
            .await
            .is_pending()
    );
    server.kill(Signal::KILL);
    assert_eq!(read.await.unwrap_err().kind(), ErrorKind::Gone);
    assert_eq!(image.extents(ByteRange::new(0, 512)).await.unwrap_err().kind(), ErrorKind::Gone);
}

#[tokio::test]
async fn read_errors_are_told_apart_from_a_lost_server() {
    let server = Server::new();
    fs::write(server.path("disk.raw"), pattern()).unwrap();
    let options = "driver=blkdebug,inject-error.0.event=none,inject-error.0.iotype=read,inject-error.0.errno=5,\
                   inject-error.0.sector=8,image.driver=file,image.filename=disk.raw";
    let image = connect(server.serve(&["--read-only", "--image-opts", options]), "").await;
    let error = image.read_at(4096, &mut [0; 512]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    image.read_at(0, &mut [0; 512]).await.expect("other sectors are sound");
}

#[tokio::test]
async fn a_broken_snapshot_is_gone() {
    let server = Server::new();
    fs::write(server.path("disk.raw"), pattern()).unwrap();
    fs::File::create(server.path("scratch.raw")).unwrap().set_len(SIZE_BYTES).unwrap();
    let nodes = [
        "driver=file,node-name=disk,filename=disk.raw",
        "driver=blkdebug,node-name=scratch,image.driver=file,image.filename=scratch.raw,\
         inject-error.0.event=none,inject-error.0.iotype=write,inject-error.0.errno=28",
        "driver=copy-before-write,node-name=filter,file=disk,target=scratch,on-cbw-error=break-snapshot",
        "driver=snapshot-access,node-name=snapshot,file=filter",
    ];
    let exports = ["id=guest,node-name=filter,writable=on", "id=backup,node-name=snapshot"];
    let mut arguments = vec!["--daemonize".to_owned(), "--pidfile=pid".to_owned()];
    arguments.extend(nodes.map(|node| format!("--blockdev={node}")));
    arguments.push("--nbd-server=addr.type=unix,addr.path=socket".to_owned());
    arguments.extend(exports.map(|export| format!("--export=type=nbd,{export}")));
    server.run("qemu-storage-daemon", &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let endpoint = Endpoint::Unix(server.path("socket"));

    let image = connect(endpoint.clone(), "snapshot").await;
    conformance::check_image(&image, &pattern()).await;
    let guest = NbdTarget::connect(endpoint, "filter", false).await.unwrap();
    guest.write_at(0, &[1; 512]).await.expect("the guest never sees that the scratch file is full");
    assert_eq!(image.read_at(0, &mut [0; 512]).await.unwrap_err().kind(), ErrorKind::Gone);
    assert_eq!(image.extents(ByteRange::new(0, 512)).await.unwrap_err().kind(), ErrorKind::Gone);
}

#[tokio::test]
async fn exports_are_listed_and_missing_ones_are_named() {
    let server = Server::new();
    fs::write(server.path("disk.raw"), pattern()).unwrap();
    let endpoint = server.serve(&["--read-only", "--format=raw", "--export-name=the disk", "disk.raw"]);
    assert_eq!(nbd::list(&endpoint).await.unwrap(), ["the disk"]);
    let missing = NbdImage::connect(endpoint.clone(), "no disk", &[], ONE).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Gone);
    assert!(missing.to_string().contains("no disk"), "{missing}");
    assert_eq!(connect(endpoint, "the disk").await.size_bytes(), SIZE_BYTES);
}

#[tokio::test]
async fn a_server_is_reached_by_tcp() {
    let server = Server::new();
    fs::write(server.path("disk.raw"), pattern()).unwrap();
    // The port is free at this moment; qemu-nbd cannot be told to choose one itself.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let port = format!("--port={}", address.port());
    let mut command = Command::new("qemu-nbd");
    command.args(["--fork", "--persistent", "--shared=8", "--pid-file=pid", "--bind=127.0.0.1", &port]);
    command.args(["--read-only", "--format=raw", "disk.raw"]).current_dir(server.folder.path());
    assert!(command.status().unwrap().success());
    conformance::check_image(&connect(Endpoint::Tcp(address), "").await, &pattern()).await;
}

#[tokio::test]
async fn a_missing_socket_is_gone() {
    let endpoint = Endpoint::Unix("/nonexistent/socket".into());
    assert_eq!(NbdImage::connect(endpoint, "", &[], ONE).await.unwrap_err().kind(), ErrorKind::Gone);
}

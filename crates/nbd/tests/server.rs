//! The server, read by our client, by QEMU's tools and by libnbd's.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use image::{DiskTarget, MemoryImage, MemoryTarget, conformance};
use nbd::{Client, Endpoint, Exports, NbdImage, NbdTarget, Server, Tls, list};
use tempfile::TempDir;

const SIZE_BYTES: usize = 8 << 20;

fn disk() -> Vec<u8> {
    let mut bytes = vec![0; SIZE_BYTES];
    for (place, byte) in bytes.iter_mut().enumerate().filter(|(place, _)| (place >> 16) % 3 == 1) {
        *byte = (place >> 9) as u8 | 1;
    }
    bytes
}

/// A server on a unix socket, and the disk that it serves as a file beside it.
struct Served {
    folder: TempDir,
    _running: tokio::task::JoinHandle<()>,
}

impl Served {
    async fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let exports = Exports::new();
        exports.add("root", Arc::new(MemoryImage::new(disk())));
        fs::write(folder.path().join("disk.raw"), disk()).expect("it is writable");
        let server = Server::bind(&Endpoint::Unix(folder.path().join("socket")), exports)
            .await
            .expect("the socket is free");
        let running = tokio::spawn(async move { server.run().await });
        Self { folder, _running: running }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn url(&self) -> String {
        format!("nbd+unix:///root?socket={}", self.path("socket").display())
    }

    /// Runs a tool to its end, beside the server; gives what it printed.
    async fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder.path());
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it does not panic");
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("tools print UTF-8")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_conforms_over_a_unix_socket() {
    let served = Served::start().await;
    let endpoint = Endpoint::Unix(served.path("socket"));
    assert_eq!(list(&endpoint).await.unwrap(), ["root"]);
    let image = NbdImage::connect(endpoint, "root", &[], NbdImage::CONNECTIONS_DEFAULT).await.unwrap();
    conformance::check_image(&image, &disk()).await;
    image.disconnect().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_conforms_over_tcp() {
    let exports = Exports::new();
    exports.add("root", Arc::new(MemoryImage::new(disk())));
    let server = Server::bind(&Endpoint::Tcp("127.0.0.1:0".parse().unwrap()), exports).await.unwrap();
    let endpoint = server.endpoint().unwrap();
    let running = tokio::spawn(async move { server.run().await });
    let image = NbdImage::connect(endpoint, "root", &[], 2).await.unwrap();
    conformance::check_image(&image, &disk()).await;
    running.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_conforms_and_libnbd_writes_to_it() {
    let folder = TempDir::new().unwrap();
    let exports = Exports::new();
    let (ours, theirs) =
        (Arc::new(MemoryTarget::new(SIZE_BYTES as u64)), Arc::new(MemoryTarget::new(SIZE_BYTES as u64)));
    exports.add_target("ours", Arc::clone(&ours) as Arc<dyn DiskTarget>);
    exports.add_target("theirs", Arc::clone(&theirs) as Arc<dyn DiskTarget>);
    let endpoint = Endpoint::Unix(folder.path().join("socket"));
    let server = Server::bind(&endpoint, exports).await.unwrap();
    let running = tokio::spawn(async move { server.run().await });
    let target = NbdTarget::connect(endpoint, "ours", true).await.unwrap();
    let expected = conformance::check_target(&target).await;
    target.disconnect().await.unwrap();
    drop(target);
    fs::write(folder.path().join("disk.raw"), disk()).unwrap();
    let url = format!("nbd+unix:///theirs?socket={}", folder.path().join("socket").display());
    let mut copy = Command::new("nbdcopy");
    copy.args(["--requests=16", "disk.raw", &url]).current_dir(folder.path());
    let output = tokio::task::spawn_blocking(move || copy.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    running.abort();
    let _ = running.await;
    for (target, expected) in [(ours, expected), (theirs, disk())] {
        while Arc::strong_count(&target) > 1 {
            tokio::task::yield_now().await;
        }
        assert!(Arc::into_inner(target).unwrap().into_bytes() == expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_is_its_owners_alone_taken_over_when_stale_and_removed() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("socket");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let endpoint = Endpoint::Unix(path.clone());
    let server = Server::bind(&endpoint, Exports::new()).await.unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let error = Server::bind(&endpoint, Exports::new()).await.expect_err("somebody listens");
    assert!(error.to_string().contains("listening on"), "{error}");
    drop(server);
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn qemu_reads_the_same_disk() {
    let served = Served::start().await;
    let url = served.url();
    served.run("qemu-img", &["compare", "-f", "raw", "-F", "raw", &url, "disk.raw"]).await;
    served.run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", &url, "copy.qcow2"]).await;
    served.run("qemu-img", &["compare", "-f", "qcow2", "-F", "raw", "copy.qcow2", "disk.raw"]).await;
    // Holes stay holes: a third of the disk is data.
    assert!(fs::metadata(served.path("copy.qcow2")).unwrap().len() < SIZE_BYTES as u64 / 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn libnbd_reads_the_same_disk() {
    let served = Served::start().await;
    let url = served.url();
    let facts = served.run("nbdinfo", &["--json", &url]).await;
    assert!(
        facts.contains(r#""is_read_only": true"#) && facts.contains(r#""can_multi_conn": true"#),
        "{facts}"
    );
    assert!(facts.contains("base:allocation"), "{facts}");
    let map = served.run("nbdinfo", &["--map", &url]).await;
    assert!(map.lines().next().unwrap().contains("hole,zero"), "{map}");
    assert_eq!(map.lines().count(), SIZE_BYTES.div_ceil(3 << 16) * 2 - 1 + 1, "{map}");
    let listed = served.run("nbdinfo", &["--list", &url]).await;
    assert!(listed.contains("root"), "{listed}");
    served.run("nbdcopy", &["--connections=4", &url, "copy.raw"]).await;
    assert!(fs::read(served.path("copy.raw")).unwrap() == disk());
}

/// An authority, and certificates of its for a server and for a client, where GnuTLS looks for them.
fn make_certificates(folder: &Path) {
    let run = |line: &str| {
        let output = Command::new("openssl").args(line.split(' ')).current_dir(folder).output();
        let output = output.expect("openssl is installed");
        assert!(output.status.success(), "{output:?}");
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    run(&format!("req -x509 {key} -days 2 -subj /CN=authority -keyout ca-key.pem -out ca-cert.pem"));
    for (name, subject) in [("server", "/CN=127.0.0.1"), ("client", "/CN=client")] {
        run(&format!("req {key} -subj {subject} -keyout {name}-key.pem -out {name}.csr"));
        fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1").expect("it is writable");
        let authority = "-CA ca-cert.pem -CAkey ca-key.pem -CAcreateserial -extfile names";
        run(&format!("x509 -req -in {name}.csr {authority} -days 2 -out {name}-cert.pem"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn libnbd_and_qemu_read_under_tls_and_nobody_does_without() {
    let served = Served::start().await;
    make_certificates(served.folder.path());
    let read = |name: &str| fs::read(served.path(name)).unwrap();
    let (chain, key, authority) = (read("server-cert.pem"), read("server-key.pem"), read("ca-cert.pem"));
    let exports = Exports::new();
    exports.add("root", Arc::new(MemoryImage::new(disk())));
    let server = Server::bind(&Endpoint::Tcp("127.0.0.1:0".parse().unwrap()), exports).await.unwrap();
    let server = server.with_tls(Tls::from_pem(&chain, &key, Some(&authority)).unwrap());
    let endpoint = server.endpoint().unwrap();
    let Endpoint::Tcp(address) = &endpoint else { panic!("{endpoint}") };
    let address = *address;
    let running = tokio::spawn(async move { server.run().await });

    let folder = served.folder.path().display();
    let url = format!("nbds://{address}/root?tls-certificates={folder}");
    served.run("nbdcopy", &[&url, "copy.raw"]).await;
    assert!(fs::read(served.path("copy.raw")).unwrap() == disk());

    let credentials = format!("tls-creds-x509,id=tls,endpoint=client,dir={folder}");
    let source = format!("driver=nbd,host=127.0.0.1,port={},export=root,tls-creds=tls", address.port());
    let arguments = ["compare", "--object", &credentials, "--image-opts", &source];
    served
        .run("qemu-img", &[&arguments[..], &["driver=raw,file.driver=file,file.filename=disk.raw"]].concat())
        .await;

    let error = Client::connect(&endpoint, "root", &[]).await.unwrap_err();
    assert!(error.to_string().contains("requires TLS"), "{error}");
    running.abort();
}

#[test]
fn certificates_that_are_none_are_refused() {
    let error = Tls::from_pem(b"no certificate", b"no key", None).unwrap_err();
    assert!(error.to_string().contains("no certificate"), "{error}");
}

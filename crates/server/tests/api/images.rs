//! Images: exported, compared, streamed.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use api::{Code, ExportRequest, ImageExtentView, ImageQuery, JobResult, NbdRequest};
use image::DiskImage as _;
use model::ImageFormat;
use nbd::{Endpoint, NbdImage};

use crate::site::{DISK_SIZE_BYTES, TestSite, code, pattern};

const LATEST: ImageQuery<'_> = ImageQuery { reference: "point:db/latest", from_copy: None };

/// What the server may take on a busy machine to notice that a client has gone.
const PATIENCE: Duration = Duration::from_secs(30);

fn export(reference: &str, path: &std::path::Path, format: ImageFormat) -> ExportRequest {
    ExportRequest {
        reference: reference.to_owned(),
        from_copy: None,
        path: path.display().to_string(),
        format,
        compress: false,
        replace: false,
    }
}

/// A site with two points of one VM: the second has a byte changed at 1 MiB.
async fn two_points() -> (TestSite, String, Vec<u8>) {
    let site = TestSite::start().await;
    site.protected_guest("db").await;
    let first = site.backup("db").await;
    let mut changed = pattern(1);
    changed[1 << 20] ^= 1;
    site.hypervisor.write(&site.path("db"), 1 << 20, &changed[1 << 20..(1 << 20) + 1]);
    site.backup("db").await;
    (site, format!("point:db/{}", first.id), changed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_is_exported_and_read_as_a_file() {
    let (site, _, changed) = two_points().await;
    std::fs::write(site.path("expected"), &changed).unwrap();
    let path = site.path("db.vhdx");
    let job = site.client.export(&export("point:db/latest", &path, ImageFormat::Vhdx)).await.unwrap();
    let ended = site.end(&job).await;
    let Some(JobResult::Exported(file)) = ended.result else { panic!("{:?}", ended.problem) };
    assert_eq!((file.size_bytes.0, file.format), (DISK_SIZE_BYTES as u64, ImageFormat::Vhdx));
    let mut compare = Command::new("qemu-img");
    compare.args(["compare", "-f", "vhdx", "-F", "raw"]).arg(&path).arg(site.path("expected"));
    assert!(compare.status().unwrap().success());

    let file = format!("file:{}", path.display());
    let same = site.client.image_changes(&file, LATEST, 0).await.unwrap();
    assert_eq!((same.extents, same.next_bytes), (Vec::new(), None));
    let again = site.client.export(&export("point:db/latest", &path, ImageFormat::Vhdx)).await;
    assert_eq!(code(again), Code::Conflict, "it exists");
}

#[tokio::test]
async fn what_differs_between_two_points_is_told_in_blocks() {
    let (site, first, _) = two_points().await;
    let page = site.client.image_changes(&first, LATEST, 0).await.unwrap();
    assert_eq!(page.size_bytes, DISK_SIZE_BYTES as u64);
    assert_eq!(page.extents, [ImageExtentView { offset_bytes: 1 << 20, length_bytes: 4096 }]);
    let rest = site.client.image_changes(&first, LATEST, 2 << 20).await.unwrap();
    assert_eq!(rest.extents, []);
}

#[tokio::test]
async fn the_bytes_of_an_image_are_streamed() {
    let (site, _, changed) = two_points().await;
    let mut data = site.client.image_data(LATEST).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = data.next().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    assert!(bytes == changed);
}

#[tokio::test]
async fn references_to_images_are_checked() {
    let (site, _, _) = two_points().await;
    let path = site.path("new.raw");
    for (reference, expected) in [
        ("db/latest", Code::Invalid),
        ("file:relative", Code::Invalid),
        ("point:nobody/latest", Code::NotFound),
        ("point:db/latest/other", Code::NotFound),
    ] {
        let refused = site.client.export(&export(reference, &path, ImageFormat::Raw)).await;
        assert_eq!(code(refused), expected, "{reference}");
    }
    let missing = site.client.image_changes("file:/nowhere", LATEST, 0).await;
    assert_eq!(code(missing), Code::NotFound);
}

fn shown(reference: &str) -> NbdRequest {
    NbdRequest { reference: reference.to_owned(), ..NbdRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_point_is_shown_over_nbd_while_the_answer_is_taken() {
    let (site, _, changed) = two_points().await;
    let shown = site.client.show_over_nbd(&shown("point:db/latest")).await.unwrap();
    let socket = PathBuf::from(shown.view.socket.clone().unwrap());
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let [export] = shown.view.exports.as_slice() else { panic!("{:?}", shown.view) };
    assert_eq!((export.name.as_str(), export.size_bytes.0), ("root", DISK_SIZE_BYTES as u64));
    std::fs::write(site.path("expected"), &changed).unwrap();
    compare(&export.uri, &site.path("expected"));

    let endpoint = Endpoint::Unix(socket.clone());
    assert_eq!(nbd::list(&endpoint).await.unwrap(), ["root"]);
    let image = NbdImage::connect(endpoint, "root", &[], 2).await.unwrap();
    drop(shown);
    // The first read after the end finds the connection cut.
    let ended = async { while image.read_at(0, &mut [0; 512]).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    let removed = async {
        while socket.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, removed).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shown_point_stays_the_same_when_newer_ones_come() {
    let (site, first, _) = two_points().await;
    std::fs::write(site.path("expected"), pattern(1)).unwrap();
    let shown = site.client.show_over_nbd(&shown(&first)).await.unwrap();
    let pinned = shown.view.reference.clone();
    site.hypervisor.write(&site.path("db"), 0, &[1; 512]);
    site.backup("db").await;
    compare(&shown.view.exports[0].uri, &site.path("expected"));
    let again =
        NbdRequest { reference: pinned, socket: Some(text(&site.path("own.sock"))), ..NbdRequest::default() };
    let again = site.client.show_over_nbd(&again).await.unwrap();
    compare(&again.view.exports[0].uri, &site.path("expected"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_is_shown_on_a_port_of_this_host_and_on_no_other_without_tls() {
    let (site, _, changed) = two_points().await;
    std::fs::write(site.path("expected"), &changed).unwrap();
    let on = |listen: &str| NbdRequest { listen: Some(listen.to_owned()), ..shown("point:db/latest/root") };
    let shown = site.client.show_over_nbd(&on("127.0.0.1:0")).await.unwrap();
    assert!(shown.view.listen.as_deref().is_some_and(|address| !address.ends_with(":0")));
    compare(&shown.view.exports[0].uri, &site.path("expected"));
    let taken = on(shown.view.listen.as_deref().unwrap());
    assert_eq!(code(site.client.show_over_nbd(&taken).await), Code::Conflict);
    for (listen, expected) in [("0.0.0.0:0", Code::Invalid), ("nowhere", Code::Invalid)] {
        assert_eq!(code(site.client.show_over_nbd(&on(listen)).await), expected, "{listen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_the_place_of_a_socket_is_not_touched() {
    let (site, _, _) = two_points().await;
    std::fs::write(site.path("file"), "somebody's").unwrap();
    let request = NbdRequest { socket: Some(text(&site.path("file"))), ..shown("point:db/latest") };
    assert_eq!(code(site.client.show_over_nbd(&request).await), Code::Conflict);
    assert_eq!(std::fs::read_to_string(site.path("file")).unwrap(), "somebody's");
    let relative = NbdRequest { socket: Some("nbd.sock".to_owned()), ..shown("point:db/latest") };
    assert_eq!(code(site.client.show_over_nbd(&relative).await), Code::Invalid);
    let nothing = site.client.show_over_nbd(&shown("point:db/latest/none")).await;
    assert_eq!(code(nothing), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_of_a_dead_server_are_removed() {
    let (site, _, _) = two_points().await;
    let left = site.path("run/nbd-0123abcd.sock");
    drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
    let site = site.restart().await;
    assert!(!left.exists());
    drop(site);
}

fn compare(uri: &str, expected: &Path) {
    let mut compare = Command::new("qemu-img");
    let output = compare.args(["compare", "-f", "raw", "-F", "raw", uri]).arg(expected).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

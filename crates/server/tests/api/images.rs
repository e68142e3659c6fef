//! Images: exported, compared, streamed.

use std::process::Command;

use api::{Code, ExportRequest, ImageExtentView, ImageQuery, JobResult};
use model::ImageFormat;

use crate::site::{DISK_SIZE_BYTES, TestSite, code, pattern};

const LATEST: ImageQuery<'_> = ImageQuery { reference: "point:db/latest", from_copy: None };

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

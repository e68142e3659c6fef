//! Images as files of every format, and back.

use std::{fs, path::Path, process::Command, sync::Arc};

use image::{DiskImage, FaultyImage, MemoryImage, conformance};
use image_formats::{ErrorKind, Export, export_image, file_format, open_image};
use model::ImageFormat;
use tempfile::TempDir;

/// Not a whole number of MiB.
const SIZE_BYTES: usize = (4 << 20) + 1536;

fn disk() -> Vec<u8> {
    let mut bytes = vec![0; SIZE_BYTES];
    for (place, byte) in bytes.iter_mut().enumerate().filter(|(place, _)| (place >> 16) % 3 == 1) {
        *byte = (place >> 9) as u8 | 1;
    }
    bytes
}

fn image() -> Arc<dyn DiskImage> {
    Arc::new(MemoryImage::new(disk()))
}

/// The name of QEMU's driver.
fn driver(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Vhd | ImageFormat::VhdDynamic => "vpc",
        other => other.as_str(),
    }
}

fn qemu_img(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("qemu-img").args(arguments).current_dir(folder).output().expect("it starts");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_goes_out_and_comes_back_the_same() {
    for (format, compress) in ImageFormat::ALL
        .into_iter()
        .map(|format| (format, false))
        .chain([(ImageFormat::Qcow2, true), (ImageFormat::Vmdk, true)])
    {
        let folder = TempDir::new().unwrap();
        let path =
            folder.path().join(format!("disk.{}", if driver(format) == "vpc" { "vhd" } else { "img" }));
        let export = Export { path: path.clone(), format, compress };
        let mut done = 0.0;
        export_image(image(), &export, |part| done = part).await.unwrap();
        assert!(done > 0.99, "{format}: {done}");

        let is_vhd = driver(format) == "vpc";
        let size = if is_vhd { 5 << 20 } else { SIZE_BYTES };
        let mut expected = disk();
        expected.resize(size, 0);
        fs::write(folder.path().join("expected"), &expected).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        qemu_img(folder.path(), &["compare", "-f", driver(format), "-F", "raw", name, "expected"]);
        if format == ImageFormat::Vhd {
            assert_eq!(fs::metadata(&path).unwrap().len(), size as u64 + 512, "whole MiB and a footer");
        }

        let found = file_format(&path).await.unwrap();
        assert_eq!(found, if is_vhd { ImageFormat::Vhd } else { format });
        let opened = open_image(&path, None).await.unwrap();
        conformance::check_image(&opened, &expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_fails_says_why() {
    let folder = TempDir::new().unwrap();
    let image = FaultyImage::after_reads(MemoryImage::new(disk()), 1, image::ErrorKind::Corrupt);
    let export = Export { path: folder.path().join("disk"), format: ImageFormat::Qcow2, compress: false };
    let error = export_image(Arc::new(image), &export, drop).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Image(image::ErrorKind::Corrupt));
}

#[tokio::test]
async fn compression_is_refused_where_there_is_none() {
    let export = Export { path: "/nowhere".into(), format: ImageFormat::Vhd, compress: true };
    let error = export_image(image(), &export, drop).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_vmdk_that_names_other_files_is_refused() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("base.img"), [7; 1 << 20]).unwrap();
    let create = ["create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", "flat.vmdk", "1M"];
    qemu_img(folder.path(), &create);
    let error = open_image(&folder.path().join("flat.vmdk"), None).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");

    qemu_img(folder.path(), &["convert", "-f", "raw", "-O", "vmdk", "base.img", "base.vmdk"]);
    qemu_img(folder.path(), &["create", "-q", "-f", "vmdk", "-F", "vmdk", "-b", "base.vmdk", "overlay.vmdk"]);
    let error = open_image(&folder.path().join("overlay.vmdk"), None).await.err().unwrap();
    assert!(error.to_string().contains("several files"), "{error}");
}

#[tokio::test]
async fn a_raw_disk_that_ends_like_a_vhd_is_raw_unless_it_is_named_one() {
    let folder = TempDir::new().unwrap();
    let mut bytes = vec![0; 1 << 20];
    bytes[(1 << 20) - 512..][..8].copy_from_slice(b"conectix");
    for (name, format) in [("disk.img", ImageFormat::Raw), ("disk.VHD", ImageFormat::Vhd)] {
        fs::write(folder.path().join(name), &bytes).unwrap();
        assert_eq!(file_format(&folder.path().join(name)).await.unwrap(), format);
    }
}

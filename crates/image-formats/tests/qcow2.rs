//! qcow2 files as images and targets, and raw files through `qemu-nbd`.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, path::Path, process::Command};

use image::{ByteRange, DiskImage, conformance};
use image_formats::{
    ErrorKind, Qcow2Target, QemuNbdImage, RawTarget, Usage, bitmap, create_target, detect, info,
};
use model::DiskFormat;
use tempfile::TempDir;

const SIZE_BYTES: u64 = 4 << 20;

fn run(folder: &Path, program: &str, arguments: &[&str]) {
    let output =
        Command::new(program).args(arguments).current_dir(folder).output().expect("the program starts");
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn a_new_file_of_either_format_conforms_both_ways() {
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("disk");
        let target = create_target(&path, format, SIZE_BYTES).await.unwrap();
        let expected = conformance::check_target(target.as_ref()).await;
        target.finish().await.unwrap();

        fs::write(folder.path().join("expected"), &expected).unwrap();
        run(folder.path(), "qemu-img", &["compare", "-f", format.as_str(), "-F", "raw", "disk", "expected"]);
        let image = QemuNbdImage::open(&path, format, &[]).await.unwrap();
        conformance::check_image(&image, &expected).await;
        image.close().await.unwrap();
        if format == DiskFormat::Qcow2 {
            run(folder.path(), "qemu-img", &["check", "-q", "-f", "qcow2", "disk"]);
        }
    }
}

#[tokio::test]
async fn any_file_name_is_only_a_file_name() {
    let names = [
        "with space",
        "with,comma",
        "with:colon",
        "nbd:unix",
        "json:{}",
        "-f",
        "it's \"quoted\"",
        "$(id)",
        "a=b",
        "new\nline",
        "서울",
        "%s",
        "driver=raw,file.filename=x",
    ];
    let names = names.map(|name| OsStr::new(name).to_owned());
    for name in names.into_iter().chain([OsStr::from_bytes(b"not \xff UTF-8").to_owned()]) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join(name);
        let target = create_target(&path, DiskFormat::Qcow2, SIZE_BYTES).await.unwrap();
        target.write_at(512, &[3; 512]).await.unwrap();
        target.finish().await.unwrap();

        bitmap::add(&path, "b", 65_536).await.unwrap();
        let found = detect(&path, Usage::AtRest).await.unwrap();
        assert_eq!((found.format, found.size_bytes, found.bitmaps.len()), (DiskFormat::Qcow2, SIZE_BYTES, 1));
        let image = QemuNbdImage::open(&path, DiskFormat::Qcow2, &["b".to_owned()]).await.unwrap();
        let mut sector = [0; 512];
        image.read_at(512, &mut sector).await.unwrap();
        assert_eq!(sector, [3; 512]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else was made");
    }
}

#[tokio::test]
async fn a_relative_path_that_looks_like_a_protocol_is_a_file() {
    let error = detect("nbd:localhost:10809".as_ref(), Usage::AtRest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn a_file_that_is_there_is_not_overwritten() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    fs::write(&path, "precious").unwrap();
    assert_eq!(Qcow2Target::create(&path, SIZE_BYTES).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[tokio::test]
async fn a_file_that_cannot_be_created_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    assert_eq!(Qcow2Target::create(&path, u64::MAX).await.unwrap_err().kind(), ErrorKind::Failed);
    assert!(!path.exists());
    let nowhere = folder.path().join("none/disk");
    assert_eq!(Qcow2Target::create(&nowhere, SIZE_BYTES).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn an_image_that_is_written_is_in_use() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    let target = create_target(&path, DiskFormat::Qcow2, SIZE_BYTES).await.unwrap();
    let error = detect(&path, Usage::AtRest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
    assert!(error.guidance().is_some());
    assert_eq!(detect(&path, Usage::Live).await.unwrap().size_bytes, SIZE_BYTES);
    assert_eq!(QemuNbdImage::open(&path, DiskFormat::Qcow2, &[]).await.unwrap_err().kind(), ErrorKind::InUse);
    assert_eq!(bitmap::add(&path, "b", 65_536).await.unwrap_err().kind(), ErrorKind::InUse);
    target.finish().await.unwrap();
    bitmap::add(&path, "b", 65_536).await.expect("the file is free when finish returns");
}

#[tokio::test]
async fn a_raw_image_that_is_taken_for_writing_is_in_use() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    fs::write(&path, vec![1; 4096]).unwrap();
    let target = RawTarget::open_existing(&path, 4096).await.unwrap();
    assert_eq!(detect(&path, Usage::AtRest).await.unwrap_err().kind(), ErrorKind::InUse);
    assert_eq!(detect(&path, Usage::Live).await.unwrap_err().kind(), ErrorKind::InUse);
    assert_eq!(RawTarget::open_existing(&path, 4096).await.unwrap_err().kind(), ErrorKind::InUse);
    let error = QemuNbdImage::open(&path, DiskFormat::Raw, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse, "the lock outlasts a look at the file");
    drop(target);
    assert_eq!(detect(&path, Usage::AtRest).await.unwrap().size_bytes, 4096);
}

#[tokio::test]
async fn a_raw_image_that_another_process_writes_is_in_use() {
    let folder = TempDir::new().unwrap();
    let (path, pid_path) = (folder.path().join("disk"), folder.path().join("pid"));
    fs::write(&path, vec![1; 4096]).unwrap();
    // The server forks once it listens.
    let socket = format!("--socket={}", folder.path().join("socket").display());
    let pid_file = format!("--pid-file={}", pid_path.display());
    run(folder.path(), "qemu-nbd", &["--fork", "--persistent", "--format=raw", &socket, &pid_file, "disk"]);

    let found = [
        detect(&path, Usage::AtRest).await.map(drop),
        info(&path, DiskFormat::Raw, Usage::AtRest).await.map(drop),
    ];
    let live = detect(&path, Usage::Live).await;
    run(folder.path(), "kill", &[fs::read_to_string(&pid_path).unwrap().trim()]);
    for error in found.map(Result::unwrap_err) {
        assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
        assert!(error.guidance().is_some());
    }
    assert_eq!(live.unwrap().size_bytes, 4096);
}

#[tokio::test]
async fn an_image_that_is_read_cannot_be_written() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    create_target(&path, DiskFormat::Qcow2, SIZE_BYTES).await.unwrap().finish().await.unwrap();
    let image = QemuNbdImage::open(&path, DiskFormat::Qcow2, &[]).await.unwrap();
    assert_eq!(bitmap::add(&path, "b", 65_536).await.unwrap_err().kind(), ErrorKind::InUse);
    image.close().await.unwrap();
    bitmap::add(&path, "b", 65_536).await.expect("the file is free when close returns");
}

#[tokio::test]
async fn dirty_bitmaps_are_edited_and_read_at_rest() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    create_target(&path, DiskFormat::Qcow2, SIZE_BYTES).await.unwrap().finish().await.unwrap();

    bitmap::add(&path, "monday", 65_536).await.unwrap();
    assert_eq!(bitmap::add(&path, "monday", 65_536).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    run(folder.path(), "qemu-io", &["-f", "qcow2", "-c", "write 0 512", "disk"]);
    bitmap::disable(&path, "monday").await.unwrap();
    bitmap::add(&path, "--tuesday", 65_536).await.unwrap();
    run(folder.path(), "qemu-io", &["-f", "qcow2", "-c", "write 1M 512", "disk"]);

    let bitmaps = info(&path, DiskFormat::Qcow2, Usage::AtRest).await.unwrap().bitmaps;
    let states: Vec<_> = bitmaps.iter().map(|b| (b.name.as_str(), b.recording, b.inconsistent)).collect();
    assert_eq!(states, [("monday", false, false), ("--tuesday", true, false)]);
    assert_eq!(bitmaps[0].granularity_bytes, 65_536);

    bitmap::merge(&path, "--tuesday", "monday").await.unwrap();
    bitmap::remove(&path, "--tuesday").await.unwrap();
    assert_eq!(bitmap::remove(&path, "--tuesday").await.unwrap_err().kind(), ErrorKind::NotFound);
    bitmap::enable(&path, "monday").await.unwrap();

    let image = QemuNbdImage::open(&path, DiskFormat::Qcow2, &["monday".to_owned()]).await.unwrap();
    let changes =
        image.changes("monday").unwrap().changed_within(ByteRange::new(0, SIZE_BYTES)).await.unwrap();
    assert_eq!(changes, [ByteRange::new(0, 65_536), ByteRange::new(1 << 20, 65_536)]);
    assert!(image.changes("tuesday").is_none());
    let missing = QemuNbdImage::open(&path, DiskFormat::Qcow2, &["tuesday".to_owned()]).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
}

#[tokio::test]
async fn a_bitmap_whose_writer_died_is_inconsistent() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    create_target(&path, DiskFormat::Qcow2, SIZE_BYTES).await.unwrap().finish().await.unwrap();
    bitmap::add(&path, "b", 65_536).await.unwrap();
    let mut crash = Command::new("qemu-io");
    crash.args(["-f", "qcow2", "-c", "write 0 512", "-c", "abort"]).arg(&path);
    assert!(!crash.output().unwrap().status.success());

    let found = detect(&path, Usage::AtRest).await.unwrap();
    assert!(found.bitmaps[0].inconsistent);
    assert_eq!(bitmap::enable(&path, "b").await.unwrap_err().kind(), ErrorKind::Failed);
    bitmap::remove(&path, "b").await.unwrap();
    assert!(detect(&path, Usage::AtRest).await.unwrap().bitmaps.is_empty());
}

#[tokio::test]
async fn images_are_described_by_what_they_are() {
    let folder = TempDir::new().unwrap();
    let (raw, overlay, vmdk) =
        (folder.path().join("raw"), folder.path().join("overlay"), folder.path().join("vmdk"));
    fs::write(&raw, vec![0; 4096 + 100]).unwrap();
    run(
        folder.path(),
        "qemu-img",
        &["create", "-q", "-f", "qcow2", "-b", "raw", "-F", "raw", "overlay", "1M"],
    );
    run(folder.path(), "qemu-img", &["create", "-q", "-f", "vmdk", "vmdk", "1M"]);

    let found = detect(&raw, Usage::AtRest).await.unwrap();
    assert_eq!((found.format, found.size_bytes), (DiskFormat::Raw, 4096 + 512));
    assert_eq!(detect(&overlay, Usage::AtRest).await.unwrap().backing, Some("raw".into()));
    let error = detect(&vmdk, Usage::AtRest).await.unwrap_err();
    assert!(
        error.kind() == ErrorKind::Unsupported
            && error.guidance().is_some()
            && error.to_string().contains("VMDK")
    );
    assert_eq!(
        info(&raw, DiskFormat::Qcow2, Usage::AtRest).await.unwrap_err().kind(),
        ErrorKind::Unsupported
    );
    let found = info(&overlay, DiskFormat::Raw, Usage::AtRest).await.unwrap();
    assert_eq!(
        found.size_bytes,
        fs::metadata(&overlay).unwrap().len().next_multiple_of(512),
        "a raw disk may hold anything"
    );
}

#[tokio::test]
async fn a_backing_file_of_any_format_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("overlay");
    fs::write(folder.path().join("raw"), vec![0; 4096]).unwrap();
    run(
        folder.path(),
        "qemu-img",
        &["create", "-q", "-f", "qcow2", "-b", "raw", "-F", "raw", "overlay", "1M"],
    );
    // The header extension that records the format becomes one that nobody knows.
    let mut bytes = fs::read(&path).unwrap();
    let position = bytes.windows(4).position(|window| window == [0xe2, 0x79, 0x2a, 0xca]).unwrap();
    bytes[position..position + 4].fill(0x11);
    fs::write(&path, bytes).unwrap();

    for usage in [Usage::AtRest, Usage::Live] {
        let error = detect(&path, usage).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.guidance().unwrap().contains("qemu-img rebase -u -F"));
    }
}

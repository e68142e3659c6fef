//! Raw files as images and targets.

use std::{
    fs,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    process::Command,
};

use image::{ByteRange, DiskImage, DiskTarget, Extent, ExtentKind, conformance};
use image_formats::{ErrorKind, FileTarget, QemuNbdImage, RawImage, RawTarget};
use model::DiskFormat;
use tempfile::TempDir;

const SIZE_BYTES: u64 = 4 << 20;

#[tokio::test]
async fn a_file_conforms_as_an_image() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    let mut expected = vec![0; SIZE_BYTES as usize];
    expected[1 << 20..(1 << 20) + 300_000].fill(7);
    let file = fs::File::create(&path).unwrap();
    file.set_len(SIZE_BYTES).unwrap();
    file.write_all_at(&[7; 300_000], 1 << 20).unwrap();

    let image = RawImage::open(&path).await.unwrap();
    conformance::check_image(&image, &expected).await;
    let hole = ByteRange::new(2 << 20, 2 << 20);
    assert_eq!(image.extents(hole).await.unwrap(), [Extent { range: hole, kind: ExtentKind::Zero }]);
}

#[tokio::test]
async fn a_file_of_odd_length_ends_in_zeros() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    fs::write(&path, [9; 1000]).unwrap();
    let expected = [vec![9; 1000], vec![0; 24]].concat();
    conformance::check_image(&RawImage::open(&path).await.unwrap(), &expected).await;
}

#[tokio::test]
async fn a_file_that_shrinks_is_an_error_and_no_zeros() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    fs::write(&path, [9; 8192]).unwrap();
    let image = RawImage::open(&path).await.unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_len(4096).unwrap();

    let mut buffer = [0; 8192];
    for (offset_bytes, length) in [(0, 8192), (4096, 512)] {
        let error = image.read_at(offset_bytes, &mut buffer[..length]).await.unwrap_err();
        assert_eq!(error.kind(), image::ErrorKind::Io, "{error}");
    }
    let error = image.extents(ByteRange::new(4096, 4096)).await.unwrap_err();
    assert_eq!(error.kind(), image::ErrorKind::Io, "{error}");
    image.read_at(0, &mut buffer[..4096]).await.expect("what is left is as it was");
}

#[tokio::test]
async fn what_is_no_disk_is_refused() {
    let folder = TempDir::new().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(RawImage::open(&pipe).await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(RawImage::open(folder.path()).await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(RawImage::open("/dev/null".as_ref()).await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(RawImage::open(&folder.path().join("none")).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_new_file_conforms_as_a_target() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    let target = Box::new(RawTarget::create(&path, SIZE_BYTES).await.unwrap());
    assert!(target.starts_zeroed());
    let expected = conformance::check_target(target.as_ref()).await;
    target.finish().await.unwrap();

    assert!(fs::read(&path).unwrap() == expected);
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o600);
    assert!(metadata.blocks() * 512 < SIZE_BYTES / 2, "what was not written is a hole");
    assert_eq!(RawTarget::create(&path, SIZE_BYTES).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert!(fs::read(&path).unwrap() == expected, "a file that is there stays as it is");
}

#[tokio::test]
async fn an_old_file_conforms_as_a_target() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    fs::write(&path, vec![0xff; SIZE_BYTES as usize + 4096]).unwrap();
    let target = RawTarget::open_existing(&path, SIZE_BYTES).await.unwrap();
    assert!(!target.starts_zeroed());
    let expected = conformance::check_target(&target).await;
    assert!(
        fs::read(&path).unwrap() == [expected, vec![0xff; 4096]].concat(),
        "what lies behind the disk stays"
    );
}

#[tokio::test]
async fn zeroes_give_space_back() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    let target = RawTarget::create(&path, SIZE_BYTES).await.unwrap();
    target.write_at(0, &vec![1; SIZE_BYTES as usize]).await.unwrap();
    target.write_zeroes(ByteRange::new(0, SIZE_BYTES)).await.unwrap();
    target.flush().await.unwrap();
    assert!(fs::metadata(&path).unwrap().blocks() * 512 < SIZE_BYTES / 2);
    assert!(fs::read(&path).unwrap() == vec![0; SIZE_BYTES as usize]);
}

#[tokio::test]
async fn a_file_that_is_too_small_or_used_is_no_target() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    fs::write(&path, vec![1; 4096]).unwrap();
    assert_eq!(RawTarget::open_existing(&path, 8192).await.unwrap_err().kind(), ErrorKind::NoSpace);

    let used = QemuNbdImage::open(&path, DiskFormat::Raw, &[]).await.unwrap();
    let error = RawTarget::open_existing(&path, 4096).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
    assert!(error.guidance().is_some() && error.is_retryable());
    used.close().await.unwrap();
    RawTarget::open_existing(&path, 4096).await.expect("nobody uses it any more");
}

#[tokio::test]
async fn an_image_that_is_locked_for_reading_bears_readers_and_no_writer() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    fs::write(&path, vec![1; 4096]).unwrap();
    let image = RawImage::open_locked(&path).await.unwrap();
    RawImage::open_locked(&path).await.expect("of this process");
    QemuNbdImage::open(&path, DiskFormat::Raw, &[]).await.expect("of QEMU").close().await.unwrap();
    let error = RawTarget::open_existing(&path, 4096).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
    let write = |path: &Path| {
        let written = Command::new("qemu-io").args(["-f", "raw", "-c", "write 0 512"]).arg(path).output();
        String::from_utf8_lossy(&written.unwrap().stderr).into_owned()
    };
    let refused = write(&path);
    assert!(refused.contains("Failed to get \"write\" lock"), "{refused}");

    drop(image);
    assert_eq!(write(&path), "");
}

#[tokio::test]
async fn an_image_that_others_write_to_cannot_be_locked_for_reading() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    fs::write(&path, vec![1; 4096]).unwrap();
    let target = RawTarget::open_existing(&path, 4096).await.unwrap();
    assert_eq!(RawImage::open_locked(&path).await.unwrap_err().kind(), ErrorKind::InUse);
    drop(target);

    let (socket, pid_file) = (folder.path().join("socket"), folder.path().join("pid"));
    let mut writer = Command::new("qemu-nbd");
    writer.args(["--format=raw", "--fork", "--socket"]).arg(&socket).arg("--pid-file").arg(&pid_file);
    assert!(writer.arg(&path).status().unwrap().success());
    let error = RawImage::open_locked(&path).await.unwrap_err();
    let pid = fs::read_to_string(&pid_file).unwrap();
    assert!(Command::new("kill").arg(pid.trim()).status().unwrap().success());
    assert_eq!(error.kind(), ErrorKind::InUse, "{error}");
    assert!(error.guidance().is_some() && error.is_retryable());
}

//! A machine for tests.

use std::{path::Path, sync::Arc};

use anyhow::Result;
use files::{Config, FilePath, FileTree, MicroVm, Passphrase};
use image::DiskImage;
use image_formats::RawImage;
use testkit::file_systems::FileSystemTools;

pub fn config(tools: &FileSystemTools, directory: &Path) -> Config {
    Config {
        runtime_directory: directory.to_owned(),
        cache_directory: testkit::target::target_directory()
            .expect("Cargo runs the tests")
            .join("file-systems/cache"),
        helper_command: vec![env!("CARGO_BIN_EXE_file-helper").into(), "file-helper".into()],
        qemu_program: "qemu-system-x86_64".into(),
        kernel: Some(tools.kernel()),
        modules: Some(tools.modules()),
        tools_root: Some(tools.root()),
    }
}

/// A machine with raw images as its disks, by their names.
pub async fn open(
    tools: &FileSystemTools,
    directory: &Path,
    disks: &[(&str, &Path)],
    passphrases: &[Passphrase],
) -> Result<Arc<MicroVm>> {
    let mut images: Vec<(_, Arc<dyn DiskImage>)> = Vec::new();
    for (name, path) in disks {
        images.push((name.parse()?, Arc::new(RawImage::open(path).await?)));
    }
    Ok(Arc::new(MicroVm::open(images, &config(tools, directory), passphrases).await?))
}

pub fn path(text: &str) -> FilePath {
    FilePath::parse(text.as_bytes()).expect("the path is one")
}

/// A whole file.
pub async fn read_all(tree: &dyn FileTree, path: &FilePath) -> files::Result<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let bytes = tree.read(path, content.len() as u64, 1 << 20).await?;
        if bytes.is_empty() {
            return Ok(content);
        }
        content.extend_from_slice(&bytes);
    }
}

use std::path::{Path, PathBuf};

use model::{ByteCount, Firmware};

use super::{parse, read};

#[test]
fn paths_are_relative_to_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("web.toml");
    let text = r#"
        name = "web 1"
        memory = "2GiB"
        firmware = { kind = "kernel", kernel = "boot/vmlinuz", initrd = "/boot/initrd" }
        [[disk]]
        name = "root"
        path = "root.qcow2"
        [[disk]]
        name = "data"
        path = "/dev/vg/data"
    "#;
    std::fs::write(&file, text).unwrap();
    let definition = read(&file).unwrap();
    assert_eq!(definition.memory, ByteCount(2 << 30));
    let paths: Vec<_> = definition.disks.iter().filter_map(|disk| disk.path.clone()).collect();
    assert_eq!(paths, [directory.path().join("root.qcow2"), PathBuf::from("/dev/vg/data")]);
    let Firmware::Kernel { kernel, initrd, .. } = definition.firmware else {
        panic!("{:?}", definition.firmware)
    };
    assert_eq!(kernel, directory.path().join("boot/vmlinuz"));
    assert_eq!(initrd, Some(PathBuf::from("/boot/initrd")));
}

#[test]
fn mistakes_are_named_with_their_place() {
    for (text, place, word) in [
        ("name = \"a\"\nmemory = \"2GiB\"\ndisc = []\n", "web.toml:3:1", "disc"),
        ("name = \"a\"\nmemory = \"2 apples\"\n", "web.toml:2:10", "2 apples"),
        ("name = \"a\"\nmemory = true\n", "web.toml:2:10", "2GiB"),
        ("name = \"a\nmemory = 1\n", "web.toml:1:", ""),
        ("name = \"\"\nmemory = 1\n", "web.toml:1:8", "empty"),
        ("memory = 1\n", "web.toml:1:1", "name"),
        ("name = \"한\"\nmemory = 1\n[[disk]]\nname = \"한\"\nbus = \"floppy\"", "web.toml:5:7", "floppy"),
    ] {
        let error = parse("web.toml", text).unwrap_err().to_string();
        assert!(error.starts_with(place) && error.contains(word), "{text:?}: {error}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = read(Path::new("/nonexistent/web.toml")).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/web.toml: No such file"), "{error}");
}

use std::{os::unix::fs::PermissionsExt as _, process::Command};

use super::*;

fn config() -> Config {
    Config {
        runtime_directory: "/tmp".into(),
        cache_directory: "/tmp".into(),
        helper_command: Vec::new(),
        qemu_program: "qemu-system-x86_64".into(),
        kernel: None,
        modules: None,
        tools_root: None,
    }
}

#[test]
fn the_loaded_part_of_a_program_runs() {
    let whole = fs::read("/proc/self/exe").unwrap();
    let part = loaded_part(&whole);
    assert!(part.len() < whole.len(), "a program with symbols has something to leave out");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("program");
    fs::write(&path, part).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(path).arg("--list").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("the_loaded_part_of_a_program_runs"));
}

#[test]
fn libraries_are_found_with_the_loader() {
    let program = PathBuf::from(format!("/proc/{}/exe", std::process::id()));
    let libraries = libraries(&program, &read(&program).unwrap(), &config()).unwrap();
    assert!(libraries.keys().any(|name| name.starts_with("libc.so")), "{libraries:?}");
    assert!(libraries.keys().any(|name| name.starts_with("ld-linux")), "{libraries:?}");
    assert!(libraries.values().all(|path| path.exists()));
}

#[test]
fn what_is_no_program_stays_whole() {
    assert_eq!(loaded_part(b"text"), b"text");
    assert_eq!(loaded_part(b"\x7fELF\x02\x01"), b"\x7fELF\x02\x01");
}

use std::os::unix::process::ExitStatusExt;

use super::*;

fn idle_qemu(directory: &Path) -> std::process::Child {
    std::process::Command::new("qemu-system-x86_64")
        .args(["-machine", "none", "-nodefaults", "-display", "none", "-pidfile"])
        .arg(directory.join("pid"))
        .spawn()
        .unwrap()
}

#[test]
fn processes_of_a_directory_are_killed_and_no_others() {
    let (ours, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut of_ours = idle_qemu(ours.path());
    let mut of_other = idle_qemu(other.path());
    leftovers::kill_all_that_name(ours.path());
    assert_eq!(of_ours.wait().unwrap().signal(), Some(9));
    assert_eq!(of_other.try_wait().unwrap(), None);
    of_other.kill().unwrap();
    of_other.wait().unwrap();
}

use super::*;

#[test]
fn the_guest_is_built_once() {
    let first = GuestImage::obtain().unwrap();
    let second = GuestImage::obtain().unwrap();
    assert_eq!(first.kernel(), second.kernel());
    assert!(first.initrd().exists());
}

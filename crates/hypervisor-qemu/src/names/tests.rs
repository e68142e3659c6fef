use super::*;

fn disk(name: &str) -> DiskName {
    name.parse().expect("a name")
}

#[test]
fn captures_and_taps_are_never_taken_for_each_other() {
    let (journal_id, epoch) = (JournalId::from_random([1; 10]), TrackingEpoch(7));
    let bitmap = tap_bitmap(journal_id, epoch, &disk("vda"));
    assert_eq!(epoch_of_bitmap(&bitmap, &disk("vda")), Some((journal_id, epoch)));
    assert_eq!(epoch_of_bitmap(&bitmap, &disk("vdb")), None, "it travels with the image, and fits one disk");
    assert_eq!(journal_of(&bitmap), Some(journal_id));
    assert_eq!(capture_of_bitmap(&bitmap), None);
    let job = TapJob { journal_id, first: epoch, listener: 1 }.name(&disk("vda"));
    assert_eq!((journal_of(&job), first_epoch_of_job(&job)), (Some(journal_id), Some(epoch)));
    assert_eq!(capture_of_bitmap(&job), None);
    for name in [tap_target(&disk("vda")), tap_filter(&disk("vda")), tap_reading(&disk("vda")), bitmap] {
        assert!(is_of_tap(&name) && !is_of_capture(&name), "{name}");
    }
    let capture = super::bitmap(Chain::Snapshot, CaptureId::from_random([1; 10]), &disk("vda"));
    assert_eq!(epoch_of_bitmap(&capture, &disk("vda")), None);
    assert_eq!(journal_of(&capture), None);
    assert!(!is_of_tap(&filter(0)) && is_of_capture(&filter(0)) && is_of_capture(&shield(12)));
}

#[test]
fn qemu_takes_the_names_of_nodes() {
    let longest = disk(&"x".repeat(32));
    for name in [tap_target(&longest), tap_filter(&longest), shield(999), overlay(999)] {
        assert!(name.len() <= 31, "{name}");
    }
}

use super::*;

const TRUSTED: Option<TrackingEpoch> = Some(TrackingEpoch(4));

fn journal_id() -> JournalId {
    JournalId::from_random([1; 10])
}

fn bitmap(number: u64, recording: bool) -> EpochBitmap {
    EpochBitmap { epoch: TrackingEpoch(number), recording, inconsistent: false, busy: false }
}

fn disk(bitmaps: Vec<EpochBitmap>) -> DiskEpochs {
    let name: DiskName = "vda".parse().expect("a name");
    DiskEpochs { disk: name, node: "node".to_owned(), keeps_bitmaps: true, bitmaps }
}

fn covering(disk: &DiskEpochs, first: u64) -> std::result::Result<Vec<String>, String> {
    disk.covering(journal_id(), TRUSTED, TrackingEpoch(first))
}

fn names(disk: &DiskEpochs, numbers: &[u64]) -> Vec<String> {
    numbers.iter().map(|&number| names::tap_bitmap(journal_id(), TrackingEpoch(number), &disk.disk)).collect()
}

#[test]
fn what_was_missed_is_in_the_epochs_from_the_trusted_one_to_the_first_that_was_taken() {
    let whole = disk(vec![bitmap(3, false), bitmap(4, false), bitmap(5, false), bitmap(6, true)]);
    assert_eq!(covering(&whole, 7), Ok(names(&whole, &[4, 5, 6])), "a new tap takes all from 7 on");
    assert_eq!(covering(&whole, 6), Ok(names(&whole, &[4, 5])), "one that runs since 6 has that");
    assert_eq!(covering(&whole, 4), Ok(Vec::new()), "nothing was missed");
    assert_eq!(covering(&whole, 2), Ok(Vec::new()));
}

#[test]
fn without_every_epoch_everything_was_missed() {
    let known = |bitmaps| covering(&disk(bitmaps), 7).is_ok();
    assert!(known(vec![bitmap(4, false), bitmap(5, false), bitmap(6, true)]));
    assert!(!known(vec![]));
    assert!(!known(vec![bitmap(5, false), bitmap(6, true)]), "the trusted one is gone");
    assert!(!known(vec![bitmap(4, false), bitmap(6, true)]), "one in between is gone");
    assert!(!known(vec![bitmap(4, false), bitmap(5, false)]), "the newest does not record");
    let lost = EpochBitmap { inconsistent: true, ..bitmap(5, false) };
    assert!(!known(vec![bitmap(4, false), lost, bitmap(6, true)]));
    let nothing = disk(vec![bitmap(4, true)]).covering(journal_id(), None, TrackingEpoch(5));
    assert!(nothing.is_err_and(|reason| reason.contains("nothing is known")));
}

#[test]
fn an_epoch_that_was_lost_is_not_counted_again() {
    let epochs = |bitmaps| Epochs { journal_id: journal_id(), disks: vec![disk(bitmaps)] };
    assert_eq!(epochs(vec![]).next(None), TrackingEpoch(1));
    assert_eq!(epochs(vec![bitmap(4, true)]).next(None), TrackingEpoch(5));
    assert_eq!(epochs(vec![]).next(Some(TrackingEpoch(57))), TrackingEpoch(58));
}

use std::sync::{Arc, Mutex};

use model::Progress;
use protection::Monitor;
use tokio_util::sync::CancellationToken;

use super::Overall;

#[derive(Default)]
struct Told(Mutex<Vec<(u64, Option<u64>)>>, CancellationToken);

impl Monitor for Told {
    fn progress(&self, progress: Progress) {
        self.0.lock().unwrap().push((progress.done_bytes, progress.total_bytes));
    }

    fn warn(&self, _: String) {}

    fn cancellation(&self) -> &CancellationToken {
        &self.1
    }
}

#[test]
fn all_disks_count_by_their_sizes_and_begin_again_when_they_are_stored_again() {
    let told = Arc::new(Told::default());
    let overall = Overall::new(told.clone(), vec![100, 300]);
    for (phase, done_bytes, total_bytes) in [
        ("reading a", 50, Some(100)),
        ("reading a", 100, Some(100)),
        ("committing", 0, None),
        ("reading b", 150, Some(300)),
        ("comparing a", 0, Some(100)),
        ("comparing b", 300, Some(300)),
    ] {
        overall.progress(Progress { phase: phase.to_owned(), done_bytes, total_bytes });
    }
    let all = Some(400);
    let expected = [(50, all), (100, all), (0, None), (250, all), (0, all), (400, all)];
    assert_eq!(*told.0.lock().unwrap(), expected);
}

use std::time::{Duration, Instant};

use api::{JobView, ProgressView};
use model::{JobId, JobKind, JobState, Timestamp};

use super::Lines;

fn job(phase: &str, done_bytes: u64) -> JobView {
    JobView {
        id: JobId::from_random([7; 10]),
        kind: JobKind::Backup,
        subject: "web-1".into(),
        state: JobState::Running,
        created_at: Timestamp::from_microseconds(0),
        started_at: None,
        ended_at: None,
        progress: ProgressView { phase: phase.into(), done_bytes, total_bytes: Some(8 << 30) },
        result: None,
        problem: None,
        warnings: Vec::new(),
    }
}

#[test]
fn a_line_for_each_phase_and_one_now_and_then() {
    let mut lines = Lines::default();
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let line = lines.line(&job("freezing", 0), after(0));
    assert_eq!(line.as_deref(), Some("backup of web-1: freezing, 0 B of 8.00 GiB (0 %)"));
    assert!(lines.line(&job("reading vroot", 1 << 20), after(0)).is_some(), "a new phase");
    assert_eq!(lines.line(&job("reading vroot", 1 << 30), after(4)), None);
    let line = lines.line(&job("reading vroot", 2 << 30), after(5));
    assert_eq!(line.as_deref(), Some("backup of web-1: reading vroot, 2.00 GiB of 8.00 GiB (25 %)"));
    assert_eq!(lines.line(&job("reading vroot", 3 << 30), after(9)), None, "counted from the last line");
    let ended = JobView { state: JobState::Succeeded, ..job("reading vroot", 8 << 30) };
    assert_eq!(lines.line(&ended, after(9)).as_deref(), Some("backup of web-1: succeeded"));
}

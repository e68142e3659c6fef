//! Answers of the API to show.

use api::{
    AgentView, ChangeSourceView, CostView, DiskView, JobResult, JobView, PointDiskView, PointView, Problem,
    ProgressView, VaultView, VmOriginView, VmView,
};
use model::{
    ByteCount, Consistency, DiskFormat, JobId, JobKind, JobState, PointId, Timestamp, VaultId, VmId,
};

pub fn moment() -> Timestamp {
    "2026-03-01T13:05:07Z".parse().unwrap()
}

pub fn vm(name: &str) -> VmView {
    VmView {
        snapshot_policy: None,
        id: VmId::from_random([1; 10]),
        name: name.into(),
        origin: VmOriginView::External,
        power: "running".into(),
        unreachable_because: None,
        hypervisor: Some("QEMU 7.2.22".into()),
        cpus: 2,
        memory_bytes: ByteCount(2 << 30),
        disks: vec![DiskView {
            name: "vda".into(),
            path: "/srv/web-1.qcow2".into(),
            format: DiskFormat::Qcow2,
            size_bytes: ByteCount(8 << 30),
            tracking: "tracked".into(),
        }],
        dependent_disks: Vec::new(),
        agent: AgentView { answers: true, detail: "7.2.22".into() },
        limits: Vec::new(),
        protection: None,
        latest_point: None,
        half_restored: None,
        current_job: None,
    }
}

pub fn point() -> PointView {
    PointView {
        id: PointId::from_random([2; 10]),
        vm_id: VmId::from_random([1; 10]),
        vm_name: "web-1".into(),
        vault: "main".into(),
        captured_at: moment(),
        parent: None,
        consistency_asked: Consistency::Application,
        consistency_reached: Consistency::FileSystem,
        shortfall: Some("no hooks ran".into()),
        label: None,
        hold: None,
        deleted_at: None,
        purge_after: None,
        deletable_from: None,
        size_bytes: ByteCount(8 << 30),
        read_bytes: ByteCount(3 << 30),
        stored_bytes: ByteCount(1 << 30),
        disks: vec![PointDiskView {
            name: "vda".into(),
            size_bytes: ByteCount(8 << 30),
            read_bytes: ByteCount(3 << 30),
            stored_bytes: ByteCount(1 << 30),
            source: ChangeSourceView::Full,
        }],
        cost: CostView { pause_us: Some(4200), freeze_us: None, ..CostView::default() },
        test: None,
        definition: None,
    }
}

pub fn vault() -> VaultView {
    VaultView {
        id: VaultId::from_random([3; 10]),
        name: "main".into(),
        url: "file:///srv/main".into(),
        problem: None,
        point_count: Some(0),
        stored_bytes: Some(ByteCount(0)),
        protected_bytes: Some(ByteCount(0)),
        can_read: Some(true),
        settings: None,
        object_lock: None,
        copies: Vec::new(),
        warnings: Vec::new(),
    }
}

/// A backup that is at work.
pub fn running(phase: &str, done_bytes: u64) -> JobView {
    JobView {
        id: JobId::from_random([4; 10]),
        kind: JobKind::Backup,
        subject: "web-1".into(),
        state: JobState::Running,
        created_at: moment(),
        started_at: Some(moment()),
        ended_at: None,
        progress: ProgressView { phase: phase.into(), done_bytes, total_bytes: Some(8 << 30) },
        result: None,
        problem: None,
        warnings: Vec::new(),
    }
}

pub fn succeeded() -> JobView {
    JobView {
        state: JobState::Succeeded,
        ended_at: Some(moment()),
        result: Some(JobResult::Point(Box::new(point()))),
        warnings: vec!["the guest has no hooks".into()],
        ..running("sealing the point", 0)
    }
}

pub fn failed(problem: Problem) -> JobView {
    JobView {
        state: JobState::Failed,
        ended_at: Some(moment()),
        problem: Some(problem),
        ..running("reading vda", 0)
    }
}

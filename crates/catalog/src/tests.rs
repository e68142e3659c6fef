use std::path::Path;

use env::{Env, random};
use model::{
    ByteCount, Consistency, DiskId, JobId, JobKind, JobState, JournalId, PointId, Progress,
    ProtectionSettings, ReplicationSettings, RunKind, SiteId, Timestamp, VaultId, VmDefinition, VmId,
};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    Catalog, CopyFailure, DependentDisk, ErrorKind, FailedRun, HalfRestored, ImageSource, Job, KnownCopy,
    KnownDisk, KnownPeer, KnownPolicy, KnownReplication, KnownVault, KnownVm, NetworkMap, OpenToken, Origin,
    PackCheck, PeerStanding, PolicyRun, ReplacedVm, ReplicaPoint, ReplicaSettings, RunOutcome, UploadedBlock,
};

async fn open(directory: &TempDir) -> Catalog {
    Catalog::open(&file(directory)).await.unwrap()
}

fn file(directory: &TempDir) -> std::path::PathBuf {
    directory.path().join("a?b #%41 서울.db")
}

fn definition(name: &str) -> VmDefinition {
    serde_json::from_value(json!({"name": name, "memory": "1GiB", "disk": [{"name": "root", "path": "/x"}]}))
        .unwrap()
}

fn vm(env: &Env, name: &str) -> KnownVm {
    KnownVm {
        id: VmId::from_random(random(&*env.entropy)),
        name: name.parse().unwrap(),
        origin: Origin::Managed { definition: definition(name) },
        last_seen: None,
        dependent_disks: Vec::new(),
        created_at: env.clock.now(),
        half_restored: None,
    }
}

fn vault(env: &Env, name: &str) -> KnownVault {
    KnownVault {
        id: VaultId::from_random(random(&*env.entropy)),
        name: name.parse().unwrap(),
        url: "file:///srv/v".to_owned(),
        created_at: env.clock.now(),
    }
}

fn job(env: &Env) -> Job {
    Job {
        id: JobId::from_random(random(&*env.entropy)),
        kind: JobKind::Backup,
        subject: "it's \"odd\"".to_owned(),
        vm_id: Some(VmId::from_random(random(&*env.entropy))),
        vault_id: None,
        request: json!({"label": null}),
        state: JobState::Queued,
        created_at: env.clock.now(),
        started_at: None,
        ended_at: None,
        progress: Progress::default(),
        result: None,
        problem: None,
        warnings: Vec::new(),
    }
}

#[tokio::test]
async fn runs_that_failed_are_told_until_a_backup_succeeds() {
    let (env, directory) = (Env::seeded(1), tempfile::tempdir().unwrap());
    let catalog = open(&directory).await;
    let (vm, vault, gold) = (vm(&env, "a"), vault(&env, "v"), policy(&env, "gold"));
    catalog.add_vm(&vm).await.unwrap();
    catalog.add_vault(&vault).await.unwrap();
    catalog.set_protection(vm.id, &ProtectionSettings::into_vault(vault.id)).await.unwrap();
    catalog.add_policy(&gold).await.unwrap();
    catalog.join_policy(RunKind::Backup, vm.id, &gold.name, None, env.clock.now()).await.unwrap();
    let backup = async |state, is_run| {
        let job = Job { state, vm_id: Some(vm.id), ended_at: Some(env.clock.now()), ..job(&env) };
        catalog.add_job(&job).await.unwrap();
        if is_run {
            let run = PolicyRun { at: env.clock.now(), outcome: RunOutcome::Submitted(job.id) };
            catalog.set_policy_run(RunKind::Backup, vm.id, &run).await.unwrap();
        }
        (job.ended_at.unwrap(), catalog.failed_runs().await.unwrap())
    };
    let told = |(ended_at, failures)| [FailedRun { vm_id: vm.id, kind: RunKind::Backup, ended_at, failures }];
    backup(JobState::Failed, false).await;
    backup(JobState::Succeeded, true).await;
    assert_eq!(backup(JobState::Failed, false).await.1, [], "it was no run");
    let (ended_at, failed) = backup(JobState::Failed, true).await;
    assert_eq!(failed, told((ended_at, 2)));
    let (ended_at, failed) = backup(JobState::Failed, true).await;
    assert_eq!(failed, told((ended_at, 3)));
    assert_eq!(backup(JobState::Succeeded, false).await.1, []);
}

#[tokio::test]
async fn a_restore_in_place_is_remembered_until_it_has_ended() {
    let (env, directory) = (Env::seeded(1), tempfile::tempdir().unwrap());
    let catalog = open(&directory).await;
    let vm = vm(&env, "a");
    catalog.add_vm(&vm).await.unwrap();
    let half = HalfRestored {
        point: PointId::from_random(random(&*env.entropy)),
        reference: "point:a/x".to_owned(),
        disks: vec!["root".parse().unwrap()],
        safety_point: Some(PointId::from_random(random(&*env.entropy))),
        safety_reference: None,
        begun_at: env.clock.now(),
    };
    catalog.begin_overwriting(vm.id, &half).await.unwrap();
    catalog.close().await;

    let catalog = open(&directory).await;
    let known = KnownVm { half_restored: Some(half), ..vm.clone() };
    assert_eq!(catalog.vm("a").await.unwrap(), Some(known));
    let origin = Origin::Managed { definition: definition("restored") };
    catalog.end_overwriting(vm.id, &origin).await.unwrap();
    assert_eq!(catalog.vm("a").await.unwrap(), Some(KnownVm { origin: origin.clone(), ..vm.clone() }));

    catalog.remove_vm(vm.id).await.unwrap();
    assert_eq!(catalog.end_overwriting(vm.id, &origin).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn vms_are_found_by_name_and_by_id_after_reopening() {
    let (env, directory) = (Env::seeded(1), tempfile::tempdir().unwrap());
    let catalog = open(&directory).await;
    let mut external = vm(&env, "서울/'\"db\" %2F");
    external.origin =
        Origin::External { qmp: "/run/q".into(), qmp_out_of_band: None, agent: Some("/a".into()) };
    let managed = vm(&env, "a");
    catalog.add_vm(&external).await.unwrap();
    catalog.add_vm(&managed).await.unwrap();
    external.last_seen = Some(definition("seen"));
    catalog.set_last_seen(external.id, &definition("seen")).await.unwrap();
    catalog.close().await;

    let catalog = open(&directory).await;
    assert_eq!(catalog.vms().await.unwrap(), [managed.clone(), external.clone()]);
    assert_eq!(catalog.vm(external.name.as_str()).await.unwrap(), Some(external.clone()));
    assert_eq!(catalog.vm(external.id.as_str()).await.unwrap(), Some(external));
    assert_eq!(catalog.vm("b").await.unwrap(), None);
    catalog.remove_vm(managed.id).await.unwrap();
    assert_eq!(catalog.remove_vm(managed.id).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_name_wins_over_an_id() {
    let (env, directory) = (Env::seeded(1), tempfile::tempdir().unwrap());
    let catalog = open(&directory).await;
    let first = vm(&env, "a");
    let second = vm(&env, first.id.as_str());
    catalog.add_vm(&first).await.unwrap();
    catalog.add_vm(&second).await.unwrap();
    assert_eq!(catalog.vm(first.id.as_str()).await.unwrap(), Some(second));
}

#[tokio::test]
async fn names_are_unique() {
    let (env, directory) = (Env::seeded(1), tempfile::tempdir().unwrap());
    let catalog = open(&directory).await;
    catalog.add_vm(&vm(&env, "a")).await.unwrap();
    assert_eq!(catalog.add_vm(&vm(&env, "a")).await.unwrap_err().kind(), ErrorKind::Exists);
    let known = vault(&env, "v");
    catalog.add_vault(&known).await.unwrap();
    assert_eq!(catalog.add_vault(&vault(&env, "v")).await.unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(catalog.vault("v").await.unwrap(), Some(known.clone()));
    assert_eq!(catalog.vault(known.id.as_str()).await.unwrap(), Some(known));
}

#[tokio::test]
async fn protection_follows_its_vm() {
    let (env, directory) = (Env::seeded(1), tempfile::tempdir().unwrap());
    let catalog = open(&directory).await;
    let (vm, vault) = (vm(&env, "a"), vault(&env, "v"));
    catalog.add_vm(&vm).await.unwrap();
    let mut settings = ProtectionSettings::into_vault(vault.id);
    let unknown_vault = catalog.set_protection(vm.id, &settings).await.unwrap_err();
    assert_eq!(unknown_vault.kind(), ErrorKind::InUse);

    catalog.add_vault(&vault).await.unwrap();
    catalog.set_protection(vm.id, &settings).await.unwrap();
    settings.consistency = Consistency::FileSystem;
    settings.strict = true;
    settings.read_limit_bytes_per_second = Some(ByteCount(5));
    settings.pre_script = Some("/bin/true".to_owned());
    catalog.set_protection(vm.id, &settings).await.unwrap();
    assert_eq!(catalog.protection(vm.id).await.unwrap(), Some(settings));

    catalog.remove_vm(vm.id).await.unwrap();
    assert_eq!(catalog.protection(vm.id).await.unwrap(), None);
    assert_eq!(catalog.remove_protection(vm.id).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn jobs_keep_what_became_of_them() {
    let (env, directory) = (Env::seeded(1), tempfile::tempdir().unwrap());
    let catalog = open(&directory).await;
    let (mut first, second) = (job(&env), job(&env));
    catalog.add_job(&first).await.unwrap();
    catalog.add_job(&second).await.unwrap();
    assert_eq!(catalog.jobs(1).await.unwrap(), std::slice::from_ref(&second));
    assert_eq!(catalog.unfinished_jobs().await.unwrap(), [first.clone(), second.clone()]);

    first.state = JobState::Failed;
    first.started_at = Some(env.clock.now());
    first.ended_at = Some(env.clock.now());
    first.progress = Progress { phase: "reading".to_owned(), done_bytes: 7, total_bytes: Some(9) };
    first.problem = Some(json!({"code": "failed"}));
    first.warnings = vec!["careful".to_owned()];
    catalog.update_job(&first).await.unwrap();
    assert_eq!(catalog.jobs_starting_with(&first.id.as_str()[..5], 2).await.unwrap(), [first]);
    assert_eq!(catalog.jobs_starting_with("%", 2).await.unwrap(), []);
    assert_eq!(catalog.unfinished_jobs().await.unwrap(), [second]);
    assert_eq!(catalog.update_job(&job(&env)).await.unwrap_err().kind(), ErrorKind::NotFound);
}

async fn run_raw(file: &Path, sql: &'static str) {
    sqlx::any::install_default_drivers();
    let file = Catalog::open(file).await.unwrap();
    sqlx::query(sql).execute(&file.pool).await.unwrap();
    file.close().await;
}

#[tokio::test]
async fn a_catalog_from_the_future_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let sql = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
               VALUES (9999, 'later', true, x'00', 0)";
    run_raw(&file(&directory), sql).await;
    let refused = Catalog::open(&file(&directory)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Newer);
    assert!(refused.guidance().is_some());
}

#[tokio::test]
async fn an_older_catalog_is_copied_before_it_changes() {
    let (env, directory) = (Env::seeded(1), tempfile::tempdir().unwrap());
    let catalog = open(&directory).await;
    catalog.add_vm(&vm(&env, "a")).await.unwrap();
    catalog.copy_aside(&file(&directory), 7).await.unwrap();
    let mut copy = file(&directory).into_os_string();
    copy.push(".version-7");
    let copy = Catalog::open(Path::new(&copy)).await.unwrap();
    assert_eq!(copy.vms().await.unwrap(), catalog.vms().await.unwrap());
}

#[tokio::test]
async fn a_damaged_row_is_an_error_that_names_the_column() {
    let (env, directory) = (Env::seeded(1), tempfile::tempdir().unwrap());
    let catalog = open(&directory).await;
    catalog.add_vm(&vm(&env, "a")).await.unwrap();
    run_raw(&file(&directory), "UPDATE vms SET origin = '{'").await;
    let error = catalog.vms().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("origin"), "{error}");
}

#[tokio::test]
async fn every_commit_is_synced() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = open(&directory).await;
    let (mode,): (String,) = sqlx::query_as("PRAGMA journal_mode").fetch_one(&catalog.pool).await.unwrap();
    let (synchronous,): (i64,) = sqlx::query_as("PRAGMA synchronous").fetch_one(&catalog.pool).await.unwrap();
    assert_eq!((mode.as_str(), synchronous), ("wal", 2));
}

#[tokio::test]
async fn copies_are_known_by_their_vault_and_remember_how_they_stand() {
    let (env, directory) = (Env::seeded(1), tempfile::tempdir().unwrap());
    let catalog = open(&directory).await;
    let main = vault(&env, "main");
    let mut copy = KnownCopy {
        vault_id: main.id,
        name: "offsite".parse().unwrap(),
        url: "s3://b/p".to_owned(),
        added_at: env.clock.now(),
        last_synced_at: None,
        failure: None,
    };
    assert_eq!(catalog.add_copy(&copy).await.unwrap_err().kind(), ErrorKind::InUse, "there is no such vault");
    catalog.add_vault(&main).await.unwrap();
    catalog.add_copy(&copy).await.unwrap();
    assert_eq!(catalog.add_copy(&copy).await.unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(catalog.copies().await.unwrap(), [copy.clone()]);

    copy.failure = Some(CopyFailure { at: env.clock.now(), count: 3, problem: "it's \"gone\"".to_owned() });
    catalog.set_copy_outcome(&copy).await.unwrap();
    assert_eq!(catalog.copies_of(main.id).await.unwrap(), [copy.clone()]);
    (copy.last_synced_at, copy.failure) = (Some(env.clock.now()), None);
    catalog.set_copy_outcome(&copy).await.unwrap();
    assert_eq!(catalog.copies_of(main.id).await.unwrap(), [copy.clone()]);
    assert_eq!(catalog.copies_of(VaultId::from_random([9; 10])).await.unwrap(), []);

    catalog.remove_copy(main.id, &copy.name).await.unwrap();
    catalog.set_copy_outcome(&copy).await.unwrap();
    assert_eq!(catalog.copies().await.unwrap(), []);
    assert_eq!(catalog.remove_copy(main.id, &copy.name).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn checks_of_packs_replace_those_before() {
    let (env, directory) = (Env::seeded(1), tempfile::tempdir().unwrap());
    let catalog = open(&directory).await;
    let (main, other) = (vault(&env, "main"), vault(&env, "other"));
    let check = |pack: &str, microseconds| PackCheck {
        pack: pack.to_owned(),
        checked_at: Timestamp::from_microseconds(microseconds),
    };
    for vault in [&main, &other] {
        catalog.add_vault(vault).await.unwrap();
        catalog.set_pack_checks(vault.id, &[check("aa", 1), check("bb", 2)]).await.unwrap();
    }
    catalog.set_pack_checks(main.id, &[check("bb", 3)]).await.unwrap();
    let twice = [check("cc", 4), check("cc", 5)];
    catalog.set_pack_checks(main.id, &twice).await.unwrap_err();
    assert_eq!(catalog.pack_checks(main.id).await.unwrap(), [check("bb", 3)], "all or none");
    assert_eq!(catalog.pack_checks(other.id).await.unwrap().len(), 2);
}

const BACKUP: RunKind = RunKind::Backup;
const SNAPSHOT: RunKind = RunKind::Snapshot;

fn policy(env: &Env, name: &str) -> KnownPolicy {
    KnownPolicy {
        name: name.parse().unwrap(),
        schedule: "mon..fri 21:00".parse().unwrap(),
        zone: "Europe/Berlin".parse().unwrap(),
        scheduled_at: env.clock.now(),
        retention: Some(policy::Retention { daily: 7, ..policy::Retention::default() }),
        shortened_at: env.clock.now(),
        grace_hours: 24,
        jitter_seconds: 600,
        created_at: env.clock.now(),
    }
}

#[tokio::test]
async fn a_policy_is_kept_and_cannot_go_while_a_vm_follows_it() {
    let (env, directory) = (Env::seeded(1), tempfile::tempdir().unwrap());
    let catalog = open(&directory).await;
    let (vm, vault) = (vm(&env, "db"), vault(&env, "main"));
    catalog.add_vm(&vm).await.unwrap();
    catalog.add_vault(&vault).await.unwrap();
    let (mut gold, silver) = (policy(&env, "gold"), policy(&env, "silver"));
    catalog.add_policy(&gold).await.unwrap();
    catalog.add_policy(&silver).await.unwrap();
    assert_eq!(catalog.add_policy(&gold).await.unwrap_err().kind(), ErrorKind::Exists);
    (gold.retention, gold.schedule) = (None, "every 4h".parse().unwrap());
    catalog.set_policy(&gold).await.unwrap();
    assert_eq!(catalog.policies().await.unwrap(), [gold.clone(), silver.clone()]);

    let now = env.clock.now();
    assert_eq!(
        catalog.join_policy(BACKUP, vm.id, &gold.name, None, now).await.unwrap_err().kind(),
        ErrorKind::InUse
    );
    let settings = ProtectionSettings::into_vault(vault.id);
    catalog.set_protection(vm.id, &settings).await.unwrap();
    catalog.join_policy(BACKUP, vm.id, &gold.name, None, now).await.unwrap();
    let run = PolicyRun { at: env.clock.now(), outcome: RunOutcome::Skipped("busy".to_owned()) };
    catalog.set_policy_run(BACKUP, vm.id, &run).await.unwrap();
    catalog.set_protection(vm.id, &settings).await.unwrap();
    catalog.join_policy(BACKUP, vm.id, &gold.name, None, env.clock.now()).await.unwrap();
    let member = catalog.policy_of(BACKUP, vm.id).await.unwrap().unwrap();
    assert_eq!((member.joined_at, &member.last_run), (now, &Some(run)), "it goes on as before");
    assert_eq!(catalog.policy_followers().await.unwrap(), [member]);
    assert_eq!(catalog.remove_policy(&gold.name).await.unwrap_err().kind(), ErrorKind::InUse);
    catalog.join_policy(BACKUP, vm.id, &silver.name, None, env.clock.now()).await.unwrap();
    let member = catalog.policy_of(BACKUP, vm.id).await.unwrap().unwrap();
    assert!(member.policy == silver.name && member.joined_at > now && member.last_run.is_none());
    catalog.remove_policy(&gold.name).await.unwrap();
    assert_eq!(catalog.policy("gold").await.unwrap(), None);

    let point = model::PointId::from_random([1; 10]);
    catalog.add_policy_point(vm.id, point).await.unwrap();
    catalog.add_policy_point(vm.id, point).await.unwrap();
    catalog.remove_protection(vm.id).await.unwrap();
    assert_eq!(catalog.policy_of(BACKUP, vm.id).await.unwrap(), None, "who is not protected follows nothing");
    assert_eq!(catalog.policy_points(vm.id).await.unwrap(), [point].into());
    catalog.remove_vm(vm.id).await.unwrap();
    assert_eq!(catalog.policy_points(vm.id).await.unwrap(), [].into());
}

#[tokio::test]
async fn a_vm_s_snapshots_follow_a_policy_apart_from_its_backups() {
    let (env, directory) = (Env::seeded(1), tempfile::tempdir().unwrap());
    let catalog = open(&directory).await;
    let (vm, vault, gold) = (vm(&env, "db"), vault(&env, "main"), policy(&env, "gold"));
    catalog.add_vm(&vm).await.unwrap();
    catalog.add_vault(&vault).await.unwrap();
    catalog.add_policy(&gold).await.unwrap();
    let crash = Some(Consistency::Crash);
    let now = env.clock.now();
    catalog.join_policy(SNAPSHOT, vm.id, &gold.name, crash, now).await.unwrap();
    let run = PolicyRun { at: now, outcome: RunOutcome::Submitted(JobId::from_random([3; 10])) };
    catalog.set_policy_run(SNAPSHOT, vm.id, &run).await.unwrap();
    catalog.set_protection(vm.id, &ProtectionSettings::into_vault(vault.id)).await.unwrap();
    catalog.join_policy(BACKUP, vm.id, &gold.name, None, now).await.unwrap();
    let kinds: Vec<_> =
        catalog.policy_followers().await.unwrap().iter().map(|follower| follower.kind).collect();
    assert_eq!(kinds, [SNAPSHOT, BACKUP]);
    catalog.remove_protection(vm.id).await.unwrap();
    catalog.join_policy(SNAPSHOT, vm.id, &gold.name, None, env.clock.now()).await.unwrap();
    let left = catalog.policy_followers().await.unwrap();
    assert_eq!((left[0].joined_at, left[0].consistency, &left[0].last_run), (now, None, &Some(run)));
    assert_eq!(left.len(), 1);
    assert_eq!(catalog.remove_policy(&gold.name).await.unwrap_err().kind(), ErrorKind::InUse);
    catalog.leave_policy(SNAPSHOT, vm.id).await.unwrap();
    catalog.remove_policy(&gold.name).await.unwrap();
}

#[tokio::test]
async fn peers_are_kept_seen_ended_and_forgotten() {
    let (directory, env) = (TempDir::new().unwrap(), Env::seeded(11));
    let catalog = open(&directory).await;
    let peer = KnownPeer {
        id: model::SiteId::from_random(random(&*env.entropy)),
        name: "west".parse().unwrap(),
        address: Some("[::1]:8443".parse().unwrap()),
        authority: "3082".to_owned(),
        paired_at: env.clock.now(),
        ended_at: None,
        last_seen_at: None,
        standing: None,
        networks: NetworkMap::default(),
    };
    catalog.put_peer(&peer).await.unwrap();
    let namesake = KnownPeer { id: model::SiteId::from_random(random(&*env.entropy)), ..peer.clone() };
    assert_eq!(catalog.put_peer(&namesake).await.unwrap_err().kind(), ErrorKind::Exists);
    let standing = PeerStanding {
        version: "1.2.3".to_owned(),
        certificate_expires_at: env.clock.now(),
        clock_ahead_us: -5,
        reaches_us: Some(false),
    };
    let seen_at = env.clock.now();
    catalog.set_peer_seen(peer.id, seen_at, None, &standing).await.unwrap();
    catalog.set_peer_ended(peer.id, seen_at).await.unwrap();
    let seen = KnownPeer {
        address: None,
        ended_at: Some(seen_at),
        last_seen_at: Some(seen_at),
        standing: Some(standing),
        ..peer.clone()
    };
    assert_eq!(catalog.peers().await.unwrap(), [seen]);
    catalog.put_peer(&peer).await.unwrap();
    assert_eq!(
        catalog.peers().await.unwrap(),
        std::slice::from_ref(&peer),
        "paired anew, nothing is left of before"
    );
    let mut mapped = peer.clone();
    mapped.networks.test_networks.insert("br0".to_owned(), "isolated".parse().unwrap());
    catalog.set_peer_networks(peer.id, &mapped.networks).await.unwrap();
    catalog.put_peer(&peer).await.unwrap();
    assert_eq!(catalog.peers().await.unwrap(), [mapped], "but for what its networks are here");
    catalog.remove_peer(peer.id).await.unwrap();
    assert_eq!(catalog.remove_peer(peer.id).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn the_settings_of_a_replica_are_kept_and_forgotten() {
    let (directory, env) = (TempDir::new().unwrap(), Env::seeded(17));
    let catalog = open(&directory).await;
    let id = JournalId::from_random(random(&*env.entropy));
    assert_eq!(catalog.replica_settings(id).await.unwrap(), ReplicaSettings::default());
    let mut settings = ReplicaSettings { cpus: Some(8), ..ReplicaSettings::default() };
    settings.networks.insert(1, "br-lan".parse().unwrap());
    catalog.set_replica_settings(id, &settings).await.unwrap();
    settings.storage = Some("/srv/fast".into());
    catalog.set_replica_settings(id, &settings).await.unwrap();
    drop(catalog);
    let catalog = open(&directory).await;
    assert_eq!(catalog.replica_settings(id).await.unwrap(), settings);
    catalog.remove_replica_settings(id).await.unwrap();
    assert_eq!(catalog.replica_settings(id).await.unwrap(), ReplicaSettings::default());
}

#[tokio::test]
async fn of_points_of_replicas_the_newest_come_first_and_old_ones_are_forgotten() {
    let (directory, env) = (TempDir::new().unwrap(), Env::seeded(18));
    let catalog = open(&directory).await;
    let vault_id = VaultId::from_random(random(&*env.entropy));
    let journal_id = JournalId::from_random(random(&*env.entropy));
    let point = |sequence| ReplicaPoint {
        vault_id,
        point_id: PointId::from_random(random(&*env.entropy)),
        journal_id,
        sequence,
    };
    let (old, new) = (point(5), point(9));
    for point in [new, old, ReplicaPoint { journal_id: JournalId::from_random([9; 10]), ..point(7) }] {
        catalog.add_replica_point(point).await.unwrap();
    }
    assert_eq!(catalog.replica_points(vault_id, journal_id).await.unwrap(), [new, old]);
    catalog.remove_replica_points(journal_id, Some(9)).await.unwrap();
    assert_eq!(catalog.replica_points(vault_id, journal_id).await.unwrap(), [new]);
    catalog.remove_replica_points(journal_id, None).await.unwrap();
    assert_eq!(catalog.replica_points(vault_id, journal_id).await.unwrap(), []);
}

#[tokio::test]
async fn a_token_is_used_once() {
    let (directory, env) = (TempDir::new().unwrap(), Env::seeded(12));
    let catalog = open(&directory).await;
    let token = OpenToken {
        id: model::PairingId::from_random(random(&*env.entropy)),
        secret_digest: "aa".to_owned(),
        created_at: env.clock.now(),
        expires_at: env.clock.now(),
    };
    catalog.add_pairing_token(&token).await.unwrap();
    assert_eq!(catalog.pairing_token(token.id).await.unwrap(), Some(token.clone()));
    catalog.use_pairing_token(token.id).await.unwrap();
    assert_eq!(catalog.use_pairing_token(token.id).await.unwrap_err().kind(), ErrorKind::NotFound);
    catalog.add_pairing_token(&token).await.unwrap();
    let later = OpenToken {
        id: model::PairingId::from_random(random(&*env.entropy)),
        created_at: token.expires_at.plus_days(1),
        ..token.clone()
    };
    catalog.add_pairing_token(&later).await.unwrap();
    assert_eq!(catalog.pairing_token(token.id).await.unwrap(), None, "one that has expired is forgotten");
}

fn disk(env: &Env, name: &str) -> KnownDisk {
    let dependent = DependentDisk {
        disk: "root".parse().unwrap(),
        size_bytes: 512,
        source: ImageSource::File { path: "/srv/image".into() },
        wait_limit_seconds: 1,
        hydrates: true,
        rate_limit_bytes_per_second: Some(7),
    };
    KnownDisk {
        id: DiskId::from_random(random(&*env.entropy)),
        name: name.parse().unwrap(),
        path: format!("/srv/{name}.qcow2").into(),
        size_bytes: 1024,
        source: "file:/srv/image".to_owned(),
        dependent: Some(dependent),
        failure: None,
        uploading: false,
        created_at: env.clock.now(),
    }
}

#[tokio::test]
async fn disks_keep_what_they_read_from_until_they_are_whole() {
    let (env, directory) = (Env::seeded(1), tempfile::tempdir().unwrap());
    let catalog = open(&directory).await;
    let mut data = disk(&env, "data");
    catalog.add_disk(&data).await.unwrap();
    let same_name = KnownDisk { path: "/elsewhere".into(), ..disk(&env, "data") };
    assert_eq!(catalog.add_disk(&same_name).await.unwrap_err().kind(), ErrorKind::Exists);
    let same_file = KnownDisk { path: data.path.clone(), ..disk(&env, "other") };
    assert_eq!(catalog.add_disk(&same_file).await.unwrap_err().kind(), ErrorKind::Exists);
    catalog.set_disk_failure(data.id, "no space").await.unwrap();
    data.failure = Some("no space".to_owned());
    assert_eq!(catalog.disk("data").await.unwrap(), Some(data.clone()));
    catalog.set_dependent_disk(data.id, None).await.unwrap();
    (data.failure, data.dependent) = (None, None);
    assert_eq!(catalog.disk(data.id.as_str()).await.unwrap(), Some(data.clone()));
    assert_eq!(catalog.disks().await.unwrap(), [data.clone()]);
    catalog.remove_disk(data.id).await.unwrap();
    assert_eq!(catalog.set_dependent_disk(data.id, None).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn blocks_of_an_upload_are_known_until_it_ends() {
    let (env, directory) = (Env::seeded(1), tempfile::tempdir().unwrap());
    let catalog = open(&directory).await;
    let data = KnownDisk { uploading: true, dependent: None, ..disk(&env, "data") };
    let block = |number, digest: &str| UploadedBlock { number, digest: digest.to_owned() };
    let early = catalog.add_uploaded_block(data.id, &block(1, "a")).await;
    assert_eq!(early.unwrap_err().kind(), ErrorKind::InUse, "there is no such disk");
    catalog.add_disk(&data).await.unwrap();
    for (number, digest) in [(9, "x"), (1, "a"), (9, "y")] {
        catalog.add_uploaded_block(data.id, &block(number, digest)).await.unwrap();
    }
    assert_eq!(catalog.uploaded_blocks(data.id, 0, 9).await.unwrap(), [block(1, "a"), block(9, "y")]);
    assert_eq!(catalog.uploaded_blocks(data.id, 2, 9).await.unwrap(), [block(9, "y")]);
    assert_eq!(catalog.uploaded_blocks(data.id, 0, 1).await.unwrap(), [block(1, "a")]);
    catalog.forget_uploaded_block(data.id, 1).await.unwrap();
    catalog.end_upload(data.id).await.unwrap();
    assert_eq!(catalog.uploaded_blocks(data.id, 0, 9).await.unwrap(), []);
    assert!(!catalog.disk("data").await.unwrap().unwrap().uploading);
}

#[tokio::test]
async fn a_replication_keeps_what_is_wanted_and_how_it_went() {
    let (directory, env) = (TempDir::new().unwrap(), Env::seeded(7));
    let catalog = open(&directory).await;
    let known = vm(&env, "web");
    catalog.add_vm(&known).await.unwrap();
    let mut replication = KnownReplication {
        vm_id: known.id,
        journal_id: JournalId::from_random(random(&*env.entropy)),
        peer_id: SiteId::from_random(random(&*env.entropy)),
        peer_name: "west".parse().unwrap(),
        generation: 1,
        settings: ReplicationSettings {
            interval_seconds: Some(30),
            application_every_seconds: Some(3600),
            rate_windows: vec!["08:00-18:00=10MiB".parse().unwrap()],
            ..ReplicationSettings::default()
        },
        is_paused: false,
        trusted_epoch: None,
        fenced: None,
        is_handed_over: false,
        ends_with_replica: None,
        durable_at: None,
        rpo_history: None,
        created_at: env.clock.now(),
    };
    catalog.add_replication(&replication).await.unwrap();
    assert_eq!(catalog.add_replication(&replication).await.unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(catalog.replication(known.id).await.unwrap().unwrap(), replication);
    assert_eq!(catalog.remove_vm(known.id).await.unwrap_err().kind(), ErrorKind::InUse);

    replication.settings.rate_limit_bytes_per_second = Some(ByteCount(5));
    replication.is_paused = true;
    (replication.trusted_epoch, replication.fenced) = (Some(9), Some("taken over".to_owned()));
    (replication.durable_at, replication.rpo_history) = (Some(env.clock.now()), Some("{}".to_owned()));
    catalog.set_replication(known.id, &replication.settings, true).await.unwrap();
    catalog.set_trusted_epoch(known.id, Some(9)).await.unwrap();
    catalog.set_handed_over(known.id, "it is refused").await.unwrap();
    catalog.lift_fence(known.id, "it is refused").await.unwrap();
    let lifted = catalog.replication(known.id).await.unwrap().unwrap();
    assert_eq!((lifted.fenced, lifted.is_handed_over), (None, false));
    catalog.set_handed_over(known.id, "handed over").await.unwrap();
    catalog.set_fenced(known.id, "taken over").await.unwrap();
    catalog.lift_fence(known.id, "handed over").await.unwrap();
    catalog.begin_to_end_replication(known.id, true).await.unwrap();
    (replication.is_handed_over, replication.ends_with_replica) = (true, Some(true));
    catalog.set_replication_figures(known.id, replication.durable_at, "{}").await.unwrap();
    catalog.close().await;
    let catalog = open(&directory).await;
    assert_eq!(catalog.replications().await.unwrap(), [replication]);
    catalog.remove_replication(known.id).await.unwrap();
    assert_eq!(catalog.set_trusted_epoch(known.id, None).await.unwrap_err().kind(), ErrorKind::NotFound);
    catalog.remove_vm(known.id).await.unwrap();
}

#[tokio::test]
async fn a_vm_that_takes_its_old_place_keeps_its_protection_and_what_it_was() {
    let (directory, env) = (TempDir::new().unwrap(), Env::seeded(7));
    let catalog = open(&directory).await;
    let old = vm(&env, "web");
    catalog.add_vm(&old).await.unwrap();
    let vault = vault(&env, "main");
    catalog.add_vault(&vault).await.unwrap();
    catalog.set_protection(old.id, &ProtectionSettings::into_vault(vault.id)).await.unwrap();
    let new = KnownVm { created_at: env.clock.now(), ..vm(&env, "web-back") };
    let new = KnownVm { id: old.id, ..new };
    let journal_id = JournalId::from_random(random(&*env.entropy));
    let replaced = ReplacedVm { journal_id, vm: old.clone(), replaced_at: env.clock.now() };
    catalog.replace_vm(&new, &replaced).await.unwrap();
    catalog.close().await;
    let catalog = open(&directory).await;
    assert_eq!(catalog.vms().await.unwrap(), std::slice::from_ref(&new));
    assert!(catalog.protection(old.id).await.unwrap().is_some());
    assert_eq!(catalog.replaced_vm(journal_id).await.unwrap(), Some(replaced.clone()));
    assert_eq!(catalog.replaced_vms().await.unwrap(), std::slice::from_ref(&replaced));
    catalog.remove_replaced_vm(journal_id).await.unwrap();
    assert_eq!(catalog.replaced_vm(journal_id).await.unwrap(), None);
    // One that is not known replaces nothing, and leaves nothing.
    let unknown = vm(&env, "other");
    let refused = catalog.replace_vm(&unknown, &ReplacedVm { vm: unknown.clone(), ..replaced }).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(catalog.replaced_vms().await.unwrap(), []);
}

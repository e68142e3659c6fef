//! Replications begin, change and end.

use std::{sync::PoisonError, time::Duration};

use api::{EditReplication, StartReplication, StopReplication, StoppedReplicationView, shell_word};
use catalog::{KnownReplication, KnownVm};
use model::{ByteCount, ImageReference, JournalId, ReplicationSettings};
use peer::Patience;
use replication::{Event, Mode, Standing, Wish};
use tokio::time::timeout;

use super::{Told, begin, end, find, interval};
use crate::{
    failure::{Failure, Result},
    groups, peers,
    site::Site,
    vms,
};

/// How long the hypervisor may take to remove what the tap left.
const END_TAP_LIMIT: Duration = Duration::from_secs(30);

/// How long it may take to tell the other site.
const TELL_LIMIT: Duration = Duration::from_secs(15);

/// Has a VM replicated from now on.
pub(crate) async fn start(site: &Site, vm: &KnownVm, request: StartReplication) -> Result<()> {
    let peer = peers::find(site, &request.to).await?;
    if peer.address.is_none() {
        let detail =
            format!("the site {} has no address: it calls this site, and cannot be called", peer.name);
        return Err(
            Failure::conflict(detail).with_hint("have it listen: holdfast serve --peer-listen ADDRESS")
        );
    }
    let settings = match request.as_before {
        true => changed(settings_before(site, vm).await?, asked(&request)),
        false => as_asked(&request),
    };
    check(&settings)?;
    if let Some(seed) = &request.seed {
        let parsed = seed.parse::<ImageReference>();
        parsed.map_err(|error| Failure::invalid(format!("the seed: {error}")))?;
    }
    // Also so that what the VM is made of is known when it is offered.
    vms::refresh(site, vm).await.map_err(|why| {
        Failure::new(api::Code::Unreachable, format!("the VM {} cannot be looked at: {why}", vm.name))
    })?;
    let _admission = site.admission.lock().await;
    if let Some(known) = site.catalog.replication(vm.id).await? {
        let detail = format!("the VM {} is replicated to {} already", vm.name, known.peer_name);
        let edit = format!("change it with: holdfast replication edit {}", shell_word(vm.name.as_str()));
        return Err(Failure::conflict(detail).with_hint(edit));
    }
    check_committed(site, vm).await?;
    // A VM that was failed over to this site is written by right of that.
    let generation = site.catalog.fence(vm.id).await?.map_or(1, |fence| fence.generation);
    let known = KnownReplication {
        vm_id: vm.id,
        journal_id: JournalId::from_random(env::random(&*site.env.entropy)),
        peer_id: peer.id,
        peer_name: peer.name.clone(),
        generation,
        settings,
        is_paused: false,
        trusted_epoch: None,
        fenced: None,
        is_handed_over: false,
        ends_with_replica: None,
        durable_at: None,
        rpo_history: None,
        created_at: site.env.clock.now(),
    };
    site.catalog.add_replication(&known).await?;
    if let Some(seed) = &request.seed {
        site.catalog.add_seed_wish(known.journal_id, seed).await?;
    }
    tracing::info!(vm = %vm.name, site = %peer.name, journal = %known.journal_id, "a replication begins");
    begin(site, known);
    Ok(())
}

fn as_asked(request: &StartReplication) -> ReplicationSettings {
    let default = ReplicationSettings::default();
    ReplicationSettings {
        retention_hours: request.retention_hours.unwrap_or(default.retention_hours),
        interval_seconds: request.interval_seconds,
        application_every_seconds: request.application_every_seconds,
        rate_limit_bytes_per_second: request.rate_limit_bytes_per_second,
        rate_windows: request.rate_windows.clone(),
        journal_size_bytes: request.journal_size_bytes.unwrap_or(default.journal_size_bytes),
    }
}

fn asked(request: &StartReplication) -> EditReplication {
    EditReplication {
        retention_hours: request.retention_hours,
        interval_seconds: request.interval_seconds,
        application_every_seconds: request.application_every_seconds,
        rate_limit_bytes_per_second: request.rate_limit_bytes_per_second,
        rate_windows: Some(request.rate_windows.clone()).filter(|windows| !windows.is_empty()),
        journal_size_bytes: request.journal_size_bytes,
    }
}

/// How a VM was replicated to here that was failed over to here last; the default where its site did not say.
async fn settings_before(site: &Site, vm: &KnownVm) -> Result<ReplicationSettings> {
    let replicas = site.catalog.replicas().await?;
    let of_vm = |replica: &&catalog::KnownReplica| {
        replica.standing.failover().is_some_and(|failover| failover.vm_id == vm.id)
    };
    let newest = replicas.iter().filter(of_vm).max_by_key(|replica| replica.standing.generation);
    let Some(newest) = newest else { return Ok(ReplicationSettings::default()) };
    let hours =
        newest.retention_seconds.div_ceil(3600).max(1).min(ReplicationSettings::RETENTION_MAX_HOURS.into());
    let settings = newest.source_settings.clone().unwrap_or_default();
    // What this site has kept counts, whoever has wished for it.
    Ok(ReplicationSettings { retention_hours: hours as u32, ..settings })
}

/// Settings of which something is wanted otherwise; 0 takes a limit or a schedule away.
fn changed(earlier: ReplicationSettings, request: EditReplication) -> ReplicationSettings {
    let number = |asked: Option<u32>, earlier| asked.map_or(earlier, |it| Some(it).filter(|it| *it > 0));
    let rate = request.rate_limit_bytes_per_second;
    ReplicationSettings {
        retention_hours: request.retention_hours.unwrap_or(earlier.retention_hours),
        interval_seconds: number(request.interval_seconds, earlier.interval_seconds),
        application_every_seconds: number(
            request.application_every_seconds,
            earlier.application_every_seconds,
        ),
        rate_limit_bytes_per_second: rate
            .map_or(earlier.rate_limit_bytes_per_second, |rate| Some(rate).filter(|rate| rate.0 > 0)),
        rate_windows: request.rate_windows.unwrap_or(earlier.rate_windows),
        journal_size_bytes: request.journal_size_bytes.unwrap_or(earlier.journal_size_bytes),
    }
}

/// Fails for a VM whose failover to this site may still be changed: another moment would be made of it behind its replica.
async fn check_committed(site: &Site, vm: &KnownVm) -> Result<()> {
    let replicas = site.catalog.replicas().await?;
    let is_its = |failover: &recovery::Failover| failover.vm_id == vm.id;
    let of_vm = replicas.iter().find(|replica| replica.standing.uncommitted().is_some_and(is_its));
    let Some(failover) = of_vm.and_then(|replica| replica.standing.uncommitted()) else { return Ok(()) };
    let refusal = recovery::Refusal::Uncommitted(failover.clone());
    Err(Failure::from(refusal)
        .with_hint(format!("commit it first: holdfast failover commit {}", shell_word(vm.name.as_str()))))
}

/// Changes how a VM is replicated.
pub(crate) async fn edit(site: &Site, vm: &KnownVm, request: EditReplication) -> Result<()> {
    let _admission = site.admission.lock().await;
    let known = find(site, vm).await?;
    check_goes_on(vm, &known)?;
    if request.interval_seconds.is_some() && known.settings.interval_seconds.is_none() {
        let detail = format!("every write of the VM {} is taken: there is no interval to change", vm.name);
        let stop = format!(
            "to change that, stop it and start it anew with --mode interval: holdfast replication stop {}",
            shell_word(vm.name.as_str())
        );
        return Err(Failure::conflict(detail).with_hint(stop));
    }
    if request.interval_seconds == Some(0) {
        return Err(Failure::invalid("an interval is 5 seconds at least"));
    }
    let settings = changed(known.settings.clone(), request);
    check(&settings)?;
    site.catalog.set_replication(vm.id, &settings, known.is_paused).await?;
    let is_resized = settings.journal_size_bytes != known.settings.journal_size_bytes;
    let tap = site.replications.with(vm.id, |handle| {
        if let Mode::Interval(interval) = interval::mode(&settings) {
            handle.told.send(Told::Event(Event::Every(interval))).ok();
        }
        handle.settings.send_replace(settings);
        handle.tap.borrow().clone()
    });
    // A tap has the size with which it was launched.
    if let Some(Some(tap)) = tap.filter(|_| is_resized)
        && let Err(error) = tap.shut_down().await
    {
        tracing::warn!(vm = %vm.name, %error, "the tap goes on with the size that it has");
    }
    tracing::info!(vm = %vm.name, "a replication was changed");
    Ok(())
}

/// Takes and sends nothing for now.
pub(crate) async fn pause(site: &Site, vm: &KnownVm) -> Result<()> {
    want(site, vm, Wish::Pause).await
}

/// Goes on, at once also with what waits to be tried again.
pub(crate) async fn resume(site: &Site, vm: &KnownVm) -> Result<()> {
    want(site, vm, Wish::Replicate).await
}

async fn want(site: &Site, vm: &KnownVm, wish: Wish) -> Result<()> {
    let _admission = site.admission.lock().await;
    let known = find(site, vm).await?;
    check_goes_on(vm, &known)?;
    if let Some(why) = known.fenced.filter(|_| wish == Wish::Replicate) {
        let stop = format!("end it here: holdfast replication stop {}", shell_word(vm.name.as_str()));
        return Err(Failure::new(
            api::Code::Fenced,
            format!("the VM {} must not be replicated: {why}", vm.name),
        )
        .with_hint(stop));
    }
    site.catalog.set_replication(vm.id, &known.settings, wish == Wish::Pause).await?;
    site.replications.with(vm.id, |handle| {
        // So that the answer tells what was asked for.
        let mut figures = handle.figures.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = match wish {
            Wish::Pause => Standing::Paused,
            Wish::Replicate if figures.standing == Standing::Paused => Standing::Starting,
            Wish::Replicate => figures.standing.clone(),
        };
        let breaks = figures.breaks;
        figures.note_standing(standing, breaks, site.env.clock.now());
        handle.told.send(Told::Event(Event::Want(wish))).is_ok()
    });
    tracing::info!(vm = %vm.name, ?wish, "a replication is wanted otherwise");
    Ok(())
}

/// Fails for a replication that is being ended: its journal may be gone, and another would not continue it.
fn check_goes_on(vm: &KnownVm, known: &KnownReplication) -> Result<()> {
    if known.ends_with_replica.is_none() {
        return Ok(());
    }
    let stop = format!("have it end: holdfast replication stop {}", shell_word(vm.name.as_str()));
    Err(Failure::conflict(format!("the replication of the VM {} is being ended", vm.name)).with_hint(stop))
}

/// Goes on ending a replication of which a server that is dead had begun to.
pub(super) async fn go_on_stopping(site: &Site, known: &KnownReplication, delete_replica: bool) {
    let stopped = async {
        let vm = crate::vms::find(site, known.vm_id.as_str()).await?;
        stop(site, &vm, StopReplication { delete_replica }).await
    };
    match stopped.await {
        Ok(stopped) => {
            tracing::info!(vm = stopped.vm, problems = ?stopped.problems, "a replication has ended at last")
        }
        Err(failure) => {
            tracing::warn!(vm = %known.vm_id, reason = failure.detail(), "a replication is still to be ended");
        }
    }
}

/// Ends a replication: nothing of it is left here, and what the other site has stays there unless it is to go.
pub(crate) async fn stop(
    site: &Site,
    vm: &KnownVm,
    request: StopReplication,
) -> Result<StoppedReplicationView> {
    let known = {
        let _admission = site.admission.lock().await;
        let known = find(site, vm).await?;
        // A server that dies on the way leaves it to the next one.
        site.catalog.begin_to_end_replication(vm.id, request.delete_replica).await?;
        groups::leave(site, vm.id).await?;
        known
    };
    let tap = match end(site, vm.id).await {
        Some(tap) => Some(tap),
        // One that a server has launched which is dead.
        None => tap::Client::connect(&control_socket(site, &known)).await.ok(),
    };
    let mut problems = Vec::new();
    let ended = timeout(END_TAP_LIMIT, site.hypervisor.end_tap(&vms::access(vm), known.journal_id)).await;
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => problems.push(format!("something of it is left in the VM: {error}")),
        Err(_) => problems.push("something of it is left in the VM, which did not answer".to_owned()),
    }
    if known.settings.interval_seconds.is_some()
        && let Err(failure) = interval::forget(site, vm).await
    {
        problems.push(format!("what was tracked stays until the VM is forgotten: {}", failure.detail()));
    }
    if let Some(tap) = tap
        && let Err(error) = tap.shut_down().await
    {
        tracing::debug!(vm = %vm.name, %error, "the tap did not end in order");
    }
    remove_journal(site, &known, &mut problems);
    let is_told = match tell(site, &known, request.delete_replica).await {
        Ok(()) => true,
        Err(failure) => {
            let name = &known.peer_name;
            problems.push(format!("the site {name} was not told: {}", failure.detail()));
            false
        }
    };
    forget(site, vm, &known).await?;
    tracing::info!(vm = %vm.name, site = %known.peer_name, "a replication has ended");
    Ok(StoppedReplicationView {
        vm: vm.name.to_string(),
        site: known.peer_name.to_string(),
        is_told,
        problems,
    })
}

/// Forgets a replication, unless the VM was handed over while it was being ended: that nobody knew who asked to end it.
async fn forget(site: &Site, vm: &KnownVm, known: &KnownReplication) -> Result<()> {
    let _admission = site.admission.lock().await;
    let now = find(site, vm).await?;
    if let Some(why) = now.fenced.filter(|_| known.fenced.is_none()) {
        let name = shell_word(vm.name.as_str());
        return Err(Failure::new(api::Code::Fenced, format!("the VM {} must not run here: {why}", vm.name))
            .with_hint(format!("to forget that as well: holdfast replication stop {name}")));
    }
    Ok(site.catalog.remove_replication(vm.id).await?)
}

/// Lets go of the replication of a VM that another site has taken over and that comes back, but for what the catalog knows of it.
/// Nobody is told: it has been over for long.
pub(crate) async fn let_go(site: &Site, vm: &KnownVm) -> Result<()> {
    let Some(known) = site.catalog.replication(vm.id).await? else { return Ok(()) };
    let tap = end(site, vm.id).await;
    let ended = timeout(END_TAP_LIMIT, site.hypervisor.end_tap(&vms::access(vm), known.journal_id)).await;
    if !matches!(ended, Ok(Ok(()))) {
        tracing::warn!(vm = %vm.name, "something of a replication is left in the VM that was");
    }
    if let Some(tap) = tap
        && let Err(error) = tap.shut_down().await
    {
        tracing::debug!(vm = %vm.name, %error, "the tap did not end in order");
    }
    let mut problems = Vec::new();
    remove_journal(site, &known, &mut problems);
    for problem in problems {
        tracing::warn!(vm = %vm.name, problem, "something of a replication is left");
    }
    Ok(())
}

/// Fails for a VM that another site has taken over.
pub(crate) async fn check_may_run(site: &Site, vm: &KnownVm) -> Result<()> {
    let Some(known) = site.catalog.replication(vm.id).await? else { return Ok(()) };
    let Some(why) = known.fenced else { return Ok(()) };
    let name = shell_word(vm.name.as_str());
    Err(Failure::new(api::Code::Fenced, format!("the VM {} must not run here: {why}", vm.name))
        .with_hint(format!("where it is to run here all the same: holdfast replication stop {name}")))
}

fn control_socket(site: &Site, known: &KnownReplication) -> std::path::PathBuf {
    let (journal_id, generation) = (known.journal_id, journal::Generation(known.generation));
    let (folder, sockets) = (site.directory.journal(journal_id), site.directory.tap_sockets(journal_id));
    tap::TapOptions::new(folder, sockets, journal_id, generation).control_socket()
}

fn remove_journal(site: &Site, known: &KnownReplication, problems: &mut Vec<String>) {
    for path in [site.directory.journal(known.journal_id), site.directory.tap_sockets(known.journal_id)] {
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                problems.push(format!("{} could not be removed: {error}", path.display()));
            }
            _ => {}
        }
    }
}

async fn tell(site: &Site, known: &KnownReplication, delete: bool) -> Result<()> {
    let peer = peers::find(site, known.peer_id.as_str()).await?;
    let client = site.peers.client(&peer, Patience::NONE)?;
    let client = client.ok_or_else(|| Failure::conflict("it has no address"))?;
    let told = timeout(TELL_LIMIT, client.end_replica(known.journal_id, delete)).await;
    match told.map_err(|_| Failure::new(api::Code::Unreachable, "it did not answer within 15 s"))? {
        // It has never heard of it.
        Err(error) if error.kind() == peer::ErrorKind::NotFound => Ok(()),
        told => Ok(told?),
    }
}

fn check(settings: &ReplicationSettings) -> Result<()> {
    if !(1..=ReplicationSettings::RETENTION_MAX_HOURS).contains(&settings.retention_hours) {
        return Err(Failure::invalid("the other site keeps an hour at least and 30 days at most"));
    }
    let intervals = ReplicationSettings::INTERVAL_MIN_SECONDS..=ReplicationSettings::INTERVAL_MAX_SECONDS;
    if settings.interval_seconds.is_some_and(|interval| !intervals.contains(&interval)) {
        return Err(Failure::invalid("an interval is 5 seconds at least and 24 hours at most"));
    }
    let every = settings.application_every_seconds;
    if every.is_some_and(|every| every < ReplicationSettings::APPLICATION_EVERY_MIN_SECONDS) {
        return Err(Failure::invalid("a guest is not made to hold still more often than once a minute"));
    }
    if settings.journal_size_bytes < ReplicationSettings::JOURNAL_SIZE_MIN {
        let least = ReplicationSettings::JOURNAL_SIZE_MIN;
        return Err(Failure::invalid(format!("a journal takes {least} at least")));
    }
    if settings.rate_limit_bytes_per_second == Some(ByteCount(0)) {
        return Err(Failure::invalid("nothing could ever be sent; leave the limit out for none"));
    }
    Ok(())
}

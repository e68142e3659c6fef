//! One world: what comes upon it is drawn step by step; then everything calms down, and the VM has to be protected.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use journal::Sequence;
use model::{JournalId, VmId};
use replication::Standing;
use tokio::time::{Instant, sleep};

use super::{
    Broken,
    attachment::JOURNAL_GONE,
    commands::{self, Command},
    guest,
    network::Weather,
    server::Server,
    site::{KnownVm, Place, Site},
};
use crate::{
    dice::Dice,
    process::{Fate, Process},
    trace::Trace,
};

/// How long it may take until a VM is protected once nothing fails any more.
const CALM_LIMIT: Duration = Duration::from_secs(1200);

pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) trace: Arc<Trace>,
    pub(crate) broken: Option<Broken>,
    pub(crate) vm_id: VmId,
    start: Instant,
    sites: [Arc<Site>; 2],
    state: Mutex<State>,
    /// How often a server, a tap, a mirror or a host dies, in a thousand.
    dies: u32,
    has_intervals: bool,
}

struct State {
    weather: Weather,
    fate: Fate,
    /// Replicas that were deleted: nothing of them needs to be there.
    forgotten: BTreeSet<JournalId>,
    violation: Option<String>,
}

impl World {
    pub(crate) fn new(seed: u64, trace: Arc<Trace>, broken: Option<Broken>) -> Self {
        let dice = Dice::new(seed);
        let vm_id = VmId::from_random(dice.bytes());
        let site = |place, name| Arc::new(Site::new(place, name, vm_id, dice.fork()));
        let sites = [site(0, "west"), site(1, "east")];
        let fate = Fate {
            crash: dice.number(0..8) as u32,
            pause: dice.number(0..3) as u32,
            clock_jump: dice.number(0..4) as u32,
        };
        let state = State { weather: Weather::default(), fate, forgotten: BTreeSet::new(), violation: None };
        let dies = dice.number(0..25) as u32;
        let has_intervals = seed >= super::AT_INTERVALS_FROM;
        let state = Mutex::new(state);
        Self { trace, broken, vm_id, start: Instant::now(), sites, state, dies, has_intervals, dice }
    }

    /// Whether what this journal takes is copied at intervals: of most of them, in some worlds.
    pub(crate) fn is_at_intervals(&self, journal: JournalId) -> bool {
        self.has_intervals && !journal.as_str().starts_with(['0', '1', '2', '3', '4', '5'])
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn site(&self, place: Place) -> Arc<Site> {
        Arc::clone(if place == 0 { &self.sites[0] } else { &self.sites[1] })
    }

    pub(crate) fn sites(&self) -> &[Arc<Site>; 2] {
        &self.sites
    }

    pub(crate) fn weather(&self) -> Weather {
        self.state().weather
    }

    pub(crate) fn process(&self, name: &str) -> Process {
        let fate = self.state().fate;
        Process::new(name.to_owned(), self.start, self.dice.fork(), fate, Arc::clone(&self.trace))
    }

    pub(crate) fn violation(&self) -> Option<String> {
        self.state().violation.clone()
    }

    pub(crate) fn violated(&self, why: String) {
        self.trace.add("checker", why.clone());
        self.state().violation.get_or_insert(why);
    }

    /// A replica was deleted: nothing of it needs to be there any more.
    pub(crate) fn forget(&self, journal: JournalId) {
        self.state().forgotten.insert(journal);
    }

    /// What a source was told to be durable at its target.
    pub(crate) fn durable_there(&self, journal: JournalId) -> Sequence {
        if self.state().forgotten.contains(&journal) {
            return Sequence(0);
        }
        let of = |site: &Arc<Site>| site.host().histories.get(&journal).map(|history| history.durable_there);
        self.sites.iter().find_map(of).unwrap_or(Sequence(0))
    }

    pub(crate) fn note_durable_there(&self, journal: JournalId, through: Sequence) {
        for site in &self.sites {
            if let Some(history) = site.host().histories.get_mut(&journal) {
                history.durable_there = history.durable_there.max(through);
            }
        }
    }
}

/// Lives through the world.
pub(crate) async fn run(world: &Arc<World>) {
    {
        let west = world.site(0);
        west.host().create_vm(Arc::new(guest::blank()));
        west.catalog().vm = Some(KnownVm { generation: 1 });
    }
    for place in [0, 1] {
        Server::start(world, place);
    }
    for command in [Command::Start, Command::Replicate] {
        ask(world, 0, command);
        sleep(Duration::from_millis(200)).await;
    }
    for _ in 0..world.dice.number(100..900) {
        sleep(world.dice.duration(Duration::ZERO, Duration::from_millis(300))).await;
        step(world).await;
        world.check_rights();
        if world.violation().is_some() {
            return;
        }
    }
    calm(world).await;
}

fn ask(world: &Arc<World>, place: Place, command: Command) {
    if let Some(server) = world.site(place).server() {
        commands::ask(&server, command);
    }
}

async fn step(world: &Arc<World>) {
    let dice = &world.dice;
    let place = dice.number(0..2) as Place;
    let site = world.site(place);
    if site.server().is_none() && dice.chance(300) {
        Server::start(world, place);
    }
    if dice.chance(world.dies) {
        befall(world, &site);
    }
    if dice.chance(15) {
        change_weather(world, &site);
    }
    for site in world.sites() {
        write(world, site);
    }
    match dice.number(0..100) {
        0..12 => ask(world, place, draw_command(dice, &site)),
        12..20 => world.look_at_moments(place, 2).await,
        20..26 => look_after(&site),
        _ => {}
    }
}

/// What guests and taps do by themselves.
fn write(world: &World, site: &Site) {
    for _ in 0..world.dice.number(0..3) {
        let wrote = site.host().write();
        if let Some(what) = wrote {
            world.trace.add(site.name, format!("guest: {what}"));
        }
    }
    if world.dice.chance(500) {
        site.host().tick_taps();
    }
    site.changed();
}

fn look_after(site: &Site) {
    if let Some(server) = site.server() {
        let asked = Arc::clone(&server);
        server.spawn(async move {
            asked.look_after_replicas().await;
            asked.look_at_tests().await;
        });
    }
}

/// What comes upon hosts and processes.
fn befall(world: &World, site: &Site) {
    let (kill_server, what) = match world.dice.number(0..10) {
        0 => {
            site.host().crash();
            (true, "the host loses its power")
        }
        1..4 => {
            let taps: Vec<_> = site.host().taps.keys().copied().collect();
            if let Some(tap) = world.dice.pick(&taps) {
                site.host().kill_tap(*tap);
            }
            (false, "a tap dies")
        }
        4..6 => {
            site.host().break_mirror();
            (false, "a mirror breaks")
        }
        _ => (true, "the server dies"),
    };
    world.trace.add(site.name, what);
    if kill_server && let Some(server) = site.server() {
        server.process.kill();
        site.set_server(None);
    }
    site.changed();
}

fn change_weather(world: &World, site: &Site) {
    let dice = &world.dice;
    let fails = if dice.chance(200) { dice.number(0..150) as u32 } else { 0 };
    site.host().set_weather(dice.chance(150), fails);
    let weather = Weather {
        is_parted: dice.chance(250),
        loses: if dice.chance(400) { dice.number(0..300) as u32 } else { 0 },
        doubles: dice.number(0..100) as u32,
        delays: if dice.chance(300) { dice.number(0..200) as u32 } else { 0 },
    };
    world.state().weather = weather;
    world.trace.add("network", format!("{weather:?}"));
}

/// Anything, and more often what fits.
fn draw_command(dice: &Dice, site: &Site) -> Command {
    let newest = dice.chance(600);
    let (has_vm, is_replicated, is_fenced, has_replica) = {
        let catalog = site.catalog();
        (
            catalog.vm.is_some(),
            catalog.replication.is_some(),
            catalog.fenced().is_some(),
            catalog.replicas.values().any(|known| !known.is_committed()),
        )
    };
    let fitting: &[Command] = match (has_vm, is_replicated, is_fenced, has_replica) {
        (true, true, true, _) => &[Command::Retire, Command::Planned],
        (true, true, false, _) => &[Command::Planned, Command::Planned, Command::Start, Command::Resume],
        (true, false, _, true) => {
            &[Command::Commit, Command::Replicate, Command::ChangePoint, Command::Start]
        }
        (true, false, _, false) => &[Command::Replicate, Command::Start],
        (false, _, _, true) => &[Command::Unplanned { newest }, Command::Test, Command::CleanUp],
        (false, ..) => &[],
    };
    let any = [
        Command::Start,
        Command::Stop,
        Command::Replicate,
        Command::Pause,
        Command::Resume,
        Command::EndReplication { delete: newest },
        Command::Planned,
        Command::Unplanned { newest },
        Command::ChangePoint,
        Command::Commit,
        Command::Test,
        Command::CleanUp,
        Command::DeleteReplica,
        Command::Retire,
    ];
    let drawn = if dice.chance(700) { dice.pick(fitting) } else { None };
    drawn.or_else(|| dice.pick(&any)).copied().unwrap_or(Command::Start)
}

/// Nothing fails any more: what can be protected has to be, and what was handed over must not be lost.
async fn calm(world: &Arc<World>) {
    {
        let mut state = world.state();
        (state.weather, state.fate) = (Weather::default(), Fate::default());
    }
    world.trace.add("world", "calms down");
    for (place, site) in world.sites().iter().enumerate() {
        site.host().set_weather(false, 0);
        if let Some(server) = site.server() {
            server.process.kill();
        }
        site.set_server(None);
        Server::start(world, place);
    }
    sleep(Duration::from_secs(120)).await;
    for (place, site) in world.sites().iter().enumerate() {
        let is_kept = {
            let catalog = site.catalog();
            catalog.may_run() && catalog.replication.as_ref().is_some_and(|known| !known.is_paused)
        };
        if is_kept && !site.truth().is_overridden {
            ask(world, place, Command::Start);
        }
    }
    let begun = Instant::now();
    while world.violation().is_none() && begun.elapsed() < CALM_LIMIT {
        sleep(Duration::from_secs(2)).await;
        for site in world.sites() {
            write(world, site);
        }
        world.check_rights();
        if world.sites().iter().all(|site| is_settled(world, site)) {
            break;
        }
    }
    for (place, site) in world.sites().iter().enumerate() {
        if !is_settled(world, site) && world.violation().is_none() {
            let standing = site.server().and_then(|server| {
                server.keeping().as_ref().map(|keeping| keeping.figures().standing.clone())
            });
            world.violated(format!("{} does not become protected: {standing:?}", site.name));
        }
        world.look_at_moments(place, 40).await;
        if let Some(server) = site.server() {
            server.look_at_tests().await;
        }
    }
}

/// Whether a replica that was deleted was begun again by an offer that came late, and wants what is no longer in the journal.
fn lacks_beginning(world: &World, site: &Site, journal: JournalId) -> bool {
    let start = site.host().taps.get(&journal).map(|tap| tap.journal.start());
    let kept = world.site(1 - site.place).server().and_then(|server| server.replica(journal).ok());
    let wanted = kept.and_then(|kept| kept.replica.wanted().ok());
    wanted.zip(start).is_some_and(|(wanted, start)| wanted < start)
}

/// Whether a VM that runs and is replicated is protected.
fn is_settled(world: &World, site: &Site) -> bool {
    let journal = site.catalog().replication.as_ref().map(|known| known.journal);
    let is_kept = |journal| world.site(1 - site.place).catalog().replicas.contains_key(&journal);
    // Where the other site has deleted the replica, somebody has to begin anew.
    if journal.is_some_and(|journal| !is_kept(journal) || lacks_beginning(world, site, journal)) {
        return true;
    }
    if !site.host().runs() || !site.catalog().may_run() {
        return true;
    }
    let Some(server) = site.server() else { return false };
    let keeping = server.keeping().clone();
    keeping.is_none_or(|keeping| match &keeping.figures().standing {
        Standing::Protected | Standing::Paused | Standing::Fenced(_) => true,
        // Somebody had begun to end the replication, and has to do so again.
        Standing::Degraded(why) => why == JOURNAL_GONE,
        _ => false,
    })
}

//! A server that carries a run out, operators, and another site, of which each may do anything at any moment.

use std::collections::BTreeMap;

use model::Timestamp;

use super::{Flaw, oracle::Oracle};
use crate::{
    Act, Action, Begin, Command, Direction, Event, FailbackOrder, Gate, Group, Kind, Manual, OnFailure,
    Outcome, Output, Plan, Run, Standing, Step, StepId, StepState, TcpGate, Told, Vm, document::HostScript,
};

/// How much happens before everybody becomes reasonable, and how much may happen after that.
const WILD_STEPS: u32 = 150;
const CALM_STEPS: u32 = 5000;

/// Something under way.
#[derive(Debug, Clone, Copy)]
struct UnderWay {
    attempt: u32,
    /// It does nothing any more, and does not end when it is told to.
    hangs: bool,
    was_told_to_stop: bool,
}

pub struct World {
    random: u64,
    run: Run,
    oracle: Oracle,
    now: Timestamp,
    /// What the run wants that nobody has begun with.
    told: Vec<Told>,
    under_way: BTreeMap<StepId, UnderWay>,
    is_calm: bool,
    was_recovered: bool,
    story: Vec<String>,
}

impl World {
    pub fn new(seed: u64, flaw: Option<Flaw>) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let plan = random.plan();
        assert_eq!(
            crate::validate(&plan)
                .iter()
                .filter(|finding| finding.severity == crate::Severity::Error)
                .count(),
            0
        );
        let kind = [Kind::Test, Kind::Planned, Kind::Unplanned][random.below(3) as usize];
        let direction = [Direction::Failover, Direction::Failback][random.below(2) as usize];
        let begin = Begin {
            plan: "shop".to_owned(),
            plan_version: 1,
            kind,
            direction,
            point: "latest".to_owned(),
            operator: "ada".to_owned(),
        };
        let now = Timestamp::from_microseconds(1_790_000_000_000_000);
        let mut run = Run::begin(&plan, begin, now);
        run.flaw = flaw;
        Self {
            random: random.0,
            run,
            oracle: Oracle::new(&plan, kind, direction),
            now,
            told: Vec::new(),
            under_way: BTreeMap::new(),
            is_calm: false,
            was_recovered: false,
            story: Vec::new(),
        }
    }

    /// All of it, to an end that is one.
    pub fn live(mut self) -> Result<(), String> {
        let lived = self.live_on();
        lived.map_err(|why| format!("{why}\n{}", self.story.join("\n")))
    }

    fn live_on(&mut self) -> Result<(), String> {
        self.tell(Event::Tick)?;
        for _ in 0..WILD_STEPS {
            self.happen()?;
        }
        self.is_calm = true;
        for _ in 0..CALM_STEPS {
            if self.is_ended()? {
                return Ok(());
            }
            self.go_on()?;
        }
        Err(format!("it comes to no end: {}", self.run.standing()))
    }

    fn happen(&mut self) -> Result<(), String> {
        match self.below(100) {
            0..30 => self.carry_out(),
            30..65 => self.end_something(),
            65..80 => self.pass(),
            80..84 => self.restart(),
            84 => self.command(Command::Pause),
            85..88 => self.command(Command::Resume),
            88 if self.below(4) == 0 => self.command(Command::Cancel),
            89 => self.command(Command::CleanUp),
            90 => self.command(Command::Commit),
            91 => self.command(Command::Reprotect),
            _ => self.answer(),
        }
    }

    /// Everybody does what they should.
    fn go_on(&mut self) -> Result<(), String> {
        if !self.told.is_empty() {
            return self.carry_out();
        }
        if self.under_way.values().any(|under_way| !under_way.hangs) {
            return self.end_something();
        }
        match self.run.standing() {
            Standing::Running | Standing::Pausing | Standing::Cancelling => match self.run.due() {
                None => Err(format!("it is {}, and nothing will happen", self.run.standing())),
                Some(due) => {
                    self.now = self.now.max(due);
                    self.tell(Event::Tick)
                }
            },
            Standing::Paused => self.command(Command::Resume),
            Standing::NeedsAnswer | Standing::Failed => self.answer(),
            Standing::Cancelled => {
                self.command(Command::CleanUp)?;
                if self.run.standing() == Standing::Cancelled {
                    self.command(Command::Resume)
                } else {
                    Ok(())
                }
            }
            Standing::Done(Act::Recover) if self.run.kind == Kind::Test => self.command(Command::CleanUp),
            Standing::Done(Act::Recover) => self.command(Command::Commit),
            Standing::Done(Act::Commit) => self.command(Command::Reprotect),
            Standing::Done(_) => Ok(()),
        }
    }

    fn is_ended(&mut self) -> Result<bool, String> {
        let nothing_up = !self.run.steps().any(|step| {
            matches!(step.work, crate::Work::BringUp(_)) && matches!(step.state, StepState::Done { .. })
        });
        Ok(match self.run.standing() {
            Standing::Done(Act::CleanUp | Act::Reprotect) => true,
            Standing::Done(Act::Recover) => nothing_up && self.run.kind != Kind::Test,
            Standing::Done(Act::Commit) => !self.run.steps().any(|step| {
                matches!(step.work, crate::Work::Commit(_)) && matches!(step.state, StepState::Done { .. })
            }),
            // A part of a run's life that was cancelled after the VMs were up.
            Standing::Cancelled => self.run.act() != Act::Recover,
            _ => false,
        })
    }

    fn tell(&mut self, event: Event) -> Result<(), String> {
        self.story.push(format!("{event:?}"));
        let told = self.run.handle(event, self.now);
        self.keep(told)
    }

    /// What is kept comes back as it was, and only then anything is done.
    fn keep(&mut self, told: Vec<Told>) -> Result<(), String> {
        if self.below(4) == 0 {
            let flaw = self.run.flaw;
            let mut read = Run::decode(&self.run.encode()).map_err(|error| error.to_string())?;
            read.flaw = flaw;
            if read != self.run {
                return Err("it is not read as it was kept".to_owned());
            }
        }
        for one in &told {
            self.story.push(format!("  {one:?}"));
            if let Told::Begin { step, .. } = one {
                let is_under_way = self.under_way.contains_key(step);
                let step = self.step(*step)?;
                self.oracle.begins(self.run.act(), &step, is_under_way)?;
            }
        }
        self.told.extend(told);
        match self.run.standing() {
            Standing::Done(Act::Recover) if !self.was_recovered => {
                self.was_recovered = true;
                self.oracle.is_recovered()
            }
            Standing::Done(Act::CleanUp) => self.oracle.is_cleaned_up(),
            _ => Ok(()),
        }
    }

    fn step(&self, id: StepId) -> Result<Step, String> {
        self.run.step(id).cloned().ok_or_else(|| format!("there is no step {id}"))
    }

    fn carry_out(&mut self) -> Result<(), String> {
        if self.told.is_empty() {
            return Ok(());
        }
        match self.told.remove(0) {
            Told::Begin { step, attempt } => {
                let hangs = !self.is_calm && self.below(12) == 0;
                self.under_way.insert(step, UnderWay { attempt, hangs, was_told_to_stop: false });
            }
            Told::Stop { step, .. } => {
                if let Some(under_way) = self.under_way.get_mut(&step) {
                    under_way.was_told_to_stop = true;
                }
            }
        }
        Ok(())
    }

    fn end_something(&mut self) -> Result<(), String> {
        let able: Vec<_> = self
            .under_way
            .iter()
            .filter(|(_, under_way)| !under_way.hangs)
            .map(|(id, way)| (*id, *way))
            .collect();
        if able.is_empty() {
            return Ok(());
        }
        let (id, under_way) = able[self.below(able.len() as u64) as usize];
        self.under_way.remove(&id);
        let step = self.step(id)?;
        let is_heard = step.state.is_active() && step.attempts == under_way.attempt;
        let bad = if self.is_calm { 8 } else { 40 };
        let outcome = match self.below(100) {
            roll if roll < bad || under_way.was_told_to_stop => {
                if is_heard {
                    self.oracle.failed(&step);
                }
                Outcome::Failed { why: "it went wrong".to_owned(), output: Output::default() }
            }
            roll if roll < bad + 5 => {
                if is_heard {
                    self.oracle.in_doubt(&step);
                }
                Outcome::Unknown { why: "the other site is gone".to_owned() }
            }
            _ => {
                if is_heard || matches!(step.state, StepState::Asking { .. }) {
                    self.oracle.succeeded(&step);
                }
                Outcome::Succeeded(Output::default())
            }
        };
        self.tell(Event::Ended { step: id, attempt: under_way.attempt, outcome })
    }

    fn pass(&mut self) -> Result<(), String> {
        let due = self.run.due().filter(|_| self.below(2) == 0);
        let later = Timestamp::from_microseconds(self.now.as_microseconds() + 3_000_000);
        self.now = due.unwrap_or(later).max(self.now);
        let before: Vec<_> = self.run.steps().filter(|step| step.state.is_question()).cloned().collect();
        let told = self.run.handle(Event::Tick, self.now);
        // A person who does not answer has failed.
        for step in before.iter().filter(|step| matches!(step.state, StepState::AtHand { .. })) {
            if !matches!(self.step(step.id)?.state, StepState::AtHand { .. }) {
                self.oracle.failed(step);
            }
        }
        self.keep(told)
    }

    /// All that was under way ends with the server, or ended just before.
    fn restart(&mut self) -> Result<(), String> {
        let flaw = self.run.flaw;
        self.run = Run::decode(&self.run.encode()).map_err(|error| error.to_string())?;
        self.run.flaw = flaw;
        self.told.clear();
        self.under_way.clear();
        let active: Vec<_> = self.run.steps().filter(|step| step.state.is_active()).cloned().collect();
        for step in active {
            self.oracle.restarted(&step);
        }
        self.tell(Event::Restarted)
    }

    /// Somebody says what is to become of a step, with or without reason.
    fn answer(&mut self) -> Result<(), String> {
        let questions: Vec<_> = self.run.questions().map(|step| step.id).collect();
        let id = match questions.len() as u64 {
            0 if self.is_calm => return Ok(()),
            0 => StepId(u32::try_from(self.below(30)).unwrap_or_default()),
            count => questions[self.below(count) as usize],
        };
        let note = "ada said so".to_owned();
        match self.below(3) {
            0 => self.command(Command::Skip { step: id, note }),
            1 => self.command(Command::Retry { step: id }),
            _ => self.command(Command::Confirm { step: id, note }),
        }
    }

    fn command(&mut self, command: Command) -> Result<(), String> {
        let (before, kept) = (self.run.clone(), command.clone());
        let told = match self.run.command(command, self.now) {
            Ok(told) => {
                self.story.push(format!("{kept:?}"));
                told
            }
            Err(refusal) if self.run == before => {
                let _ = refusal;
                return Ok(());
            }
            Err(refusal) => return Err(format!("it has changed although it refused: {refusal}")),
        };
        let step = |id: StepId| before.step(id).cloned();
        match kept {
            Command::Pause => self.oracle.is_paused = true,
            Command::Resume => (self.oracle.is_paused, self.oracle.is_cancelled) = (false, false),
            Command::Cancel => self.oracle.is_cancelled = true,
            Command::Skip { step: id, .. } => {
                if let Some(step) = step(id) {
                    self.oracle.skipped(&step, step.state.is_active());
                }
            }
            Command::Retry { step: id } => {
                // Who retries what may be under way takes that on.
                self.under_way.remove(&id);
                self.told.retain(|told| !matches!(told, Told::Begin { step, .. } if *step == id));
                if let Some(step) = step(id).filter(|step| !matches!(step.state, StepState::RetryAt { .. })) {
                    self.oracle.retried(&step);
                }
            }
            Command::Confirm { step: id, .. } => {
                if let Some(step) = step(id) {
                    self.oracle.confirmed(&step);
                }
            }
            Command::CleanUp | Command::Commit | Command::Reprotect => self.oracle.entered(),
        }
        self.keep(told)
    }

    fn below(&mut self, limit: u64) -> u64 {
        let mut random = Random(self.random);
        let drawn = random.below(limit);
        self.random = random.0;
        drawn
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn plan(&mut self) -> Plan {
        let mut count = 0;
        let mut number = || {
            count += 1;
            count
        };
        let groups = 1 + self.below(4);
        let mut groups: Vec<_> = (0..groups)
            .map(|group| Group {
                name: format!("group {group}"),
                pre: (0..self.below(3)).map(|_| self.action(number())).collect(),
                vms: (0..self.below(4)).map(|_| self.vm(number())).collect(),
                post: (0..self.below(3)).map(|_| self.action(number())).collect(),
            })
            .collect();
        groups[0].vms.push(self.vm(number()));
        Plan {
            version: 1,
            description: None,
            rto_seconds: Some(600),
            rpo_seconds: None,
            failback_order: [FailbackOrder::Same, FailbackOrder::Reverse][self.below(2) as usize],
            groups,
            after_cleanup: (0..self.below(2)).map(|_| self.action(number())).collect(),
        }
    }

    fn vm(&mut self, number: u32) -> Vm {
        let gate = |port| Gate {
            agent: false,
            tcp: Some(TcpGate { port, host: None }),
            http: None,
            command: None,
            timeout_seconds: 30,
        };
        Vm {
            name: format!("vm {number}").parse().unwrap(),
            health: (0..self.below(3)).map(|port| gate(80 + port as u16)).collect(),
            networks: Vec::new(),
            on_failure: self.on_failure(),
        }
    }

    fn on_failure(&mut self) -> OnFailure {
        [OnFailure::Stop, OnFailure::Continue, OnFailure::Ask][self.below(3) as usize]
    }

    fn action(&mut self, number: u32) -> Action {
        let is_manual = self.below(5) == 0;
        let script = HostScript { command: vec!["true".to_owned()], site: crate::Where::Target };
        let (mut kinds, mut directions) = (Kind::all(), Direction::all());
        kinds.truncate(1 + self.below(4) as usize);
        directions.truncate(1 + self.below(3) as usize);
        Action {
            name: format!("action {number}"),
            script: (!is_manual).then_some(script),
            guest: None,
            http: None,
            ansible: None,
            manual: is_manual.then(|| Manual { instructions: "look".to_owned() }),
            runbook: None,
            timeout_seconds: (!is_manual || self.below(2) == 0).then_some(20),
            retries: if is_manual { 0 } else { self.below(3) as u32 },
            retry_pause_seconds: 2,
            on_failure: self.on_failure(),
            repeatable: self.below(2) == 0,
            applies_to: kinds,
            directions,
        }
    }
}

//! The machine in a world in which everything may happen at any moment.

mod interval;
mod world;

use std::time::Duration;

use super::{Action, Attachment, End, Epoch, Event, Machine, Mode, Obstacle, Record, Standing, Wish};
use world::{Flaw, World};

const SEEDS: u64 = 2000;
const STEPS: u32 = 600;

fn run(seed: u64, flaw: Option<Flaw>) -> Result<(), String> {
    let mut world = World::new(seed, flaw);
    for _ in 0..STEPS {
        world.step();
        world.check()?;
    }
    world.calm();
    world.check()
}

#[test]
fn whatever_the_order_nothing_is_called_whole_that_misses_writes() {
    for seed in 0..SEEDS {
        if let Err(lie) = run(seed, None) {
            panic!("seed {seed}: {lie}");
        }
    }
}

#[test]
fn once_nothing_fails_any_more_everything_becomes_whole() {
    for seed in 0..SEEDS / 4 {
        let mut world = World::new(seed, None);
        (0..STEPS).for_each(|_| world.step());
        world.calm();
        assert_eq!(world.standing(), Standing::Protected, "seed {seed}");
    }
}

#[test]
fn each_mistake_is_found() {
    for flaw in [Flaw::NoProof, Flaw::TrustUndurable, Flaw::CopiedTooSoon, Flaw::HypervisorForgetsFirst] {
        let is_found = (0..SEEDS).any(|seed| run(seed, Some(flaw)).is_err());
        assert!(is_found, "{flaw:?} was found in no world");
    }
}

const NOW: Duration = Duration::from_secs(1000);

/// A machine whose disks are whole, in its first attachment.
fn whole() -> Machine {
    let mut machine = Machine::new(Wish::Replicate, None, NOW);
    let first = Attachment(1);
    let attach = Action::Attach { attachment: first, trusted: None, is_at_rest: false };
    assert_eq!(machine.handle(Event::Tick, NOW), [attach]);
    let attached = Event::Attached { attachment: first, is_partial: false };
    assert_eq!(machine.handle(attached, NOW), [Action::Copy(first)]);
    assert_eq!(machine.standing(), Standing::Copying);
    assert_eq!(machine.handle(Event::Copied(first), NOW), [Action::BeginEpoch(first)]);
    let begun = Event::EpochBegun { attachment: first, epoch: Epoch(2), through: Record(50) };
    assert_eq!(machine.handle(begun, NOW), [Action::Declare(first)]);
    assert_eq!(machine.handle(Event::Declared(first), NOW), []);
    machine
}

#[test]
fn an_epoch_is_trusted_once_everything_before_it_is_durable() {
    let mut machine = whole();
    assert_eq!(machine.standing(), Standing::Protected);
    assert_eq!(machine.handle(Event::Durable(Record(49)), NOW), []);
    assert_eq!(machine.handle(Event::Durable(Record(50)), NOW), [Action::Keep(Epoch(2))]);
    assert_eq!(machine.trusted(), None);
    let kept = machine.handle(Event::Kept(Epoch(2)), NOW);
    assert_eq!((kept, machine.trusted()), (vec![Action::Trust(Attachment(1), Epoch(2))], Some(Epoch(2))));
    let due = machine.due().unwrap();
    assert_eq!(machine.handle(Event::Tick, due), [Action::BeginEpoch(Attachment(1))]);
}

#[test]
fn breaks_are_counted_and_tried_again_later_and_later() {
    let mut machine = whole();
    let mut now = NOW;
    let mut waits = Vec::new();
    for attachment in 1..=12 {
        let actions =
            machine.handle(Event::Ended(Attachment(attachment), End::Broken("it hung".to_owned())), now);
        assert_eq!(actions, [Action::Detach(Attachment(attachment))]);
        assert_eq!(machine.standing(), Standing::Degraded("it hung".to_owned()));
        let due = machine.due().unwrap();
        waits.push((due - now).as_secs());
        now = due;
        assert_eq!(machine.handle(Event::Tick, now).len(), 1);
        let attached = Event::Attached { attachment: Attachment(attachment + 1), is_partial: true };
        assert_eq!(machine.handle(attached, now).len(), 1);
    }
    assert_eq!((&waits[..4], waits[11]), (&[1, 2, 4, 8][..], 300));
    assert_eq!(machine.breaks(), 12);
}

#[test]
fn a_full_journal_is_not_tried_until_there_is_room() {
    let mut machine = whole();
    let _ = machine.handle(Event::Ended(Attachment(1), End::JournalFull), NOW);
    assert_eq!(machine.due(), None);
    assert_eq!(machine.handle(Event::Want(Wish::Replicate), NOW), []);
    let attach = Action::Attach { attachment: Attachment(2), trusted: None, is_at_rest: false };
    assert_eq!(machine.handle(Event::Room, NOW), [attach]);
}

#[test]
fn a_vm_that_stops_and_starts_is_taken_up_at_once() {
    let mut machine = whole();
    let _ = machine.handle(Event::Ended(Attachment(1), End::VmStopped), NOW);
    assert_eq!((machine.standing(), machine.breaks()), (Standing::VmStopped, 0));
    let due = machine.due().unwrap();
    let attach = Action::Attach { attachment: Attachment(2), trusted: None, is_at_rest: false };
    assert_eq!(machine.handle(Event::Tick, due), [attach]);
    assert_eq!(machine.standing(), Standing::VmStopped);
    let _ = machine.handle(Event::NotAttached(Attachment(2), Obstacle::VmStopped), due);
    assert_eq!(machine.standing(), Standing::VmStopped);
}

#[test]
fn a_stopped_vm_is_said_to_lack_nothing_only_when_that_is_known() {
    let is_lacking = |machine: &Machine| matches!(machine.standing(), Standing::Degraded(_));
    let stopped = |attachment| Event::NotAttached(Attachment(attachment), Obstacle::VmStopped);
    let mut broken = whole();
    let _ = broken.handle(Event::Ended(Attachment(1), End::Broken("it hung".to_owned())), NOW);
    let due = broken.due().unwrap();
    let _ = broken.handle(Event::Tick, due);
    let _ = broken.handle(stopped(2), due);
    assert!(is_lacking(&broken), "it stopped after writes were missed");

    let mut copying = Machine::new(Wish::Replicate, None, NOW);
    let _ = copying.handle(Event::Tick, NOW);
    let _ = copying.handle(Event::Attached { attachment: Attachment(1), is_partial: false }, NOW);
    let _ = copying.handle(Event::Ended(Attachment(1), End::VmStopped), NOW);
    assert!(is_lacking(&copying), "it stopped before everything was copied");

    for doubt in [Event::TapLost, Event::VmChanged, Event::JournalEmpty] {
        let mut machine = whole();
        let _ = machine.handle(Event::Ended(Attachment(1), End::VmStopped), NOW);
        let _ = machine.handle(doubt.clone(), NOW);
        let _ = machine.handle(stopped(2), NOW);
        assert!(is_lacking(&machine), "{doubt:?}");
    }
}

#[test]
fn what_is_fenced_does_nothing_for_ever() {
    let mut machine = whole();
    assert_eq!(machine.handle(Event::Fenced("taken over".to_owned()), NOW), [Action::Detach(Attachment(1))]);
    for event in [Event::Want(Wish::Replicate), Event::VmChanged, Event::Room, Event::Tick] {
        assert_eq!(machine.handle(event, NOW * 2), []);
    }
    let late = Event::Attached { attachment: Attachment(1), is_partial: true };
    assert_eq!(machine.handle(late, NOW), [Action::Detach(Attachment(1))]);
    assert_eq!(machine.standing(), Standing::Fenced("taken over".to_owned()));
}

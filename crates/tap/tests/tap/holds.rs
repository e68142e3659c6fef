//! Acknowledgements held for the moment of a group.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use journal::{At, Checkpoint, CheckpointKind};
use tokio::time::timeout;

use crate::fixture::{LONG, MIB, Running, Target, add_whole, until, vm};

const LONG_HOLD: Duration = Duration::from_millis(tap::HOLD_MS_MAX);

#[tokio::test(flavor = "multi_thread")]
async fn no_write_is_acknowledged_while_acknowledgements_are_held() {
    let running = Running::start().await;
    let client = running.client();
    let disk = add_whole(client, vm(1), "root", MIB).await;
    let guest = Arc::new(running.connect(&disk).await.unwrap());
    guest.write(0, vec![1; 512]).await.unwrap();
    let held = client.hold(LONG_HOLD).await.unwrap();
    assert_eq!(client.hold(LONG_HOLD).await.map(drop).unwrap_err().kind(), tap::ErrorKind::Busy);
    let before = client.status().await.unwrap().usage.taken_through;
    let writing = tokio::spawn({
        let guest = Arc::clone(&guest);
        async move { guest.write(512, vec![2; 512]).await }
    });
    until("it is taken", || async { client.status().await.unwrap().usage.taken_through > before }).await;
    let moment = Checkpoint { kind: CheckpointKind::Group, vm: None, name: "all".to_owned() };
    client.checkpoint(moment).await.unwrap();
    let was_unanswered = !writing.is_finished();
    // A slow machine may have let the hold run out; then it must not say that it held.
    assert!(!client.let_go(held).await.unwrap() || was_unanswered);
    timeout(LONG, writing).await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_go_by_themselves_when_nobody_lets_them_go() {
    let running = Running::start().await;
    let client = running.client();
    let disk = add_whole(client, vm(1), "root", MIB).await;
    let guest = running.connect(&disk).await.unwrap();
    let held = client.hold(Duration::from_millis(20)).await.unwrap();
    // Its answer does not wait for anybody.
    timeout(LONG, guest.write(0, vec![1; 512])).await.unwrap().unwrap();
    until("the hold has run out", || async { client.hold(Duration::ZERO).await.is_ok() }).await;
    assert!(!client.let_go(held).await.unwrap(), "it did not hold until now");
    let endless = client.hold(Duration::MAX).await.unwrap();
    timeout(LONG, guest.write_zeroes(0, 512)).await.unwrap().unwrap();
    drop(endless);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_ends_with_who_held() {
    let running = Running::start().await;
    let client = running.client();
    drop(client.hold(LONG_HOLD).await.unwrap());
    let held = timeout(LONG, async {
        loop {
            match client.hold(LONG_HOLD).await {
                Ok(held) => return held,
                Err(error) => assert_eq!(error.kind(), tap::ErrorKind::Busy),
            }
        }
    });
    client.let_go(held.await.unwrap()).await.unwrap();
}

/// Two journals, and a program that writes to the second disk what the first has told it is done.
#[tokio::test(flavor = "multi_thread")]
async fn no_shared_moment_has_an_effect_without_its_cause() {
    let (cause, effect) = (Running::start().await, Running::start().await);
    let first = add_whole(cause.client(), vm(1), "root", MIB).await;
    let second = add_whole(effect.client(), vm(2), "root", MIB).await;
    let guests = (cause.connect(&first).await.unwrap(), effect.connect(&second).await.unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let program = tokio::spawn({
        let stop = Arc::clone(&stop);
        async move {
            for number in 1_u64.. {
                let block = number.to_le_bytes().repeat(64);
                guests.0.write(0, block.clone()).await.unwrap();
                guests.1.write(0, block).await.unwrap();
                if stop.load(Ordering::Relaxed) {
                    return (guests, number);
                }
            }
            unreachable!("it is stopped before");
        }
    });
    let mut moments = Vec::new();
    for number in 0..40 {
        let (one, other) = tokio::join!(cause.client().hold(LONG_HOLD), effect.client().hold(LONG_HOLD));
        let moment = Checkpoint { kind: CheckpointKind::Group, vm: None, name: number.to_string() };
        // The order of the marks must not matter.
        let late = cause.client().checkpoint(moment.clone());
        let marks = match number % 2 {
            0 => (late.await.unwrap(), effect.client().checkpoint(moment).await.unwrap()),
            _ => {
                let early = effect.client().checkpoint(moment).await.unwrap();
                (late.await.unwrap(), early)
            }
        };
        let held = (
            cause.client().let_go(one.unwrap()).await.unwrap(),
            effect.client().let_go(other.unwrap()).await.unwrap(),
        );
        if held == (true, true) {
            moments.push(marks);
        }
    }
    stop.store(true, Ordering::Relaxed);
    let (_guests, written) = timeout(LONG, program).await.unwrap().unwrap();
    assert!(!moments.is_empty() && written > 1);
    let mut targets = (Target::new(), Target::new());
    for (mark, other) in moments {
        targets.0.ship(cause.client(), mark).await;
        targets.1.ship(effect.client(), other).await;
        let shown = (
            targets.0.read(vm(1), first.number, At::Sequence(mark)).await,
            targets.1.read(vm(2), second.number, At::Sequence(other)).await,
        );
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes[..8].try_into().unwrap());
        let (cause, effect) = (number(&shown.0), number(&shown.1));
        assert!(effect <= cause && cause <= effect + 1, "{effect} was written after {cause}");
    }
}

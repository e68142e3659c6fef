//! Acknowledgements held for the moment of a group.

use std::{sync::Arc, time::Duration};

use journal::{Checkpoint, CheckpointKind};
use tokio::time::timeout;

use crate::fixture::{LONG, MIB, Running, add_whole, until, vm};

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

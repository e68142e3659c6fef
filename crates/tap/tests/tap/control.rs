//! The control socket: several clients, and those that are none.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use tap::{Client, ErrorKind};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use crate::fixture::{LONG, MIB, Running, add_whole, vm};

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_see_one_tap() {
    let running = Running::start().await;
    let other = Client::connect(&running.options.control_socket()).await.unwrap();
    assert_eq!(other.process_id(), std::process::id());
    let disk = add_whole(running.client(), vm(1), "root", MIB).await;
    let status = other.status().await.unwrap();
    assert_eq!((status.disks[0].number, status.disks[0].is_whole), (disk.number, true));
    // One waits for what the other brings about.
    let wanted = status.usage.taken_through.next();
    let waiting = tokio::spawn({
        let other = other.clone();
        async move { other.durable(wanted).await }
    });
    running.client().begin_epoch(vm(1)).await.unwrap();
    assert!(timeout(LONG, waiting).await.unwrap().unwrap().unwrap() >= wanted);
    let answers = (0..100).map(|_| {
        let client = other.clone();
        tokio::spawn(async move { client.status().await })
    });
    for answer in answers.collect::<Vec<_>>() {
        timeout(LONG, answer).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_speak_the_protocol_is_cut_off_and_disturbs_nobody() {
    let running = Running::start().await;
    let hello = br#"{"hello":{"protocol":1}}"#;
    let mut greeted = [hello.len() as u32, 0].map(u32::to_le_bytes).concat();
    greeted.extend(hello);
    let endless = [u32::MAX, u32::MAX].map(u32::to_le_bytes).concat();
    let no_json = [[4, 0].map(u32::to_le_bytes).concat(), b"rest".to_vec()].concat();
    for garbage in [
        vec![0xff; 64],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        [greeted.clone(), endless].concat(),
        [greeted.clone(), no_json].concat(),
        [greeted.clone(), greeted.clone(), vec![1; 3]].concat(),
    ] {
        let mut stream = UnixStream::connect(running.options.control_socket()).await.unwrap();
        stream.write_all(&garbage).await.unwrap();
        // What it says, if anything, has an end.
        stream.shutdown().await.unwrap();
        let mut said = Vec::new();
        // A reset is an end too.
        let _ = timeout(LONG, stream.read_to_end(&mut said)).await.expect("it is cut off");
    }
    assert!(running.client().status().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_of_the_protocol_is_told_so() {
    let running = Running::start().await;
    let mut stream = UnixStream::connect(running.options.control_socket()).await.unwrap();
    let hello = br#"{"hello":{"protocol":99}}"#;
    stream.write_all(&[hello.len() as u32, 0].map(u32::to_le_bytes).concat()).await.unwrap();
    stream.write_all(hello).await.unwrap();
    let mut said = Vec::new();
    timeout(LONG, stream.read_to_end(&mut said)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&said).contains("unsupported-version"));
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_its_owners_alone() {
    let running = Running::start().await;
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let options = &running.options;
    assert_eq!(mode(options.folder.clone()), 0o700);
    assert_eq!(mode(options.sockets.clone()), 0o700);
    assert_eq!(mode(options.journal_folder()), 0o700);
    assert_eq!(mode(options.control_socket()), 0o600);
    assert_eq!(mode(options.nbd_socket()), 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_that_was_shut_down_is_gone_and_its_journal_is_not() {
    let running = Running::start().await;
    let disk = add_whole(running.client(), vm(1), "root", MIB).await;
    let guest = running.connect(&disk).await.unwrap();
    guest.write(0, vec![1; 4096]).await.unwrap();
    let taken = running.client().status().await.unwrap().usage.taken_through;
    let second = tap::serve(running.options.clone()).await.map(drop).unwrap_err();
    assert_eq!(second.kind(), ErrorKind::AlreadyExists, "{second}");
    running.client().shut_down().await.unwrap();
    assert_eq!(guest.write(0, vec![2; 4096]).await.unwrap_err().kind(), image::ErrorKind::Gone);
    let Running { serving, options, folder } = running;
    let client = serving.client().clone();
    drop(serving);
    assert_eq!(client.status().await.unwrap_err().kind(), ErrorKind::Gone);
    let again = tap::serve(options.clone()).await.unwrap();
    let status = again.client().status().await.unwrap();
    assert!(status.usage.durable_through >= taken);
    assert!(!status.disks[0].is_whole && status.disks[0].accepts && status.disks[0].epoch.0 > taken);
    drop(again);
    let mut stranger = options;
    stranger.generation.0 += 1;
    let fenced = tap::serve(stranger.clone()).await.map(drop).unwrap_err();
    assert_eq!(fenced.kind(), ErrorKind::Fenced);
    stranger.sockets = folder.path().join("x".repeat(100));
    assert_eq!(tap::serve(stranger).await.map(drop).unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_waits_for_any_more_spoils_no_other() {
    let running = Running::start().await;
    let client = running.client();
    let far = journal::Sequence(1 << 40);
    assert!(timeout(Duration::from_millis(20), client.durable(far)).await.is_err());
    let start = client.start().await.unwrap();
    let end = client.position_after(client.status().await.unwrap().usage.durable_through).await.unwrap();
    assert!(timeout(Duration::from_millis(20), client.parts(end, 1, LONG)).await.is_err() || end != start);
    assert!(client.status().await.unwrap().disks.is_empty());
}

use std::{sync::Arc, time::Duration};

use image::{ByteRange, ErrorKind, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    task::JoinSet,
};

use super::{Client, Export, QUEUE_LENGTH, coverage::Coverage, cut, patience::Patience};
use crate::codec::{
    handshake::{
        BlockSizes, Greeting, HandshakeFlags, Info, MetaContext, OptionCode, OptionHeader, OptionReplyHeader,
        ReplyKind, TransmissionFlags,
    },
    transmission::{
        BlockDescriptor, BlockStatus, ChunkError, ChunkKind, Cookie, ErrorCode, Hole, ReplyHeader, Request,
    },
};

/// The context id that the server of these tests grants.
const CONTEXT_ID: u32 = 7;

fn greeting() -> Vec<u8> {
    let mut bytes = Vec::new();
    Greeting { flags: HandshakeFlags(3) }.encode(&mut bytes);
    bytes
}

fn reply(code: OptionCode, kind: ReplyKind, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    OptionReplyHeader { code, kind, length_bytes: payload.len() as u32 }.encode(&mut bytes);
    [bytes, payload.to_vec()].concat()
}

fn info(info: Info) -> Vec<u8> {
    let mut payload = Vec::new();
    info.encode(&mut payload);
    reply(OptionCode::GO, ReplyKind::INFO, &payload)
}

fn export(size_bytes: u64) -> Vec<u8> {
    info(Info::Export { size_bytes, flags: TransmissionFlags::HAS_FLAGS })
}

fn ack(code: OptionCode) -> Vec<u8> {
    reply(code, ReplyKind::ACK, &[])
}

fn grant(name: &[u8]) -> Vec<u8> {
    reply(OptionCode::SET_META_CONTEXT, ReplyKind::META_CONTEXT, &[&CONTEXT_ID.to_be_bytes(), name].concat())
}

/// All that a well-behaved server of a disk of 1 MiB says before the transmission.
fn good_negotiation() -> Vec<u8> {
    [structured(), export(1 << 20), ack(OptionCode::GO)].concat()
}

fn structured() -> Vec<u8> {
    let contexts = [grant(b"base:allocation"), ack(OptionCode::SET_META_CONTEXT)].concat();
    [greeting(), ack(OptionCode::STRUCTURED_REPLY), contexts].concat()
}

/// Connects to a server that says this and then ends, or goes on with what the test does on the stream.
async fn connect(negotiation: Vec<u8>) -> (Result<Client>, DuplexStream) {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    far.write_all(&negotiation).await.unwrap();
    let contexts = ["base:allocation".to_owned()];
    (Client::negotiate(near, "root", &contexts).await, far)
}

/// A client in transmission, and the server's end of the stream, right before the first request.
async fn connected(negotiation: Vec<u8>) -> (Client, DuplexStream) {
    let (client, mut far) = connect(negotiation).await;
    far.read_exact(&mut [0; 4]).await.unwrap();
    loop {
        let mut header = [0; OptionHeader::LENGTH_BYTES];
        far.read_exact(&mut header).await.unwrap();
        let header = OptionHeader::decode(&header).unwrap();
        far.read_exact(&mut vec![0; header.length_bytes as usize]).await.unwrap();
        if header.code == OptionCode::GO {
            return (client.unwrap(), far);
        }
    }
}

async fn receive(far: &mut DuplexStream) -> Request {
    let mut request = [0; Request::LENGTH_BYTES];
    far.read_exact(&mut request).await.unwrap();
    Request::decode(&request).unwrap()
}

/// Reads 8 KiB at 4 KiB from a server that answers so.
async fn read_answered(answer: impl Fn(Cookie) -> Vec<u8>) -> Result<Vec<u8>> {
    let (client, mut far) = connected(good_negotiation()).await;
    let (read, ()) = tokio::join!(client.read(4096, 8192), async {
        let request = receive(&mut far).await;
        far.write_all(&answer(request.cookie)).await.unwrap();
        drop(far);
    });
    read
}

fn chunk(cookie: Cookie, is_last: bool, kind: ChunkKind, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    ReplyHeader::Chunk { cookie, is_last, kind, length_bytes: payload.len() as u32 }.encode(&mut bytes);
    [bytes, payload.to_vec()].concat()
}

fn data(cookie: Cookie, is_last: bool, offset_bytes: u64, data: &[u8]) -> Vec<u8> {
    chunk(cookie, is_last, ChunkKind::OFFSET_DATA, &[&offset_bytes.to_be_bytes(), data].concat())
}

fn hole(cookie: Cookie, is_last: bool, offset_bytes: u64, length_bytes: u32) -> Vec<u8> {
    let mut payload = Vec::new();
    Hole { offset_bytes, length_bytes }.encode(&mut payload);
    chunk(cookie, is_last, ChunkKind::OFFSET_HOLE, &payload)
}

fn status(cookie: Cookie, context_id: u32, runs: &[(u32, u32)]) -> Vec<u8> {
    let descriptors =
        runs.iter().map(|&(length_bytes, flags)| BlockDescriptor { length_bytes, flags }).collect();
    let mut payload = Vec::new();
    BlockStatus { context_id, descriptors }.encode(&mut payload);
    chunk(cookie, true, ChunkKind::BLOCK_STATUS, &payload)
}

fn failure(cookie: Cookie, code: ErrorCode) -> Vec<u8> {
    let mut payload = Vec::new();
    ChunkError { code, message: "sorry".to_owned() }.encode(&mut payload);
    chunk(cookie, true, ChunkKind::ERROR, &payload)
}

fn simple(cookie: Cookie, error: ErrorCode) -> Vec<u8> {
    let mut bytes = Vec::new();
    ReplyHeader::Simple { cookie, error }.encode(&mut bytes);
    bytes
}

#[tokio::test]
async fn an_export_is_described_by_what_the_server_says() {
    let sizes = BlockSizes { minimum_bytes: 512, preferred_bytes: 4096, maximum_bytes: 1 << 20 };
    let facts =
        [export(1 << 30), info(Info::BlockSizes(sizes)), info(Info::Other(9)), ack(OptionCode::GO)].concat();
    let (client, _far) = connect([structured(), facts].concat()).await;
    let export = client.unwrap().export().clone();
    assert_eq!((export.size_bytes, export.block_sizes, export.structured), (1 << 30, sizes, true));
    assert_eq!(export.contexts, [MetaContext { id: CONTEXT_ID, name: "base:allocation".to_owned() }]);
}

#[tokio::test]
async fn a_server_without_structured_replies_will_do() {
    let refused = reply(OptionCode::STRUCTURED_REPLY, ReplyKind::UNSUPPORTED, b"what?");
    let (client, mut far) =
        connected([greeting(), refused, export(4096), ack(OptionCode::GO)].concat()).await;
    assert!(client.export().contexts.is_empty());
    let (read, ()) = tokio::join!(client.read(0, 512), async {
        let request = receive(&mut far).await;
        far.write_all(&[simple(request.cookie, ErrorCode::OK), vec![5; 512]].concat()).await.unwrap();
    });
    assert_eq!(read.unwrap(), vec![5; 512]);
}

#[tokio::test]
async fn a_server_that_breaks_the_negotiation_is_refused() {
    let go = |kind, payload: &[u8]| [structured(), reply(OptionCode::GO, kind, payload)].concat();
    let mut endless = [greeting(), ack(OptionCode::STRUCTURED_REPLY)].concat();
    (0..1100).for_each(|_| endless.extend(grant(&[b'x'; 4096])));
    let mut huge = greeting();
    let kind = ReplyKind::ACK;
    OptionReplyHeader { code: OptionCode::STRUCTURED_REPLY, kind, length_bytes: u32::MAX }.encode(&mut huge);
    let sizes = Info::BlockSizes(BlockSizes { minimum_bytes: 0, preferred_bytes: 0, maximum_bytes: 0 });
    let cases = [
        ("not NBD", b"HTTP/1.1 400 Bad R".to_vec(), ErrorKind::Protocol),
        ("oldstyle", b"NBDMAGIC\x00\x00\x42\x02\x81\x86\x12\x53\0\0".to_vec(), ErrorKind::Protocol),
        ("not fixed newstyle", b"NBDMAGICIHAVEOPT\0\0".to_vec(), ErrorKind::Protocol),
        ("cut short", b"NBDMAGIC".to_vec(), ErrorKind::Gone),
        ("a reply of 4 GiB", huge, ErrorKind::Protocol),
        ("a reply to another option", [greeting(), ack(OptionCode::GO)].concat(), ErrorKind::Protocol),
        ("a reply without magic", [greeting(), vec![0; 20]].concat(), ErrorKind::Protocol),
        ("contexts of 4 MiB", endless, ErrorKind::Protocol),
        ("no export", go(ReplyKind::UNKNOWN, b"no"), ErrorKind::Gone),
        ("shutdown", go(ReplyKind::SHUTDOWN, b""), ErrorKind::Gone),
        ("TLS", go(ReplyKind::TLS_REQUIRED, b"\xff"), ErrorKind::Protocol),
        ("no size", go(ReplyKind::ACK, b""), ErrorKind::Protocol),
        (
            "a size of 16 EiB",
            [structured(), export(u64::MAX), ack(OptionCode::GO)].concat(),
            ErrorKind::Protocol,
        ),
        (
            "block sizes of zero",
            [structured(), export(512), info(sizes), ack(OptionCode::GO)].concat(),
            ErrorKind::Protocol,
        ),
    ];
    for (what, negotiation, kind) in cases {
        let (near, mut far) = tokio::io::duplex(8 << 20);
        far.write_all(&negotiation).await.unwrap();
        far.shutdown().await.unwrap();
        let error = Client::negotiate(near, "root", &["base:allocation".to_owned()]).await.expect_err(what);
        assert_eq!(error.kind(), kind, "{what}: {error}");
    }
}

#[tokio::test]
async fn names_that_the_protocol_cannot_carry_are_refused() {
    let (near, _far) = tokio::io::duplex(64);
    assert_eq!(
        Client::negotiate(near, &"x".repeat(5000), &[]).await.unwrap_err().kind(),
        ErrorKind::Protocol
    );
}

#[tokio::test]
async fn a_read_is_put_together_from_chunks_in_any_order() {
    let read = read_answered(|cookie| {
        let last = chunk(cookie, true, ChunkKind::NONE, &[]);
        [
            data(cookie, false, 8192, &[2; 4096]),
            hole(cookie, false, 4096, 4000),
            data(cookie, false, 8096, &[1; 96]),
            last,
        ]
        .concat()
    });
    assert_eq!(read.await.unwrap(), [vec![0; 4000], vec![1; 96], vec![2; 4096]].concat());
}

#[tokio::test]
async fn replies_that_break_the_protocol_close_the_connection() {
    type Answer = fn(Cookie) -> Vec<u8>;
    let cases: [(&str, Answer, ErrorKind); 18] = [
        ("no magic", |_| vec![0; 20], ErrorKind::Protocol),
        ("another cookie", |cookie| hole(Cookie(cookie.0 + 1), true, 4096, 8192), ErrorKind::Protocol),
        ("too little", |cookie| data(cookie, true, 4096, &[1; 4096]), ErrorKind::Protocol),
        ("too much", |cookie| data(cookie, true, 4096, &[1; 8193]), ErrorKind::Protocol),
        ("too early", |cookie| data(cookie, true, 4095, &[1; 8192]), ErrorKind::Protocol),
        ("too late", |cookie| data(cookie, true, 4097, &[1; 8192]), ErrorKind::Protocol),
        ("at the end of the world", |cookie| hole(cookie, true, u64::MAX, u32::MAX), ErrorKind::Protocol),
        (
            "twice",
            |cookie| [hole(cookie, false, 4096, 8192), hole(cookie, true, 4096, 1)].concat(),
            ErrorKind::Protocol,
        ),
        (
            "as much as was asked for, but one half twice",
            |cookie| [data(cookie, false, 4096, &[1; 4096]), data(cookie, true, 4096, &[2; 4096])].concat(),
            ErrorKind::Protocol,
        ),
        (
            "overlapping",
            |cookie| [hole(cookie, false, 8192, 4096), data(cookie, true, 4096, &[1; 4097])].concat(),
            ErrorKind::Protocol,
        ),
        ("an empty hole", |cookie| hole(cookie, false, 4096, 0), ErrorKind::Protocol),
        ("no offset", |cookie| chunk(cookie, true, ChunkKind::OFFSET_DATA, &[0; 7]), ErrorKind::Protocol),
        ("a status", |cookie| status(cookie, CONTEXT_ID, &[(512, 0)]), ErrorKind::Protocol),
        ("an unknown chunk", |cookie| chunk(cookie, true, ChunkKind(99), &[]), ErrorKind::Protocol),
        (
            "a simple reply",
            |cookie| [simple(cookie, ErrorCode::OK), vec![0; 8192]].concat(),
            ErrorKind::Protocol,
        ),
        (
            "an error of 4 GiB",
            |cookie| {
                let mut bytes = Vec::new();
                let (kind, length_bytes) = (ChunkKind::ERROR, u32::MAX);
                ReplyHeader::Chunk { cookie, is_last: true, kind, length_bytes }.encode(&mut bytes);
                bytes
            },
            ErrorKind::Protocol,
        ),
        ("cut short", |cookie| data(cookie, true, 4096, &[1; 8192])[..5000].to_vec(), ErrorKind::Gone),
        ("nothing", |_| Vec::new(), ErrorKind::Gone),
    ];
    for (what, answer, kind) in cases {
        let error = read_answered(answer).await.expect_err(what);
        assert_eq!(error.kind(), kind, "{what}: {error}");
    }
}

#[tokio::test]
async fn reported_errors_fail_one_request_and_leave_the_connection() {
    let (client, mut far) = connected(good_negotiation()).await;
    let cases = [
        (ErrorCode::INVALID, ErrorKind::Gone),
        (ErrorCode::SHUTDOWN, ErrorKind::Gone),
        (ErrorCode::IO, ErrorKind::Io),
        (ErrorCode::NO_MEMORY, ErrorKind::Io),
        (ErrorCode::PERMISSION, ErrorKind::Protocol),
    ];
    for (code, kind) in cases {
        let (read, ()) = tokio::join!(client.read(0, 512), async {
            let request = receive(&mut far).await;
            far.write_all(&failure(request.cookie, code)).await.unwrap();
        });
        let error = read.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains("sorry"));
    }
    let (write, ()) = tokio::join!(client.write(0, vec![1; 512]), async {
        let request = receive(&mut far).await;
        far.read_exact(&mut [0; 512]).await.unwrap();
        far.write_all(&simple(request.cookie, ErrorCode::NO_SPACE)).await.unwrap();
    });
    assert_eq!(write.unwrap_err().kind(), ErrorKind::NoSpace);
}

#[tokio::test]
async fn a_status_is_taken_from_the_context_that_was_asked_for() {
    let (client, mut far) = connected(good_negotiation()).await;
    let (runs, ()) = tokio::join!(client.block_status(CONTEXT_ID, 0, 8192), async {
        let cookie = receive(&mut far).await.cookie;
        let mut other = Vec::new();
        let descriptors = vec![BlockDescriptor { length_bytes: 8192, flags: 9 }];
        BlockStatus { context_id: 1, descriptors }.encode(&mut other);
        far.write_all(&chunk(cookie, false, ChunkKind::BLOCK_STATUS, &other)).await.unwrap();
        far.write_all(&status(cookie, CONTEXT_ID, &[(4096, 3), (1 << 20, 0)])).await.unwrap();
    });
    let expected =
        [(4096, 3), (1 << 20, 0)].map(|(length_bytes, flags)| BlockDescriptor { length_bytes, flags });
    assert_eq!(runs.unwrap(), expected);

    let (runs, ()) = tokio::join!(client.block_status(CONTEXT_ID, 0, 8192), async {
        let cookie = receive(&mut far).await.cookie;
        far.write_all(&status(cookie, 1, &[(512, 0)])).await.unwrap();
    });
    assert_eq!(runs.unwrap_err().kind(), ErrorKind::Protocol, "no status in the context");
}

#[tokio::test]
async fn replies_find_their_requests_in_any_order() {
    let (client, mut far) = connected(good_negotiation()).await;
    let reads = async { tokio::join!(client.read(0, 512), client.read(512, 512), client.read(1024, 512)) };
    let ((first, second, third), ()) = tokio::join!(reads, async {
        let mut requests = Vec::new();
        for _ in 0..3 {
            requests.push(receive(&mut far).await);
        }
        for request in requests.into_iter().rev() {
            let number = (request.offset_bytes / 512) as u8;
            let reply = data(request.cookie, true, request.offset_bytes, &[number; 512]);
            far.write_all(&reply).await.unwrap();
        }
    });
    assert_eq!([first.unwrap(), second.unwrap(), third.unwrap()], [0, 1, 2].map(|number| vec![number; 512]));
}

#[tokio::test]
async fn a_reply_that_nobody_waits_for_does_no_harm() {
    let (client, mut far) = connected(good_negotiation()).await;
    let forgotten = tokio::select! {
        _ = client.read(0, 512) => panic!("nobody answered"),
        request = receive(&mut far) => request,
    };
    let (read, ()) = tokio::join!(client.read(512, 512), async {
        let request = receive(&mut far).await;
        far.write_all(&data(forgotten.cookie, true, 0, &[1; 512])).await.unwrap();
        far.write_all(&data(request.cookie, true, 512, &[2; 512])).await.unwrap();
    });
    assert_eq!(read.unwrap(), vec![2; 512]);
}

#[tokio::test]
async fn requests_after_the_end_fail_with_its_reason() {
    let (client, mut far) = connected(good_negotiation()).await;
    far.write_all(&[0; 4]).await.unwrap();
    assert_eq!(client.read(0, 512).await.unwrap_err().kind(), ErrorKind::Protocol);
    assert_eq!(client.flush().await.unwrap_err().kind(), ErrorKind::Protocol);
}

#[test]
fn parts_in_any_order_are_complete_when_nothing_is_missing() {
    let mut come = Coverage::default();
    for start in [3, 0, 4, 1] {
        come.add(start..start + 1).unwrap();
        assert!(!come.is_complete(5));
    }
    assert!(come.add(0..1).is_err() && come.add(1..3).is_err() && come.add(2..5).is_err());
    come.add(2..3).unwrap();
    assert!(come.is_complete(5) && !come.is_complete(6));
}

#[test]
fn parts_that_are_scattered_too_widely_are_refused() {
    let mut come = Coverage::default();
    let scattered = (0..1 << 20).map(|number| 2 * number..2 * number + 1);
    assert!(scattered.map(|part| come.add(part)).any(|added| added.is_err()));
}

/// A client whose server may be silent only for an instant, except while it flushes.
async fn connected_impatiently(stream_length: usize) -> (Client, DuplexStream) {
    let (near, mut far) = tokio::io::duplex(stream_length);
    let patience = Patience { request: Duration::from_millis(20), flush: Duration::from_secs(3600) };
    let contexts = ["base:allocation".to_owned()];
    let negotiating = Client::negotiate_patiently(near, "root", &contexts, patience);
    let (client, ()) = tokio::join!(negotiating, async {
        far.write_all(&good_negotiation()).await.unwrap();
        far.read_exact(&mut [0; 4]).await.unwrap();
        for _ in 0..3 {
            let mut header = [0; OptionHeader::LENGTH_BYTES];
            far.read_exact(&mut header).await.unwrap();
            let header = OptionHeader::decode(&header).unwrap();
            far.read_exact(&mut vec![0; header.length_bytes as usize]).await.unwrap();
        }
    });
    (client.unwrap(), far)
}

#[tokio::test]
async fn a_server_that_falls_silent_is_gone() {
    let (client, _far) = connected_impatiently(4096).await;
    let error = client.read(0, 512).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gone, "{error}");
    assert!(error.to_string().contains("said nothing"), "{error}");

    let (client, mut far) = connected_impatiently(4096).await;
    let (read, ()) = tokio::join!(client.read(0, 512), async {
        let request = receive(&mut far).await;
        far.write_all(&data(request.cookie, true, 0, &[1; 512])[..100]).await.unwrap();
    });
    assert_eq!(read.unwrap_err().kind(), ErrorKind::Gone, "it stopped in the middle of a reply");
}

#[tokio::test]
async fn a_server_that_takes_nothing_any_more_holds_nobody_up() {
    let (client, _far) = connected_impatiently(1024).await;
    let client = Arc::new(client);
    let mut writes = JoinSet::new();
    // More than the queue has places for.
    for _ in 0..2 * QUEUE_LENGTH {
        let client = Arc::clone(&client);
        writes.spawn(async move { client.write(0, vec![1; 4096]).await });
    }
    for write in writes.join_all().await {
        assert_eq!(write.unwrap_err().kind(), ErrorKind::Gone);
    }
}

#[tokio::test]
async fn a_server_may_be_silent_while_nothing_is_asked_and_while_it_flushes() {
    let (client, mut far) = connected_impatiently(4096).await;
    let longer = Duration::from_millis(100);
    assert!(tokio::time::timeout(longer, client.pending.closed()).await.is_err(), "nothing was asked");
    let (flush, ()) = tokio::join!(client.flush(), async {
        let request = receive(&mut far).await;
        assert!(tokio::time::timeout(longer, client.pending.closed()).await.is_err(), "it flushes");
        far.write_all(&simple(request.cookie, ErrorCode::OK)).await.unwrap();
    });
    flush.unwrap();
}

#[test]
fn ranges_are_rounded_to_blocks_and_cut_into_requests() {
    let block_sizes = BlockSizes { minimum_bytes: 4096, preferred_bytes: 4096, maximum_bytes: 10_000 };
    let (flags, contexts) = (TransmissionFlags::HAS_FLAGS, Vec::new());
    let export = Export { size_bytes: 40_960 + 512, flags, block_sizes, structured: true, contexts };
    let between = ByteRange::between;
    assert_eq!(export.align(between(5000, 5001)), between(4096, 8192));
    assert_eq!(export.align(between(0, 41_472)), between(0, 41_472), "the last block is cut short");
    assert_eq!(export.align_within(between(5000, 41_472)), between(8192, 41_472));
    assert!(export.align_within(between(5000, 8000)).is_empty());
    let pieces: Vec<ByteRange> = export.pieces(between(100, 20_000)).collect();
    assert_eq!(pieces, [between(100, 8192), between(8192, 16_384), between(16_384, 20_000)]);
    assert_eq!(cut(between(100, 100), 64).count(), 0);
}

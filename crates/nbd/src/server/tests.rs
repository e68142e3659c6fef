use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use image::{ByteRange, DiskTarget, Error, ErrorKind, FaultyImage, MemoryImage, MemoryTarget};
use proptest::{collection::vec, prelude::any, proptest};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::Notify,
    task::JoinHandle,
};

use super::{Exports, Offer, TargetPerClient};
use crate::{
    BASE_ALLOCATION, Client,
    codec::{
        handshake::{
            MetaContextRequest, OptionCode, OptionHeader, OptionReplyHeader, ReplyKind, TransmissionFlags,
        },
        transmission::{BlockStatus, Command, Cookie, ErrorCode, ReplyHeader, Request},
    },
};

const SIZE_BYTES: usize = 4 << 20;

/// A disk whose second half is zeros.
fn disk() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..SIZE_BYTES).map(|place| (place >> 9) as u8 | 1).collect();
    bytes[SIZE_BYTES / 2..].fill(0);
    bytes
}

fn exports() -> Exports {
    let exports = Exports::new();
    exports.add("root", Arc::new(MemoryImage::new(disk())));
    exports
}

/// A client's end of a connection to a server of these exports.
fn connection(exports: Exports) -> (DuplexStream, JoinHandle<()>) {
    let (near, far) = tokio::io::duplex(1 << 20);
    (near, tokio::spawn(async move { Offer { exports, tls: None }.serve(Box::new(far)).await }))
}

async fn client(exports: Exports, export: &str) -> image::Result<Client> {
    Client::negotiate(connection(exports).0, export, &[BASE_ALLOCATION.to_owned()]).await
}

#[tokio::test]
async fn an_error_of_the_image_is_the_answer_to_one_request() {
    let exports = Exports::new();
    let image = FaultyImage::after_reads(MemoryImage::new(disk()), 1, ErrorKind::Corrupt);
    exports.add("root", Arc::new(image));
    let client = client(exports, "root").await.unwrap();
    assert!(client.read(0, 4096).await.unwrap() == disk()[..4096]);
    let error = client.read(0, 4096).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("fault on purpose"), "{error}");
    assert_eq!(client.block_status(1, 0, 4096).await.unwrap().len(), 1, "the connection goes on");
}

#[tokio::test]
async fn an_export_cannot_be_written_nor_read_past_its_end() {
    let client = client(exports(), "root").await.unwrap();
    assert!(client.write(0, vec![1; 1 << 20]).await.unwrap_err().to_string().contains("read-only"));
    assert!(client.write_zeroes(0, 4096).await.is_err());
    assert!(client.read(SIZE_BYTES as u64 - 512, 1024).await.is_err());
    assert!(client.read(u64::MAX - 511, 512).await.is_err());
    assert!(client.read(0, 512).await.unwrap() == disk()[..512], "the data of the write was skipped");
}

#[tokio::test]
async fn the_empty_name_is_that_of_the_only_export() {
    let both = exports();
    assert!(client(both.clone(), "").await.is_ok());
    both.add("data", Arc::new(MemoryImage::new(vec![0; 512])));
    assert_eq!(client(both.clone(), "").await.unwrap_err().kind(), ErrorKind::Gone);
    assert_eq!(client(both.clone(), "data").await.unwrap().export().size_bytes, 512);
    both.remove("data");
    assert_eq!(client(both, "data").await.unwrap_err().kind(), ErrorKind::Gone);
}

#[tokio::test]
async fn a_client_that_takes_leave_gets_its_answers_first() {
    let (stream, server) = connection(exports());
    let client = Client::negotiate(stream, "root", &[]).await.unwrap();
    let (read, left) = tokio::join!(client.read(0, SIZE_BYTES as u32), client.disconnect());
    assert!(read.unwrap() == disk());
    left.unwrap();
    server.await.unwrap();
}

/// Says the greeting's answer and these options; then gives what the server says to them.
async fn negotiate(options: &[(OptionCode, &[u8])]) -> (Vec<(OptionReplyHeader, Vec<u8>)>, DuplexStream) {
    let (mut near, _) = connection(exports());
    near.read_exact(&mut [0; 18]).await.unwrap();
    near.write_all(&[0, 0, 0, 3]).await.unwrap();
    let mut replies: Vec<(OptionReplyHeader, Vec<u8>)> = Vec::new();
    for (code, payload) in options {
        let mut message = Vec::new();
        OptionHeader { code: *code, length_bytes: payload.len() as u32 }.encode(&mut message);
        near.write_all(&[&message, *payload].concat()).await.unwrap();
        loop {
            let mut header = [0; OptionReplyHeader::LENGTH_BYTES];
            near.read_exact(&mut header).await.unwrap();
            let header = OptionReplyHeader::decode(&header).unwrap();
            let mut payload = vec![0; header.length_bytes as usize];
            near.read_exact(&mut payload).await.unwrap();
            replies.push((header, payload));
            if header.kind == ReplyKind::ACK || header.kind.is_error() {
                break;
            }
        }
    }
    (replies, near)
}

#[tokio::test]
async fn contexts_hold_for_the_export_that_they_were_chosen_of() {
    let mut chosen = Vec::new();
    MetaContextRequest { export: String::new(), contexts: vec![BASE_ALLOCATION.into()] }.encode(&mut chosen);
    let go = b"\0\0\0\x04root\0\0";
    let options = [
        (OptionCode::SET_META_CONTEXT, &chosen[..]),
        (OptionCode::STRUCTURED_REPLY, &[]),
        (OptionCode::SET_META_CONTEXT, &chosen),
        (OptionCode::GO, go),
    ];
    let (replies, mut near) = negotiate(&options).await;
    assert_eq!(replies[0].0.kind, ReplyKind::INVALID, "there are none without structured replies");
    assert_eq!(replies[2].0.kind, ReplyKind::META_CONTEXT);

    let request = Request {
        flags: 0,
        command: Command::BLOCK_STATUS,
        cookie: Cookie(9),
        offset_bytes: 0,
        length_bytes: 4096,
    };
    near.write_all(&request.encode()).await.unwrap();
    let mut header = [0; ReplyHeader::LENGTH_MAX_BYTES];
    near.read_exact(&mut header).await.unwrap();
    let ReplyHeader::Chunk { kind, .. } = ReplyHeader::decode(&header).unwrap() else { panic!("a chunk") };
    assert!(kind.is_error(), "another name was asked for than was chosen");
}

#[tokio::test]
async fn a_client_of_the_old_way_reads_too() {
    let (mut near, _) = connection(exports());
    near.read_exact(&mut [0; 18]).await.unwrap();
    let mut message = vec![0, 0, 0, 1];
    OptionHeader { code: OptionCode::EXPORT_NAME, length_bytes: 4 }.encode(&mut message);
    message.extend_from_slice(b"root");
    near.write_all(&message).await.unwrap();
    let mut answer = [0xaa; 10 + 124];
    near.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer[..8], (SIZE_BYTES as u64).to_be_bytes());

    let request =
        Request { flags: 0, command: Command::READ, cookie: Cookie(5), offset_bytes: 512, length_bytes: 512 };
    near.write_all(&request.encode()).await.unwrap();
    let mut reply = [0; 16 + 512];
    near.read_exact(&mut reply).await.unwrap();
    let header = ReplyHeader::decode(&reply[..16]).unwrap();
    assert_eq!(header, ReplyHeader::Simple { cookie: Cookie(5), error: ErrorCode::OK });
    assert!(reply[16..] == disk()[512..1024]);
}

#[tokio::test]
async fn one_run_is_told_where_one_is_asked_for() {
    let (near, _) = connection(exports());
    let client = Client::negotiate(near, "root", &[BASE_ALLOCATION.to_owned()]).await.unwrap();
    let runs = client.block_status(1, 0, SIZE_BYTES as u32).await.unwrap();
    let half = ByteRange::new(0, SIZE_BYTES as u64 / 2);
    assert_eq!(runs.len(), 2);
    assert_eq!((u64::from(runs[0].length_bytes), runs[0].flags), (half.length_bytes, 0));
    assert_eq!(runs[1].flags, BlockStatus::FLAG_HOLE | BlockStatus::FLAG_ZERO);
}

/// A target, and a client of it.
async fn target() -> (Arc<MemoryTarget>, Client) {
    let target = Arc::new(MemoryTarget::new(SIZE_BYTES as u64));
    let exports = Exports::new();
    exports.add_target("root", Arc::clone(&target) as Arc<dyn DiskTarget>);
    let client = client(exports, "root").await.unwrap();
    (target, client)
}

/// What a target holds when its client is gone.
async fn written(target: Arc<MemoryTarget>, client: Client) -> Vec<u8> {
    client.disconnect().await.unwrap();
    drop(client);
    loop {
        tokio::task::yield_now().await;
        if Arc::strong_count(&target) == 1 {
            return Arc::into_inner(target).unwrap().into_bytes();
        }
    }
}

#[tokio::test]
async fn a_target_takes_writes_zeros_and_flushes() {
    let (target, client) = target().await;
    client.write(512, vec![7; 3 << 20]).await.unwrap();
    client.write_zeroes(1024, 1 << 20).await.unwrap();
    client.flush().await.unwrap();
    let bytes = written(target, client).await;
    assert!(bytes[..512].iter().all(|&byte| byte == 0) && bytes[512..1024].iter().all(|&byte| byte == 7));
    assert!(bytes[1024..1024 + (1 << 20)].iter().all(|&byte| byte == 0));
    assert!(bytes[1024 + (1 << 20)..512 + (3 << 20)].iter().all(|&byte| byte == 7));
}

#[tokio::test]
async fn what_a_target_refuses_is_skipped_and_the_connection_goes_on() {
    let (target, client) = target().await;
    assert!(client.export().flags.contains(TransmissionFlags::SEND_WRITE_ZEROES));
    assert!(!client.export().flags.contains(TransmissionFlags::READ_ONLY));
    assert!(client.read(0, 4096).await.is_err(), "it cannot be read");
    assert!(client.write(SIZE_BYTES as u64 - 512, vec![1; 1024]).await.is_err());
    assert!(client.write(u64::MAX - 511, vec![1; 512]).await.is_err());
    assert!(client.write_zeroes(SIZE_BYTES as u64, 512).await.is_err());
    client.write(0, vec![1; 512]).await.unwrap();
    let bytes = written(target, client).await;
    assert!(bytes[..512].iter().all(|&byte| byte == 1) && bytes[512..].iter().all(|&byte| byte == 0));
}

/// A target without room.
struct FullTarget;

#[async_trait]
impl DiskTarget for FullTarget {
    fn size_bytes(&self) -> u64 {
        SIZE_BYTES as u64
    }

    fn starts_zeroed(&self) -> bool {
        true
    }

    async fn write_at(&self, _: u64, _: &[u8]) -> image::Result<()> {
        Err(Error::new(ErrorKind::NoSpace, "there is no room"))
    }

    async fn write_zeroes(&self, _: ByteRange) -> image::Result<()> {
        Err(Error::new(ErrorKind::Io, "it failed"))
    }

    async fn flush(&self) -> image::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn an_error_of_a_target_is_the_answer_to_one_request() {
    let exports = Exports::new();
    exports.add_target("root", Arc::new(FullTarget));
    let client = client(exports, "root").await.unwrap();
    assert_eq!(client.write(0, vec![1; 512]).await.unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(client.write_zeroes(0, 512).await.unwrap_err().kind(), ErrorKind::Io);
    client.flush().await.unwrap();
}

#[tokio::test]
async fn a_write_that_does_not_come_whole_is_not_carried_out() {
    let target = Arc::new(MemoryTarget::new(SIZE_BYTES as u64));
    let exports = Exports::new();
    exports.add_target("root", Arc::clone(&target) as Arc<dyn DiskTarget>);
    let (mut near, server) = connection(exports);
    let request =
        Request { flags: 0, command: Command::WRITE, cookie: Cookie(1), offset_bytes: 0, length_bytes: 4096 };
    let said = [hello(), request.encode().to_vec(), vec![9; 4095]].concat();
    near.write_all(&said).await.unwrap();
    near.shutdown().await.unwrap();
    let mut heard = Vec::new();
    near.read_to_end(&mut heard).await.unwrap();
    server.await.unwrap();
    assert!(Arc::into_inner(target).unwrap().into_bytes().iter().all(|&byte| byte == 0));
}

/// Images and targets to which this is said, and then nothing more, end.
fn ends_after(bytes: &[u8]) {
    server_ends_after(exports(), bytes);
    let exports = Exports::new();
    exports.add_target("root", Arc::new(MemoryTarget::new(SIZE_BYTES as u64)));
    server_ends_after(exports, bytes);
}

fn server_ends_after(exports: Exports, bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (near, server) = connection(exports);
        let (mut reading, mut writing) = tokio::io::split(near);
        let said = async {
            // A server that has had enough stops listening.
            let _ = writing.write_all(bytes).await;
            let _ = writing.shutdown().await;
        };
        let mut nowhere = tokio::io::sink();
        let heard = tokio::io::copy(&mut reading, &mut nowhere);
        let ended =
            tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(said, heard, server) });
        ended.await.expect("it ends").2.expect("without a panic");
    });
}

/// What a client says up to the transmission.
fn hello() -> Vec<u8> {
    let mut message = vec![0, 0, 0, 3];
    OptionHeader { code: OptionCode::STRUCTURED_REPLY, length_bytes: 0 }.encode(&mut message);
    OptionHeader { code: OptionCode::GO, length_bytes: 10 }.encode(&mut message);
    message.extend_from_slice(b"\0\0\0\x04root\0\0");
    message
}

proptest! {
    #[test]
    fn no_bytes_upset_the_negotiation(options in vec((0..16_u32, vec(any::<u8>(), 0..64)), 0..8)) {
        let mut said = vec![0, 0, 0, 3];
        for (code, payload) in options {
            OptionHeader { code: OptionCode(code), length_bytes: payload.len() as u32 }.encode(&mut said);
            said.extend_from_slice(&payload);
        }
        ends_after(&said);
    }

    #[test]
    fn no_requests_upset_the_transmission(
        requests in vec((any::<u16>(), 0..9_u16, any::<u64>(), 0..SIZE_BYTES as u64 * 2, any::<u32>()), 0..16),
        rest in vec(any::<u8>(), 0..64),
    ) {
        let mut said = hello();
        for (flags, command, cookie, offset_bytes, length_bytes) in requests {
            let (command, cookie) = (Command(command), Cookie(cookie));
            said.extend(Request { flags, command, cookie, offset_bytes, length_bytes }.encode());
        }
        said.extend_from_slice(&rest);
        ends_after(&said);
    }

    #[test]
    fn no_bytes_upset_the_server(bytes in vec(any::<u8>(), 0..256)) {
        ends_after(&bytes);
    }
}

/// Counts the clients that have begun and those that have ended.
#[derive(Default)]
struct Counted {
    begun: AtomicUsize,
    ended: Arc<Notify>,
}

struct OneClient(MemoryTarget, Arc<Notify>);

impl Drop for OneClient {
    fn drop(&mut self) {
        self.1.notify_one();
    }
}

impl TargetPerClient for Counted {
    fn size_bytes(&self) -> u64 {
        SIZE_BYTES as u64
    }

    fn begin(&self) -> Arc<dyn DiskTarget> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        Arc::new(OneClient(MemoryTarget::new(SIZE_BYTES as u64), Arc::clone(&self.ended)))
    }
}

#[async_trait]
impl DiskTarget for OneClient {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn starts_zeroed(&self) -> bool {
        self.0.starts_zeroed()
    }

    async fn write_at(&self, offset_bytes: u64, data: &[u8]) -> image::Result<()> {
        self.0.write_at(offset_bytes, data).await
    }

    async fn write_zeroes(&self, range: ByteRange) -> image::Result<()> {
        self.0.write_zeroes(range).await
    }

    async fn flush(&self) -> image::Result<()> {
        self.0.flush().await
    }
}

#[tokio::test]
async fn a_target_that_knows_its_clients_is_told_when_one_has_ended() {
    let (exports, counted) = (Exports::new(), Arc::new(Counted::default()));
    exports.add_target_per_client("root", Arc::clone(&counted) as Arc<dyn TargetPerClient>);
    let (first, second) =
        (client(exports.clone(), "root").await.unwrap(), client(exports, "root").await.unwrap());
    first.write(0, vec![1; 4096]).await.unwrap();
    assert_eq!(counted.begun.load(Ordering::SeqCst), 2);
    let told = || tokio::time::timeout(Duration::from_secs(60), counted.ended.notified());
    // One takes leave, the other is lost.
    first.disconnect().await.unwrap();
    told().await.expect("it is told");
    drop(second);
    told().await.expect("it is told");
}

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};

use hypervisor::GuestProgram;

use super::{Agent, ErrorKind, base64};

const TIMEOUT: Duration = Duration::from_secs(30);

struct Guest {
    _dir: TempDir,
    path: PathBuf,
    listener: UnixListener,
}

impl Guest {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.sock");
        let listener = UnixListener::bind(&path).unwrap();
        Self { _dir: dir, path, listener }
    }

    /// Accepts a client and answers its synchronisation after the noise of an earlier one.
    async fn accept(&self, noise: &[u8]) -> Channel {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut channel = Channel { stream: BufReader::new(stream) };
        let order = channel.hear().await;
        assert_eq!(order["execute"], "guest-sync-delimited");
        channel.stream.write_all(noise).await.unwrap();
        let answer = json!({"return": order["arguments"]["id"]});
        channel.stream.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
        channel
    }
}

struct Channel {
    stream: BufReader<UnixStream>,
}

impl Channel {
    async fn hear(&mut self) -> Value {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).await.unwrap();
        let start = usize::from(line.first() == Some(&0xff));
        serde_json::from_slice(&line[start..]).unwrap()
    }

    async fn answer(&mut self, expected: &str, answer: Value) {
        assert_eq!(self.hear().await["execute"], expected);
        self.stream.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
    }
}

async fn connected(guest: &Guest, noise: &[u8]) -> (Agent, Channel) {
    let (agent, channel) = tokio::join!(Agent::connect(&guest.path, TIMEOUT), guest.accept(noise));
    (agent.unwrap(), channel)
}

#[tokio::test]
async fn late_answers_of_an_earlier_client_are_skipped() {
    let guest = Guest::new();
    let noise = b"{\"return\": 3}\n{\"error\": \xff{\"return\": 17}\ngarbage\xff";
    let (mut agent, mut channel) = connected(&guest, noise).await;
    let (version, ()) = tokio::join!(
        agent.version(TIMEOUT),
        channel.answer("guest-info", json!({"return": {"version": "7.2"}}))
    );
    assert_eq!(version.unwrap(), "7.2");
}

#[tokio::test]
async fn a_command_without_an_answer_ends_the_connection() {
    let guest = Guest::new();
    let (mut agent, mut channel) = connected(&guest, b"").await;
    let silent = agent.freeze(Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(silent.kind(), ErrorKind::Silent);
    channel.answer("guest-fsfreeze-freeze", json!({"return": 1})).await;
    let next = agent.thaw(TIMEOUT).await.unwrap_err();
    assert_eq!(next.kind(), ErrorKind::Silent, "the late answer to the freeze is not taken for the thaw's");
}

#[tokio::test]
async fn nobody_inside_the_guest_and_no_channel_are_told_apart() {
    let guest = Guest::new();
    let silent = Agent::connect(&guest.path, Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(silent.kind(), ErrorKind::Silent);
    let absent = Agent::connect(Path::new("/nonexistent/agent.sock"), TIMEOUT).await.unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::NoChannel);
}

#[tokio::test]
async fn a_line_without_an_end_is_refused() {
    let guest = Guest::new();
    let flood = async {
        let (mut stream, _) = guest.listener.accept().await.unwrap();
        let block = vec![b'x'; 1 << 20];
        while stream.write_all(&block).await.is_ok() {}
    };
    let (connected, ()) = tokio::join!(Agent::connect(&guest.path, TIMEOUT), flood);
    assert_eq!(connected.unwrap_err().kind(), ErrorKind::Protocol);
}

#[tokio::test]
async fn a_program_runs_to_its_end_and_its_output_comes_back() {
    let guest = Guest::new();
    let (mut agent, mut channel) = connected(&guest, b"").await;
    let program = GuestProgram {
        command: ["/bin/sh", "-c", "cat; exit 3"].map(str::to_owned).to_vec(),
        environment: vec![("PLAN".to_owned(), "the shop".to_owned())],
        input: "hello\n".to_owned(),
    };
    let serve = async {
        channel.answer("guest-get-osinfo", json!({"return": {"id": "debian"}})).await;
        let order = channel.hear().await;
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let expected = json!({"path": "/bin/sh", "arg": ["-c", "cat; exit 3"], "capture-output": true,
            "env": ["PLAN=the shop", path], "input-data": "aGVsbG8K"});
        assert_eq!((&order["execute"], &order["arguments"]), (&json!("guest-exec"), &expected));
        channel.stream.write_all(b"{\"return\": {\"pid\": 7}}\n").await.unwrap();
        channel.answer("guest-exec-status", json!({"return": {"exited": false}})).await;
        let ended = json!({"exited": true, "exitcode": 3, "out-data": "aGVsbG8K"});
        channel.answer("guest-exec-status", json!({ "return": ended })).await;
    };
    let (output, ()) = tokio::join!(agent.exec(&program, TIMEOUT), serve);
    let output = output.unwrap();
    assert_eq!(
        (output.exit_code, output.stdout.as_slice(), output.stderr.len()),
        (Some(3), &b"hello\n"[..], 0)
    );
}

#[tokio::test]
async fn a_file_is_read_and_closed() {
    let guest = Guest::new();
    let (mut agent, mut channel) = connected(&guest, b"").await;
    let serve = async {
        channel.answer("guest-file-open", json!({"return": 1000})).await;
        channel
            .answer("guest-file-read", json!({"return": {"count": 1, "buf-b64": "YQ==", "eof": true}}))
            .await;
        channel.answer("guest-file-close", json!({"return": {}})).await;
    };
    let (bytes, ()) = tokio::join!(agent.read_file("/run/x", 4096, TIMEOUT), serve);
    assert_eq!(bytes.unwrap(), b"a");
}

#[tokio::test]
async fn a_guest_that_shuts_down_without_an_answer_has_obeyed() {
    let guest = Guest::new();
    let (mut agent, mut channel) = connected(&guest, b"").await;
    let serve = async {
        assert_eq!(channel.hear().await["execute"], "guest-shutdown");
        drop(channel);
    };
    let (done, ()) = tokio::join!(agent.shutdown(TIMEOUT), serve);
    done.unwrap();
}

#[test]
fn base64_follows_the_examples_of_its_rfc() {
    let examples = [
        ("", ""),
        ("Zg==", "f"),
        ("Zm8=", "fo"),
        ("Zm9v", "foo"),
        ("Zm9vYg==", "foob"),
        ("Zm9vYmFy", "foobar"),
    ];
    for (encoded, decoded) in examples {
        assert_eq!(base64::decode(encoded).unwrap(), decoded.as_bytes());
        assert_eq!(base64::encode(decoded.as_bytes()), encoded);
    }
    for bad in ["Z", "Zg", "Zg=", "====", "Zm9v!A==", "Zg==Zg=="] {
        assert_eq!(base64::decode(bad), None, "{bad}");
    }
}

proptest! {
    #[test]
    fn base64_takes_any_text_without_panic(text: String) {
        let _ = base64::decode(&text);
    }

    #[test]
    fn base64_comes_back_as_it_was(bytes: Vec<u8>) {
        assert_eq!(base64::decode(&base64::encode(&bytes)), Some(bytes));
    }
}

#[tokio::test]
async fn answers_that_are_no_objects_are_errors() {
    for answer in [json!([]), json!(1), json!("x"), json!(null)] {
        let guest = Guest::new();
        let (mut agent, mut channel) = connected(&guest, format!("{answer}\n").as_bytes()).await;
        let (said, ()) = tokio::join!(agent.freeze(TIMEOUT), channel.answer("guest-fsfreeze-freeze", answer));
        assert_eq!(said.unwrap_err().kind(), ErrorKind::Protocol);
    }
}

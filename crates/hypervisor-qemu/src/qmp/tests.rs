use std::{path::PathBuf, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};

use super::{Capabilities, ErrorKind, Qmp};

const TIMEOUT: Duration = Duration::from_secs(30);

/// A monitor that says what a test has it say.
struct Peer {
    _dir: TempDir,
    path: PathBuf,
    listener: UnixListener,
}

impl Peer {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp.sock");
        let listener = UnixListener::bind(&path).unwrap();
        Self { _dir: dir, path, listener }
    }

    /// Accepts one client and greets it.
    async fn accept(&self) -> Session {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut session = Session { stream: BufReader::new(stream) };
        let version = json!({"qemu": {"major": 11, "minor": 0, "micro": 1, "new-field": []}, "package": ""});
        session.say(&json!({"QMP": {"version": version, "capabilities": ["oob", "telepathy"]}})).await;
        let order = session.hear().await;
        assert_eq!(order["execute"], "qmp_capabilities");
        assert_eq!(order["arguments"]["enable"], json!(["oob"]));
        session.say(&json!({"return": {}, "id": order["id"]})).await;
        session
    }
}

struct Session {
    stream: BufReader<UnixStream>,
}

impl Session {
    async fn say(&mut self, message: &Value) {
        self.stream.write_all(format!("{message}\r\n").as_bytes()).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

#[tokio::test]
async fn answers_find_their_commands_in_any_order_and_between_unknown_messages() {
    let peer = Peer::new();
    let (qmp, mut session) = tokio::join!(Qmp::connect(&peer.path), peer.accept());
    let qmp = qmp.unwrap();
    assert_eq!(qmp.version().to_string(), "11.0.1");
    let mut events = qmp.events();

    let serve = async {
        let (first, second) = (session.hear().await, session.hear().await);
        session.say(&json!({"event": "SOMETHING_NEW", "data": {"x": 1}, "timestamp": {}})).await;
        session.say(&json!({"neither": "event nor answer"})).await;
        session.say(&json!({"return": 12, "id": 999_999})).await;
        session.say(&json!({"return": second["arguments"]["n"], "id": second["id"]})).await;
        session.say(&json!({"return": first["arguments"]["n"], "id": first["id"]})).await;
    };
    let (one, two, ()) = tokio::join!(
        qmp.execute("echo", json!({"n": 1}), TIMEOUT),
        qmp.execute("echo", json!({"n": 2}), TIMEOUT),
        serve
    );
    assert_eq!((one.unwrap(), two.unwrap()), (json!(1), json!(2)));
    let event = events.recv().await.unwrap();
    assert_eq!((event.name.as_str(), &event.data["x"]), ("SOMETHING_NEW", &json!(1)));
}

#[tokio::test]
async fn a_refusal_carries_the_monitors_words() {
    let peer = Peer::new();
    let (qmp, mut session) = tokio::join!(Qmp::connect(&peer.path), peer.accept());
    let serve = async {
        let order = session.hear().await;
        let error = json!({"class": "GenericError", "desc": "Node 'x' is busy"});
        session.say(&json!({"error": error, "id": order["id"]})).await;
    };
    let qmp = qmp.unwrap();
    let (answer, ()) = tokio::join!(qmp.execute("blockdev-del", json!({}), TIMEOUT), serve);
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.to_string(), "blockdev-del: Node 'x' is busy");
}

#[tokio::test]
async fn a_command_out_of_band_is_marked_as_such() {
    let peer = Peer::new();
    let (qmp, mut session) = tokio::join!(Qmp::connect(&peer.path), peer.accept());
    let serve = async {
        let order = session.hear().await;
        assert_eq!(order["exec-oob"], "yank");
        session.say(&json!({"return": {}, "id": order["id"]})).await;
    };
    let qmp = qmp.unwrap();
    let (answer, ()) =
        tokio::join!(qmp.execute_out_of_band("yank", json!({"instances": []}), TIMEOUT), serve);
    answer.unwrap();
}

#[tokio::test]
async fn a_lost_connection_fails_what_waits_and_what_comes() {
    let peer = Peer::new();
    let (qmp, session) = tokio::join!(Qmp::connect(&peer.path), peer.accept());
    let qmp = qmp.unwrap();
    let (waiting, ()) = tokio::join!(qmp.execute("query-status", json!({}), TIMEOUT), async {
        drop(session);
    });
    assert_eq!(waiting.unwrap_err().kind(), ErrorKind::Closed);
    qmp.closed().await;
    let late = qmp.execute("query-status", json!({}), TIMEOUT).await;
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn silence_is_bounded_and_the_connection_stays_usable() {
    let peer = Peer::new();
    let (qmp, mut session) = tokio::join!(Qmp::connect(&peer.path), peer.accept());
    let qmp = qmp.unwrap();
    let silent = qmp.execute("hang", json!({}), Duration::from_millis(20)).await;
    assert_eq!(silent.unwrap_err().kind(), ErrorKind::Silent);
    let serve = async {
        let hung = session.hear().await;
        let next = session.hear().await;
        session.say(&json!({"return": "late", "id": hung["id"]})).await;
        session.say(&json!({"return": "next", "id": next["id"]})).await;
    };
    let (answer, ()) = tokio::join!(qmp.execute("next", json!({}), TIMEOUT), serve);
    assert_eq!(answer.unwrap(), "next");
}

#[tokio::test]
async fn a_peer_that_is_no_monitor_is_told_apart_from_one_that_is_not_there() {
    let peer = Peer::new();
    let greet = async {
        let (mut stream, _) = peer.listener.accept().await.unwrap();
        stream.write_all(b"220 mail.example.org ESMTP\n").await.unwrap();
    };
    let (connected, ()) = tokio::join!(Qmp::connect(&peer.path), greet);
    assert_eq!(connected.unwrap_err().kind(), ErrorKind::Protocol);
    let absent = Qmp::connect(&peer.path.with_extension("none")).await;
    assert_eq!(absent.unwrap_err().kind(), ErrorKind::Absent);
}

#[test]
fn a_schema_without_anything_means_no_capabilities() {
    assert_eq!(Capabilities::from_schema(&json!([])), Capabilities::default());
    assert_eq!(Capabilities::from_schema(&json!({"not": "a schema"})), Capabilities::default());
}

#[test]
fn a_filter_without_its_safety_options_does_not_count() {
    let filter = |members: Value| {
        json!([
            {"name": "blockdev-add", "arg-type": "1"},
            {"name": "1", "variants": [{"case": "copy-before-write", "type": "2"}]},
            {"name": "2", "members": members},
        ])
    };
    let old = filter(json!([{"name": "target"}, {"name": "on-cbw-error"}]));
    assert!(!Capabilities::from_schema(&old).breaking_filter);
    let new = filter(json!([{"name": "target"}, {"name": "on-cbw-error"}, {"name": "cbw-timeout"}]));
    assert!(Capabilities::from_schema(&new).breaking_filter);
}

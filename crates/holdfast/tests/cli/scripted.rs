//! A site whose answers are scripted, on a real unix socket.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::{Arc, Mutex},
};

use api::{JobView, Problem};
use serde::Serialize;
use tempfile::TempDir;

/// A request that the program sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Method and path: `GET /v1/vms`.
    pub line: String,
    pub body: String,
}

/// What the site answers.
pub enum Answer {
    Json(u16, String),
    /// Server-sent events, after which the connection closes.
    Events(Vec<JobView>),
    /// Server-sent events, after which nothing more comes until the program goes away.
    EventsThenSilence(Vec<JobView>),
    /// Bytes of an answer that has no end: the connection breaks off behind them.
    Half(Vec<u8>),
    /// The same, and nothing more comes until the program goes away.
    HalfThenSilence(Vec<u8>),
    /// The server dies: the connection and the socket go away.
    Death,
}

impl Answer {
    pub fn ok(body: &impl Serialize) -> Self {
        Self::Json(200, serde_json::to_string(body).unwrap())
    }

    pub fn problem(problem: &Problem) -> Self {
        Self::Json(problem.status, serde_json::to_string(problem).unwrap())
    }
}

/// The site.
pub struct ScriptedSite {
    directory: TempDir,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl ScriptedSite {
    /// A site that answers each request line as the script says.
    pub fn new(script: impl Fn(&str) -> Answer + Send + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = api::socket_path(directory.path());
        std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let listener = UnixListener::bind(&socket).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let request = receive(&stream);
                let answer = script(&request.line);
                seen.lock().unwrap().push(request);
                if matches!(answer, Answer::Death) {
                    std::fs::remove_file(&socket).unwrap();
                    return;
                }
                // A program that was killed in the middle is part of some tests.
                send(&mut stream, answer).ok();
            }
        });
        Self { directory, requests }
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The body of the only request with this line, as JSON.
    pub fn body(&self, line: &str) -> serde_json::Value {
        let requests = self.requests();
        let request = requests.iter().find(|request| request.line == line);
        serde_json::from_str(&request.unwrap_or_else(|| panic!("no {line} in {requests:?}")).body).unwrap()
    }
}

fn receive(stream: &UnixStream) -> Request {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let mut body_length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        if header.trim().is_empty() {
            break;
        }
        if let Some(length) = header.to_lowercase().strip_prefix("content-length:") {
            body_length = length.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; body_length];
    reader.read_exact(&mut body).unwrap();
    let line = first.trim().strip_suffix(" HTTP/1.1").unwrap().to_owned();
    Request { line, body: String::from_utf8(body).unwrap() }
}

fn send(stream: &mut UnixStream, answer: Answer) -> std::io::Result<()> {
    let (events, is_silent_then) = match answer {
        Answer::Json(status, body) => {
            let length = body.len();
            return write!(
                stream,
                "HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
        }
        Answer::Events(events) => (events, false),
        Answer::EventsThenSilence(events) => (events, true),
        Answer::Half(bytes) => return send_half(stream, &bytes),
        Answer::HalfThenSilence(bytes) => {
            send_half(stream, &bytes)?;
            return stream.read_to_end(&mut Vec::new()).map(drop);
        }
        Answer::Death => return Ok(()),
    };
    write!(stream, "HTTP/1.1 200 x\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n")?;
    for event in events {
        write!(stream, "data: {}\n\n", serde_json::to_string(&event).unwrap())?;
    }
    if is_silent_then {
        // Returns when the program has closed its end.
        stream.read_to_end(&mut Vec::new())?;
    }
    Ok(())
}

/// A chunk of an answer that would go on.
fn send_half(stream: &mut UnixStream, bytes: &[u8]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n")?;
    write!(stream, "{:x}\r\n", bytes.len())?;
    stream.write_all(bytes)?;
    write!(stream, "\r\n")
}

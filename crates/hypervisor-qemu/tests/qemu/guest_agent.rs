//! A guest agent of the test's own: says what it is told to say, and keeps what it was asked.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use serde_json::{Value, json};

/// How the guest behaves.
#[derive(Default)]
pub struct Behaviour {
    /// Whether the freeze hook proves that it has quiesced the applications.
    pub hook: bool,
    /// Whether a freeze hangs until [`GuestAgent::let_go`].
    pub hangs_in_freeze: bool,
    /// Whether somebody else thaws the guest before Holdfast does.
    pub thawed_by_others: bool,
    /// Whether it refuses to thaw until [`GuestAgent::let_go`].
    pub refuses_thaw: bool,
    /// Whether it says nothing at all.
    pub silent: bool,
    /// Whether it calls itself Windows.
    pub windows: bool,
}

#[derive(Default)]
struct State {
    behaviour: Behaviour,
    frozen: bool,
    freezes: u32,
    thaws: u32,
    let_go: bool,
}

/// The agent, which serves for as long as the test runs.
#[derive(Clone)]
pub struct GuestAgent {
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl GuestAgent {
    /// Listens as QEMU would for the guest.
    pub fn listen(path: &Path, behaviour: Behaviour) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let state = State { behaviour, ..State::default() };
        let agent = Self { shared: Arc::new((Mutex::new(state), Condvar::new())) };
        let server = agent.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                server.serve(stream);
            }
        });
        agent
    }

    fn serve(&self, mut stream: UnixStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            let start = line.iter().rposition(|&byte| byte == 0xff).map_or(0, |place| place + 1);
            let order: Value = serde_json::from_slice(&line[start..]).unwrap();
            line.clear();
            let delimited = order["execute"] == "guest-sync-delimited";
            if self.shared.0.lock().unwrap().behaviour.silent {
                continue;
            }
            let answer = self.answer(order["execute"].as_str().unwrap(), &order["arguments"]);
            let mut bytes = if delimited { vec![0xff] } else { Vec::new() };
            bytes.extend(answer.to_string().bytes());
            bytes.push(b'\n');
            if stream.write_all(&bytes).is_err() {
                return;
            }
        }
    }

    fn answer(&self, command: &str, arguments: &Value) -> Value {
        let (state, changed) = &*self.shared;
        let mut state = state.lock().unwrap();
        let answer = match command {
            "guest-sync-delimited" => arguments["id"].clone(),
            "guest-info" => json!({"version": "8.0-test"}),
            "guest-get-osinfo" => json!({"id": if state.behaviour.windows { "mswindows" } else { "debian" }}),
            "guest-fsfreeze-status" => json!(if state.frozen { "frozen" } else { "thawed" }),
            "guest-fsfreeze-freeze" => {
                state.frozen = true;
                state.freezes += 1;
                changed.notify_all();
                while state.behaviour.hangs_in_freeze && !state.let_go {
                    state = changed.wait(state).unwrap();
                }
                json!(2)
            }
            "guest-fsfreeze-thaw" if state.behaviour.refuses_thaw && !state.let_go => {
                return json!({"error": {"class": "GenericError", "desc": "not now"}});
            }
            "guest-fsfreeze-thaw" => {
                let thawed = if state.behaviour.thawed_by_others { 0 } else { 2 };
                state.frozen = false;
                state.thaws += 1;
                changed.notify_all();
                json!(thawed)
            }
            "guest-file-open" if state.behaviour.hook && state.freezes > 0 => json!(1000),
            "guest-file-read" => json!({"count": 3, "eof": true, "buf-b64": "YWJj"}),
            "guest-file-close" => json!({}),
            _ => return json!({"error": {"class": "GenericError", "desc": format!("{command} failed")}}),
        };
        json!({ "return": answer })
    }

    /// Lets a freeze that hangs, or a thaw that is refused, go on.
    pub fn let_go(&self) {
        self.shared.0.lock().unwrap().let_go = true;
        self.shared.1.notify_all();
    }

    /// Waits until the guest has been thawed so many times.
    pub fn wait_for_thaws(&self, count: u32) {
        self.wait_until(|state| state.thaws >= count, "thaw");
    }

    fn wait_until(&self, reached: impl Fn(&State) -> bool, what: &str) {
        let (state, changed) = &*self.shared;
        let guard = state.lock().unwrap();
        let waited =
            changed.wait_timeout_while(guard, Duration::from_secs(60), |state| !reached(state)).unwrap();
        assert!(!waited.1.timed_out(), "nobody orders to {what}");
    }

    pub fn is_frozen(&self) -> bool {
        self.shared.0.lock().unwrap().frozen
    }

    pub fn freezes(&self) -> u32 {
        self.shared.0.lock().unwrap().freezes
    }
}

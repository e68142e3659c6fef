//! An agent that does on this host what `qemu-ga` does in a guest, in files and programs.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::{Command, Output},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

/// What the agent's administrator allows.
#[derive(Default, Clone, Copy)]
pub struct Rules {
    pub forbids_programs: bool,
    pub forbids_files: bool,
}

#[derive(Default)]
struct State {
    files: BTreeMap<u64, File>,
    programs: BTreeMap<u64, Output>,
    next: u64,
}

/// The agent, which serves for as long as the test runs.
#[derive(Clone)]
pub struct HostAgent {
    rules: Rules,
    state: Arc<Mutex<State>>,
}

impl HostAgent {
    pub fn listen(path: &Path, rules: Rules) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let agent = Self { rules, state: Arc::default() };
        let server = agent.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                server.serve(stream);
            }
        });
        agent
    }

    pub fn open_files(&self) -> usize {
        self.state.lock().unwrap().files.len()
    }

    fn serve(&self, mut stream: UnixStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            let start = line.iter().rposition(|&byte| byte == 0xff).map_or(0, |place| place + 1);
            let order: Value = serde_json::from_slice(&line[start..]).unwrap();
            line.clear();
            let command = order["execute"].as_str().unwrap();
            let answer = match self.answer(command, &order["arguments"]) {
                Ok(value) => json!({ "return": value }),
                Err(why) => json!({"error": {"class": "GenericError", "desc": why}}),
            };
            let mut bytes = if command == "guest-sync-delimited" { vec![0xff] } else { Vec::new() };
            bytes.extend(answer.to_string().bytes());
            bytes.push(b'\n');
            if stream.write_all(&bytes).is_err() {
                return;
            }
        }
    }

    fn answer(&self, command: &str, arguments: &Value) -> Result<Value, String> {
        if command.starts_with("guest-file") && self.rules.forbids_files
            || command.starts_with("guest-exec") && self.rules.forbids_programs
        {
            return Err(format!("Command {command} has been disabled"));
        }
        let mut state = self.state.lock().unwrap();
        match command {
            "guest-sync-delimited" => Ok(arguments["id"].clone()),
            "guest-get-osinfo" => Ok(json!({"id": "debian"})),
            "guest-info" => Ok(json!({"version": "8.0-test", "supported_commands": self.commands()})),
            "guest-exec" => {
                let words = arguments["arg"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
                let program = arguments["path"].as_str().unwrap();
                let output = Command::new(program).args(words).env_clear().output().unwrap();
                Ok(json!({"pid": state.keep(|state, pid| state.programs.insert(pid, output))}))
            }
            "guest-exec-status" => {
                let output = state.programs.remove(&arguments["pid"].as_u64().unwrap()).unwrap();
                let (out, err) = (base64(&output.stdout), base64(&output.stderr));
                Ok(
                    json!({"exited": true, "exitcode": output.status.code(), "out-data": out, "err-data": err}),
                )
            }
            "guest-file-open" => {
                let path = arguments["path"].as_str().unwrap();
                let opened = match arguments["mode"].as_str().unwrap() {
                    "r" => File::open(path),
                    _ => File::create(path),
                };
                let told = |error| format!("failed to open file '{path}': {}", words(&error));
                let file = opened.map_err(told)?;
                Ok(json!(state.keep(|state, handle| state.files.insert(handle, file))))
            }
            _ => {
                let handle = arguments["handle"].as_u64().unwrap();
                let file = state.files.get_mut(&handle).ok_or("handle not found")?;
                match command {
                    "guest-file-write" => {
                        let bytes = unbase64(arguments["buf-b64"].as_str().unwrap());
                        // Short of what was asked, as an agent may.
                        let count = bytes.len().min(100_000);
                        file.write_all(&bytes[..count]).map_err(|error| words(&error))?;
                        Ok(json!({"count": count, "eof": false}))
                    }
                    "guest-file-seek" => {
                        let offset = arguments["offset"].as_u64().unwrap();
                        file.seek(SeekFrom::Start(offset)).unwrap();
                        Ok(json!({"position": offset, "eof": false}))
                    }
                    "guest-file-flush" => Ok(json!({})),
                    "guest-file-close" => {
                        state.files.remove(&handle);
                        Ok(json!({}))
                    }
                    _ => Err(format!("The command {command} has not been found")),
                }
            }
        }
    }

    fn commands(&self) -> Vec<Value> {
        let files = ["open", "write", "seek", "flush", "close"].map(|verb| format!("guest-file-{verb}"));
        let files = files.into_iter().map(|name| json!({"name": name, "enabled": !self.rules.forbids_files}));
        let programs = ["guest-exec", "guest-exec-status"];
        let programs =
            programs.into_iter().map(|name| json!({"name": name, "enabled": !self.rules.forbids_programs}));
        files.chain(programs).collect()
    }
}

impl State {
    fn keep<T>(&mut self, keep: impl FnOnce(&mut Self, u64) -> T) -> u64 {
        self.next += 1;
        keep(self, self.next);
        self.next
    }
}

/// An error in the system's own words, without its number.
fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let group = |group: &[u8]| {
        let bits = (0..3).fold(0_u32, |bits, place| bits << 8 | u32::from(*group.get(place).unwrap_or(&0)));
        let letter = |place: usize| char::from(ALPHABET[(bits >> (18 - 6 * place)) as usize & 63]);
        (0..4).map(|place| if place <= group.len() { letter(place) } else { '=' }).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

fn unbase64(text: &str) -> Vec<u8> {
    let value = |letter: u8| ALPHABET.iter().position(|&other| other == letter).unwrap_or(0) as u32;
    let padding = text.bytes().rev().take_while(|&byte| byte == b'=').count();
    let mut bytes: Vec<u8> = Vec::new();
    for group in text.as_bytes().chunks(4) {
        let bits = group.iter().fold(0_u32, |bits, &letter| bits << 6 | value(letter));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..]);
    }
    bytes.truncate(bytes.len() - padding);
    bytes
}

//! What the process does: a parent that watches, and a worker that works.

mod watchdog;
mod work;

use std::{
    ffi::OsString,
    io::{self, BufRead, Read},
    process::ExitCode,
    time::Duration,
};

use env::Env;

use crate::{Client, Result, TapOptions, worker::Worker};

/// Makes the process a worker; its parent's number follows.
const WORKER: &str = "--worker";

/// The longest line that processes of a tap say to one another.
pub(crate) const LINE_LIMIT_BYTES: u64 = 64 << 10;

/// How long a guest waits for an answer at most before the worker is killed.
pub(crate) const STALL_LIMIT: Duration = Duration::from_secs(2);

/// How long a worker may take to take its journal up.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(60);

/// What a beat counts in.
const AGE_UNIT: Duration = Duration::from_millis(10);

/// Runs a tap: the body of the program's hidden subcommand. The options come on standard input, a line of JSON; standard output
/// says in a line what became of the start. The program starts itself again, with the same arguments and more.
#[must_use]
pub fn run(arguments: &[OsString]) -> ExitCode {
    let mut line = String::new();
    let read = io::stdin().lock().take(LINE_LIMIT_BYTES).read_line(&mut line);
    let options = read.and_then(|_| serde_json::from_str::<TapOptions>(&line).map_err(io::Error::from));
    let options = match options {
        Ok(options) => options,
        Err(error) => {
            eprintln!("this is started by Holdfast itself: {error}");
            return ExitCode::from(2);
        }
    };
    let parent = arguments.iter().skip_while(|argument| *argument != WORKER).nth(1);
    match parent {
        Some(parent) => work::run(options, parent),
        None => watchdog::run(&line),
    }
}

/// A tap within this process, for tests of others: no watchdog, no process of its own. It ends when this is dropped.
pub struct Serving {
    client: Client,
    _worker: Worker,
}

impl Serving {
    /// Its client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }
}

/// Runs a tap within this process.
///
/// # Errors
/// As [`crate::launch`].
pub async fn serve(options: TapOptions) -> Result<Serving> {
    let control_socket = options.control_socket();
    let worker = Worker::start(options, Env::system()).await?;
    let client = Client::connect(&control_socket).await?;
    Ok(Serving { client, _worker: worker })
}

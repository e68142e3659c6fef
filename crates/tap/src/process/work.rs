//! The worker: a tap, and a thread that tells its parent how the guests are.

use std::{
    ffi::OsStr,
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
    thread,
};

use env::Env;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};

use super::AGE_UNIT;
use crate::{
    Error, Result, TapOptions, launch::Started, pulse::BEAT, tap::Tap, wire::Failure, worker::Worker,
};

/// Threads that take writes.
const THREADS: usize = 2;

/// Threads that read the journal for the target.
const BLOCKING_THREADS_MAX: usize = 4;

pub(super) fn run(options: TapOptions, parent: &OsStr) -> ExitCode {
    if let Err(error) = end_with(parent) {
        return failed(&Error::from_io("following the parent", error));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&Error::from_io("starting", error)),
    };
    let worked = runtime.block_on(work(options));
    runtime.shutdown_background(); // a read of the journal may be under way
    match worked {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

async fn work(options: TapOptions) -> Result<()> {
    let failed = |error| Error::from_io("waiting for signals", error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let worker = Worker::start(options, Env::system()).await?;
    let beating = Arc::clone(&worker.tap);
    let told = say(&Started::Ready).and_then(|()| {
        thread::Builder::new().name("beats".to_owned()).spawn(move || beat(&beating)).map(drop)
    });
    told.map_err(|error| Error::from_io("telling the parent", error))?;
    tracing::info!("the tap takes writes");
    let mut ended = worker.tap.ended.subscribe();
    let mut ending = worker.tap.ending.subscribe();
    tokio::select! {
        _ = terminate.recv() => worker.tap.end().await?,
        _ = interrupt.recv() => worker.tap.end().await?,
        _ = ending.wait_for(|ending| *ending) => {
            // The sender lives as long as the tap.
            let _ = ended.wait_for(Option::is_some).await;
        }
    }
    tracing::info!("the tap ends");
    Ok(())
}

/// Tells the parent how long the guest has waited that has waited longest.
fn beat(tap: &Tap) {
    loop {
        let age = tap.pulse.age().as_millis() / AGE_UNIT.as_millis();
        let beat = u8::try_from(age).unwrap_or(u8::MAX);
        let mut output = io::stdout().lock();
        if output.write_all(&[beat]).and_then(|()| output.flush()).is_err() {
            // Without a watchdog a guest could wait for ever.
            std::process::exit(1);
        }
        drop(output);
        thread::sleep(BEAT);
    }
}

/// Lets this process end with its parent.
fn end_with(parent: &OsStr) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died before that.
    let now = getppid().map(|parent| parent.as_raw_nonzero().get().to_string());
    match now.is_some_and(|now| *parent == *now) {
        true => Ok(()),
        false => Err(io::Error::other("the parent has died")),
    }
}

fn failed(error: &Error) -> ExitCode {
    tracing::error!(%error, "the tap has ended");
    // A parent that is gone needs no answer.
    let _ = say(&Started::Failed(Failure::from(error)));
    ExitCode::FAILURE
}

fn say(started: &Started) -> io::Result<()> {
    let mut line = serde_json::to_vec(started)?;
    line.push(b'\n');
    let mut output = io::stdout().lock();
    output.write_all(&line)?;
    output.flush()
}

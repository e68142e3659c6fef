//! The inside of a running guest, through its guest agent.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::{
    json_lines::{ANSWER_LIMIT, JsonLines},
    workload::{Latency, WorkloadState},
};

/// A guest agent's socket. Connects for each call, so that the agent is free for others in between.
#[derive(Debug, Clone)]
pub struct GuestAgent {
    socket: PathBuf,
}

impl GuestAgent {
    /// The agent behind a unix socket.
    #[must_use]
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sends one command of the agent's protocol and returns its result.
    ///
    /// # Errors
    /// When the agent does not answer within two minutes, or with an error.
    pub async fn call(&self, command: &str, arguments: Value) -> Result<Value> {
        self.connect().await?.call(command, &arguments).await
    }

    /// Runs a program in the guest and returns its standard output.
    ///
    /// # Errors
    /// As [`GuestAgent::call`], and when the program does not end within two minutes, or ends with anything but success.
    pub async fn exec(&self, command: &[&str]) -> Result<String> {
        timeout(ANSWER_LIMIT, self.exec_to_its_end(command))
            .await
            .with_context(|| format!("{command:?} in the guest does not end"))?
    }

    async fn exec_to_its_end(&self, command: &[&str]) -> Result<String> {
        let (program, arguments) = command.split_first().context("a command has a program")?;
        let process = json!({ "path": program, "arg": arguments, "capture-output": true });
        let mut channel = self.connect().await?;
        let started = channel.call("guest-exec", &process).await?;
        loop {
            let status = channel.call("guest-exec-status", &started).await?;
            if status["exited"] == json!(true) {
                let output = |name: &str| status[name].as_str().map_or_else(String::new, decode_base64);
                let complaint = output("err-data");
                ensure!(status["exitcode"] == json!(0), "{command:?} in the guest: {status} {complaint}");
                return Ok(output("out-data"));
            }
            // The protocol has no event for the end of a process.
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Controls the workload; `guest/workload` lists the commands.
    ///
    /// # Errors
    /// As [`GuestAgent::exec`].
    pub async fn workload(&self, command: &[&str]) -> Result<String> {
        self.exec(&[&["/usr/local/bin/workload"], command].concat()).await
    }

    /// What the guest found on its disks when it booted, before its workload went on.
    ///
    /// # Errors
    /// As [`GuestAgent::exec`].
    pub async fn state_at_boot(&self) -> Result<WorkloadState> {
        WorkloadState::parse(&self.exec(&["/usr/local/bin/verify", "boot"]).await?)
    }

    /// What is on the guest's disks now; the workload rests while it is looked at.
    ///
    /// # Errors
    /// As [`GuestAgent::exec`].
    pub async fn state_now(&self) -> Result<WorkloadState> {
        WorkloadState::parse(&self.exec(&["/usr/local/bin/verify", "now"]).await?)
    }

    /// What durable appends have cost since the workload started, or since the last `workload latency reset`.
    ///
    /// # Errors
    /// As [`GuestAgent::exec`].
    pub async fn latency(&self) -> Result<Latency> {
        Latency::parse(&self.workload(&["latency"]).await?)
    }

    /// Connects, and throws away what the agent still had to say to somebody else.
    async fn connect(&self) -> Result<JsonLines> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let id = u64::from(std::process::id()) << 20 | NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let mut channel = JsonLines::connect(&self.socket).await?;
        channel.send(&json!({ "execute": "guest-sync-delimited", "arguments": { "id": id } })).await?;
        while let Some(answer) = channel.next().await? {
            if answer["return"] == json!(id) {
                return Ok(channel);
            }
        }
        bail!("the guest agent at {} closed the connection", self.socket.display())
    }
}

fn decode_base64(text: &str) -> String {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Vec<u32> = text.bytes().filter_map(digit).map(u32::from).collect();
    let bytes: Vec<u8> = digits
        .chunks(4)
        .flat_map(|group| {
            let bits =
                group.iter().enumerate().fold(0, |bits, (place, digit)| bits | digit << (18 - 6 * place));
            bits.to_be_bytes().into_iter().skip(1).take(group.len() - 1)
        })
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

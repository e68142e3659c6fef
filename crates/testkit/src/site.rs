//! A running site: a real server in a data directory of its own, driven through the real command line.

mod leftovers;
#[cfg(test)]
mod tests;

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use api::VmView;
use model::VmDefinition;
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    sync::watch,
    time::timeout,
};

use crate::{agent::GuestAgent, binary, guest::GuestDisks, transcript, workload::WorkloadState};

/// What the server may take to start or to stop on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the server logs once it takes requests.
const READY: &str = "listening";

/// A site. When it is dropped, its server dies, the VMs that it started die, and its directory is removed.
#[derive(Debug)]
pub struct Site {
    directory: TempDir,
    binary: PathBuf,
    /// Environment variables of the server, beside those of this process.
    variables: Vec<(String, String)>,
    server: Option<Server>,
}

#[derive(Debug)]
struct Server {
    process: Child,
    log: watch::Receiver<String>,
}

impl Site {
    /// Starts a site in a new directory.
    ///
    /// # Errors
    /// When the binary cannot be built or the server does not start; with what it said.
    pub async fn start() -> Result<Self> {
        Self::start_with(&binary::holdfast()?).await
    }

    /// Starts a site of another binary in a new directory.
    ///
    /// # Errors
    /// When the server does not start; with what it said.
    pub async fn start_with(binary: &Path) -> Result<Self> {
        Self::start_with_environment(binary, Vec::new()).await
    }

    /// Starts a site in a new directory whose server has these environment variables, such as credentials of a store.
    ///
    /// # Errors
    /// As [`Site::start`].
    pub async fn start_with_variables(variables: &[(&str, &str)]) -> Result<Self> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self::start_with_environment(&binary::holdfast()?, variables.collect()).await
    }

    /// Starts a site of another binary whose server has these environment variables.
    ///
    /// # Errors
    /// As [`Site::start_with`].
    pub async fn start_with_environment(binary: &Path, variables: Vec<(String, String)>) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("holdfast-").tempdir()?;
        let mut site = Self { directory, binary: binary.to_owned(), variables, server: None };
        site.start_server().await?;
        Ok(site)
    }

    /// A directory for whatever belongs to this site, removed with it.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The server's data directory.
    #[must_use]
    pub fn data_directory(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Starts the server, which must not be running, and waits until it takes requests.
    ///
    /// # Errors
    /// When it ends, or is not ready within a minute; with what it said.
    pub async fn start_server(&mut self) -> Result<()> {
        ensure!(self.server.is_none(), "the server runs already");
        // The server must not outlive a test that is killed, and dropping values does not help then.
        let mut process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(&self.binary)
            .args(["serve", "--data-dir"])
            .arg(self.data_directory())
            .env_remove("HOLDFAST_DATA_DIR")
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting the server")?;
        let mut log = transcript::follow(process.stderr.take().context("the server has no standard error")?);
        let ready =
            timeout(PATIENCE, log.wait_for(|log| log.contains(READY))).await.is_ok_and(|ready| ready.is_ok());
        if !ready {
            bail!("the server did not start: {}", log.borrow().clone());
        }
        self.server = Some(Server { process, log });
        Ok(())
    }

    /// Ends the server at once, as `kill -9` does. The VMs that it started run on.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill_server(&mut self) -> Result<()> {
        match self.server.take() {
            Some(mut server) => server.process.kill().await.context("killing the server"),
            None => Ok(()),
        }
    }

    /// Ends everything that runs here at once, as a power cut does: the server, VMs, guards and taps.
    ///
    /// # Errors
    /// When the server cannot be killed.
    pub async fn cut_power(&mut self) -> Result<()> {
        let killed = self.kill_server().await;
        leftovers::kill_all_that_name(self.directory.path());
        killed
    }

    /// Asks the server to stop, as a service manager does, and waits until it has.
    ///
    /// # Errors
    /// When it has not within a minute.
    pub async fn stop_server(&mut self) -> Result<()> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        if let Some(process) = server.process.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            kill_process(process, Signal::TERM).context("asking the server to stop")?;
        }
        timeout(PATIENCE, server.process.wait()).await.context("waiting for the server to stop")??;
        Ok(())
    }

    /// The running server's process id.
    #[must_use]
    pub fn server_process_id(&self) -> Option<u32> {
        self.server.as_ref().and_then(|server| server.process.id())
    }

    /// What the running server has logged so far.
    #[must_use]
    pub fn server_log(&self) -> String {
        self.server.as_ref().map(|server| server.log.borrow().clone()).unwrap_or_default()
    }

    /// A command of the command line, ready to be run. It dies with the value that stands for it.
    ///
    /// # Errors
    /// When the binary cannot be built.
    pub fn command(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Command> {
        let mut command = Command::new(&self.binary);
        command
            .arg("--data-dir")
            .arg(self.data_directory())
            .args(arguments)
            .env_remove("HOLDFAST_DATA_DIR")
            .env_remove("HOLDFAST_OUTPUT")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Ok(command)
    }

    /// Runs a command to its end, whatever that is.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn output(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Output> {
        self.command(arguments)?.output().await.context("running holdfast")
    }

    /// Runs a command that must succeed, and returns what it wrote to its standard output.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub async fn run(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String> {
        let mut command = self.command(arguments)?;
        let output = command.output().await.context("running holdfast")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{:?} ended with {}: {complaint}", command.as_std(), output.status);
        String::from_utf8(output.stdout).with_context(|| format!("reading what {:?} says", command.as_std()))
    }

    /// Runs a command that must succeed, and reads the JSON that it answers: [`serde_json::Value`], or a type of `api`.
    ///
    /// # Errors
    /// As [`Site::run`], and when its answer is of another shape.
    pub async fn json<T: DeserializeOwned>(
        &self,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<T> {
        let json = ["--output", "json"].map(OsString::from);
        let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned());
        let answer = self.run(json.into_iter().chain(arguments)).await?;
        serde_json::from_str(&answer).with_context(|| format!("reading the answer {answer}"))
    }

    /// Runs a command that must fail, and returns its exit code and what it said on standard error.
    ///
    /// # Errors
    /// When it succeeds, cannot be started, or is ended by a signal.
    pub async fn failure(
        &self,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<(i32, String)> {
        let mut command = self.command(arguments)?;
        let output = command.output().await.context("running holdfast")?;
        ensure!(!output.status.success(), "{:?} succeeded, which it must not", command.as_std());
        let code = output.status.code().with_context(|| format!("{:?} was killed", command.as_std()))?;
        Ok((code, String::from_utf8_lossy(&output.stderr).into_owned()))
    }

    /// Makes a VM known by a definition file, as a user would.
    ///
    /// # Errors
    /// As [`Site::run`].
    pub async fn add_vm(&self, definition: &VmDefinition) -> Result<VmView> {
        let file = tempfile::Builder::new().suffix(".toml").tempfile_in(self.directory())?;
        fs::write(file.path(), toml::to_string(definition)?)?;
        let file = file.path().to_str().context("the path of the definition file is not UTF-8")?;
        self.json(["vm", "add", "--definition", file]).await
    }

    /// Makes a VM of a guest's disks known and starts it. Returns what its guest finds once it has booted.
    ///
    /// # Errors
    /// As [`Site::run`], when the guest does not boot, and when what it finds is damaged.
    pub async fn boot(&self, vm: &str, disks: &GuestDisks) -> Result<WorkloadState> {
        self.add_vm(&disks.definition(vm.parse()?)).await?;
        self.run(["vm", "start", vm]).await?;
        self.guest(vm).await?.state_at_boot().await?.sound()
    }

    /// The guest agent of a VM that this site has started.
    ///
    /// # Errors
    /// When there is no such VM.
    pub async fn guest(&self, vm: &str) -> Result<GuestAgent> {
        let view: VmView = self.json(["vm", "show", vm]).await?;
        Ok(GuestAgent::at(self.data_directory().join("run").join(view.id.as_str()).join("agent.sock")))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server = None;
        leftovers::kill_all_that_name(self.directory.path());
    }
}

//! A client of the API over a unix socket.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, Response, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use model::JobId;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use crate::{
    AddVm, AttachVault, BackupRequest, CheckView, CreateVault, CreatedVault, JobView, Problem,
    ProtectRequest, RestoreDiskRequest, RestoreFilesRequest, RestoreVmRequest, ScheduleSnapshots, SiteView,
    StopVm, VaultView, VerifyRequest, VmView,
};

mod disks;
mod drills;
mod files;
mod groups;
mod images;
mod lines;
mod peers;
mod plans;
mod points;
mod policies;
mod replicas;
mod replications;
mod runbooks;
mod snapshots;
mod stream;
mod upkeep;

pub use images::{ImageQuery, ShownOverNbd};
pub use lines::Lines;
pub use snapshots::SnapshotQuery;
pub use stream::ByteStream;

/// The largest answer that the client takes, in bytes.
const ANSWER_LIMIT_BYTES: usize = 64 << 20;

/// A client of one site.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

/// Why a call failed.
#[derive(Debug)]
pub enum ClientError {
    /// The server answered with a problem.
    Problem(Box<Problem>),
    /// No server listens on the socket.
    NoServer {
        /// The socket.
        socket: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The server went away, or does not speak this API.
    Broken(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problem(problem) => problem.fmt(formatter),
            Self::NoServer { socket, source } => {
                write!(formatter, "no server answers at {}: {source}", socket.display())
            }
            Self::Broken(detail) => write!(formatter, "the server's answer broke off: {detail}"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoServer { source, .. } => Some(source),
            Self::Problem(_) | Self::Broken(_) => None,
        }
    }
}

type Result<T> = std::result::Result<T, ClientError>;

fn broken(error: impl fmt::Display) -> ClientError {
    ClientError::Broken(error.to_string())
}

impl Client {
    /// A client of the site that listens on this socket. Connects with each call.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// The site itself.
    pub async fn site(&self) -> Result<SiteView> {
        self.get("/v1/site").await
    }

    /// Checks the host.
    pub async fn doctor(&self) -> Result<Vec<CheckView>> {
        self.get("/v1/doctor").await
    }

    /// All VMs, by name.
    pub async fn vms(&self) -> Result<Vec<VmView>> {
        self.get("/v1/vms").await
    }

    /// One VM, by name or id.
    pub async fn vm(&self, vm: &str) -> Result<VmView> {
        self.get(&format!("/v1/vms/{}", segment(vm))).await
    }

    /// Makes a VM known.
    pub async fn add_vm(&self, request: &AddVm) -> Result<VmView> {
        self.post("/v1/vms", request).await
    }

    /// Forgets a VM. Its disks and its recovery points stay.
    pub async fn remove_vm(&self, vm: &str) -> Result<()> {
        self.call(Method::DELETE, &format!("/v1/vms/{}", segment(vm)), Bytes::new()).await
    }

    /// Starts a managed VM.
    pub async fn start_vm(&self, vm: &str) -> Result<VmView> {
        self.post(&format!("/v1/vms/{}/start", segment(vm)), &()).await
    }

    /// Stops a VM.
    pub async fn stop_vm(&self, vm: &str, request: StopVm) -> Result<VmView> {
        self.post(&format!("/v1/vms/{}/stop", segment(vm)), &request).await
    }

    /// Protects a VM, or changes how it is protected.
    pub async fn protect(&self, vm: &str, request: &ProtectRequest) -> Result<VmView> {
        self.send(Method::PUT, &format!("/v1/vms/{}/protection", segment(vm)), request).await
    }

    /// Ends a VM's protection. Its recovery points stay.
    pub async fn unprotect(&self, vm: &str) -> Result<VmView> {
        self.call(Method::DELETE, &format!("/v1/vms/{}/protection", segment(vm)), Bytes::new()).await
    }

    /// Makes a VM's snapshots follow a policy.
    pub async fn schedule_snapshots(&self, vm: &str, request: &ScheduleSnapshots) -> Result<VmView> {
        self.send(Method::PUT, &format!("/v1/vms/{}/snapshot-policy", segment(vm)), request).await
    }

    /// Makes a VM's snapshots follow no policy. Those that there are stay.
    pub async fn unschedule_snapshots(&self, vm: &str) -> Result<VmView> {
        self.call(Method::DELETE, &format!("/v1/vms/{}/snapshot-policy", segment(vm)), Bytes::new()).await
    }

    /// Starts a backup.
    pub async fn backup(&self, vm: &str, request: &BackupRequest) -> Result<JobView> {
        self.post(&format!("/v1/vms/{}/backups", segment(vm)), request).await
    }

    /// All vaults, by name.
    pub async fn vaults(&self) -> Result<Vec<VaultView>> {
        self.get("/v1/vaults").await
    }

    /// One vault, by name or id.
    pub async fn vault(&self, vault: &str) -> Result<VaultView> {
        self.get(&format!("/v1/vaults/{}", segment(vault))).await
    }

    /// Creates a vault.
    pub async fn create_vault(&self, request: &CreateVault) -> Result<CreatedVault> {
        self.post("/v1/vaults", request).await
    }

    /// Makes an existing vault known.
    pub async fn attach_vault(&self, request: &AttachVault) -> Result<VaultView> {
        self.post("/v1/vaults/attach", request).await
    }

    /// Starts the verification of a vault.
    pub async fn verify_vault(&self, vault: &str, request: &VerifyRequest) -> Result<JobView> {
        self.post(&format!("/v1/vaults/{}/verify", segment(vault)), request).await
    }

    /// Starts the restore of a VM.
    pub async fn restore_vm(&self, request: &RestoreVmRequest) -> Result<JobView> {
        self.post("/v1/restores/vm", request).await
    }

    /// Starts to put files of an image into a running guest.
    pub async fn restore_files(&self, request: &RestoreFilesRequest) -> Result<JobView> {
        self.post("/v1/restores/files", request).await
    }

    /// Starts the restore of a disk.
    pub async fn restore_disk(&self, request: &RestoreDiskRequest) -> Result<JobView> {
        self.post("/v1/restores/disk", request).await
    }

    /// The newest jobs, newest first, at most `limit`.
    pub async fn jobs(&self, limit: u32) -> Result<Vec<JobView>> {
        self.get(&format!("/v1/jobs?limit={limit}")).await
    }

    /// One job, by id, a unique start of one, or `latest`.
    pub async fn job(&self, job: &str) -> Result<JobView> {
        self.get(&format!("/v1/jobs/{}", segment(job))).await
    }

    /// Asks a job to stop. It ends a moment later; watch it to see how.
    pub async fn cancel_job(&self, job: &str) -> Result<JobView> {
        self.post(&format!("/v1/jobs/{}/cancel", segment(job)), &()).await
    }

    /// Follows a job: its state now, then each change, until it has ended.
    pub async fn job_events(&self, job: JobId) -> Result<JobEvents> {
        let response = self.request(Method::GET, &format!("/v1/jobs/{job}/events"), Bytes::new()).await?;
        Ok(JobEvents { response, buffer: Vec::new() })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.send(Method::POST, path, body).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        self.call(method, path, serde_json::to_vec(body).map_err(broken)?.into()).await
    }

    async fn call<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T> {
        let answer = collect(self.request(method, path, body).await?).await?;
        // An empty answer is the unit type's JSON.
        serde_json::from_slice(if answer.is_empty() { b"null" } else { &answer }).map_err(broken)
    }

    /// Sends a request and takes the answer's head; an answer of 400 and above becomes the problem in it.
    async fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| ClientError::NoServer { socket: self.socket.clone(), source })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, "localhost")
            .header(hyper::header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(broken)?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let answer = collect(response).await?;
        match serde_json::from_slice(&answer) {
            Ok(problem) => Err(ClientError::Problem(Box::new(problem))),
            Err(_) => Err(ClientError::Broken(format!("{status}: {}", String::from_utf8_lossy(&answer)))),
        }
    }
}

async fn collect(response: Response<Incoming>) -> Result<Bytes> {
    let limited = Limited::new(response.into_body(), ANSWER_LIMIT_BYTES);
    limited.collect().await.map(http_body_util::Collected::to_bytes).map_err(broken)
}

/// A path segment or query value: everything but RFC 3986's unreserved characters is percent-encoded.
fn segment(text: &str) -> String {
    encoded(text.as_bytes())
}

/// The same of bytes that need not be text.
fn encoded(bytes: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    bytes
        .iter()
        .map(|&byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The events of one job, as server-sent events (HTML Living Standard, §9.2).
pub struct JobEvents {
    response: Response<Incoming>,
    buffer: Vec<u8>,
}

impl JobEvents {
    /// The next state of the job; none once the server has sent the last.
    pub async fn next(&mut self) -> Result<Option<JobView>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = self.buffer.drain(..end + 2).collect();
                let text = String::from_utf8_lossy(&event);
                let data: String = text.lines().filter_map(|line| line.strip_prefix("data:")).collect();
                if data.is_empty() {
                    continue;
                }
                return serde_json::from_str(&data).map(Some).map_err(broken);
            }
            match self.response.body_mut().frame().await {
                None => return Ok(None),
                Some(frame) => {
                    let frame = frame.map_err(broken)?;
                    self.buffer.extend_from_slice(frame.data_ref().map_or(&[][..], Bytes::as_ref));
                }
            }
            if self.buffer.len() > ANSWER_LIMIT_BYTES {
                return Err(ClientError::Broken("an event is too long".to_owned()));
            }
        }
    }
}

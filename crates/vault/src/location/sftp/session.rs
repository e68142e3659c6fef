//! One connection to a server: requests of the protocol, several on their way at once.

use std::{
    collections::BTreeSet,
    fmt,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use russh::client::{Config, Handle};
use russh_sftp::{
    client::{Config as SftpConfig, RawSftpSession, error::Error as SftpError},
    extensions::{FSYNC, HARDLINK, HardlinkExtension, STATVFS},
    protocol::{File, FileAttributes, OpenFlags, Packet, StatusCode},
};

use super::{
    super::variables::Variables,
    SftpAddress,
    authentication::authenticate,
    host_key::{KnownHost, Refusal},
};
use crate::{Error, ErrorKind, Result};

pub(super) type SftpResult<T> = std::result::Result<T, SftpError>;

/// Bytes of one read or write request: what every server takes (draft-ietf-secsh-filexfer-02, section 3).
const REQUEST_BYTES: usize = 32 << 10;

/// Reads or writes of one file that wait for their answers.
const REQUESTS_AHEAD: usize = 16;

/// What connecting may take, with all keys tried.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// What one answer may take: with all that is on its way before it, over a slow line.
const ANSWER_LIMIT_SECONDS: u64 = 60;

/// The silence after which the server is asked whether it is still there; three times, then it is lost.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// OpenSSH's rename that replaces what is there (its PROTOCOL, section 4.3).
const POSIX_RENAME: &str = "posix-rename@openssh.com";

/// An SFTP session with a server that is known, as a user that it let in.
pub(super) struct Session {
    sftp: RawSftpSession,
    extensions: BTreeSet<String>,
    ssh: Handle<KnownHost>,
    abandoned: AtomicBool,
}

impl Session {
    pub(super) async fn connect(address: &SftpAddress, variables: &Variables) -> Result<Self> {
        match tokio::time::timeout(CONNECT_LIMIT, Self::connect_unlimited(address, variables)).await {
            Ok(connected) => connected,
            Err(elapsed) => Err(unreachable_at(address).with_source(elapsed)),
        }
    }

    async fn connect_unlimited(address: &SftpAddress, variables: &Variables) -> Result<Self> {
        let known = KnownHost::new(address, variables);
        let config = Config {
            preferred: known.preferred(),
            keepalive_interval: Some(KEEPALIVE),
            nodelay: true,
            ..Config::default()
        };
        let server = (address.host(), address.port());
        let connected = russh::client::connect(Arc::new(config), server, known).await;
        let mut ssh = connected.map_err(|refusal| match refusal {
            Refusal::HostKey(error) => error,
            Refusal::Ssh(source) => unreachable_at(address).with_source(source),
        })?;
        authenticate(&mut ssh, address, variables).await?;
        let started = async {
            let channel = ssh.channel_open_session().await?;
            channel.request_subsystem(true, "sftp").await?;
            Ok::<_, russh::Error>(channel.into_stream())
        };
        let stream = started.await.map_err(|source| unreachable_at(address).with_source(source))?;
        let config = SftpConfig { request_timeout_secs: ANSWER_LIMIT_SECONDS, ..SftpConfig::default() };
        let sftp = RawSftpSession::new_with_config(stream, config);
        let version = sftp.init().await.map_err(|source| {
            Error::new(ErrorKind::Unreachable, format!("{} offers no SFTP", address.known_as()))
                .with_source(source)
                .with_guidance("check that the server's sshd_config has a line: Subsystem sftp internal-sftp")
        })?;
        let extensions = version.extensions.into_keys().collect();
        Ok(Self { sftp, extensions, ssh, abandoned: AtomicBool::new(false) })
    }

    pub(super) fn is_usable(&self) -> bool {
        !self.ssh.is_closed() && !self.abandoned.load(Ordering::Relaxed)
    }

    /// Says that nothing more is to be expected from this session.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    pub(super) fn can_link(&self) -> bool {
        self.extensions.contains(HARDLINK)
    }

    pub(super) async fn stat(&self, path: &str) -> SftpResult<FileAttributes> {
        Ok(self.sftp.stat(path).await?.attrs)
    }

    pub(super) async fn create_directory(&self, path: &str) -> SftpResult<()> {
        self.sftp.mkdir(path, FileAttributes::empty()).await.map(drop)
    }

    pub(super) async fn remove(&self, path: &str) -> SftpResult<()> {
        self.sftp.remove(path).await.map(drop)
    }

    pub(super) async fn link(&self, path: &str, new_path: &str) -> SftpResult<()> {
        self.sftp.hardlink(path, new_path).await.map(drop)
    }

    /// Renames a file over whatever has the name.
    pub(super) async fn rename_over(&self, path: &str, new_path: &str) -> SftpResult<()> {
        if !self.extensions.contains(POSIX_RENAME) {
            // The protocol's own rename fails where there is a file; then it is replaced by the same bytes, or by better.
            return match self.sftp.rename(path, new_path).await {
                Err(SftpError::Status(_)) if self.stat(new_path).await.is_ok() => {
                    self.remove(new_path).await?;
                    self.sftp.rename(path, new_path).await.map(drop)
                }
                renamed => renamed.map(drop),
            };
        }
        let paths = HardlinkExtension { oldpath: path.to_owned(), newpath: new_path.to_owned() };
        match self.sftp.extended(POSIX_RENAME, paths.try_into()?).await? {
            Packet::Status(status) if status.status_code == StatusCode::Ok => Ok(()),
            Packet::Status(status) => Err(status.into()),
            _ => Err(SftpError::UnexpectedPacket),
        }
    }

    /// Writes a file that must not be there yet. Durable when it returns, where the server can do that, but for its
    /// entry in the directory.
    pub(super) async fn write_new(&self, path: &str, content: impl Iterator<Item = Bytes>) -> SftpResult<()> {
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
        let handle = self.sftp.open(path, flags, FileAttributes::empty()).await?.handle;
        let written = async {
            let mut offset = 0;
            let pieces = content.flat_map(|mut bytes| {
                std::iter::from_fn(move || {
                    (!bytes.is_empty()).then(|| bytes.split_to(bytes.len().min(REQUEST_BYTES)))
                })
            });
            let requests = pieces.map(|piece| {
                let at = offset;
                offset += piece.len() as u64;
                (at, piece)
            });
            stream::iter(requests.map(Ok))
                .try_for_each_concurrent(REQUESTS_AHEAD, |(at, piece)| {
                    let handle = handle.as_str();
                    async move { self.sftp.write(handle, at, piece.to_vec()).await.map(drop) }
                })
                .await?;
            self.sync(&handle).await
        };
        let written = written.await;
        let closed = self.sftp.close(handle).await;
        let done = written.and(closed.map(drop));
        if done.is_err() {
            // It is ours, and of no use. As good as it gets: the connection may be gone.
            let _ = self.remove(path).await;
        }
        done
    }

    /// Makes the entries of a directory durable. The protocol has no word for it; OpenSSH lets a directory be opened and
    /// flushed like a file. A server that refuses is left to look after its own directories.
    pub(super) async fn sync_directory(&self, path: &str) -> SftpResult<()> {
        if !self.extensions.contains(FSYNC) {
            return Ok(());
        }
        match self.sftp.open(path, OpenFlags::READ, FileAttributes::empty()).await {
            Ok(opened) => {
                let synced = self.sync(&opened.handle).await;
                let closed = self.sftp.close(opened.handle).await.map(drop);
                tolerate_refusal(synced.and(closed))
            }
            Err(error) => tolerate_refusal(Err(error)),
        }
    }

    async fn sync(&self, handle: &str) -> SftpResult<()> {
        if self.extensions.contains(FSYNC) { self.sftp.fsync(handle).await.map(drop) } else { Ok(()) }
    }

    /// A part of a file, shorter where the file ends.
    pub(super) async fn read(&self, path: &str, range: Range<u64>) -> SftpResult<Vec<u8>> {
        let handle = self.sftp.open(path, OpenFlags::READ, FileAttributes::empty()).await?.handle;
        let mut bytes = Vec::new();
        let read = async {
            let starts = range.clone().step_by(REQUEST_BYTES);
            let mut parts = stream::iter(starts)
                .map(|start| self.read_part(&handle, start..range.end.min(start + REQUEST_BYTES as u64)))
                .buffered(REQUESTS_AHEAD);
            while let Some(part) = parts.try_next().await? {
                let is_last = part.len() < REQUEST_BYTES;
                bytes.extend(part);
                if is_last {
                    break;
                }
            }
            Ok(())
        };
        let read = read.await;
        let closed = self.sftp.close(handle.clone()).await;
        read.and(closed.map(drop))?;
        Ok(bytes)
    }

    /// What one request gets, asked for again where a server gives less than there is.
    async fn read_part(&self, handle: &str, range: Range<u64>) -> SftpResult<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut start = range.start;
        while start < range.end {
            let wanted = u32::try_from(range.end - start).unwrap_or(u32::MAX);
            match self.sftp.read(handle, start, wanted).await {
                Ok(read) if read.data.len() as u64 > u64::from(wanted) || read.data.is_empty() => {
                    return Err(SftpError::UnexpectedBehavior("the answer is not what was asked for".into()));
                }
                Ok(read) => {
                    start += read.data.len() as u64;
                    bytes.extend(read.data);
                }
                Err(SftpError::Status(status)) if status.status_code == StatusCode::Eof => break,
                Err(error) => return Err(error),
            }
        }
        Ok(bytes)
    }

    /// All entries of a directory.
    pub(super) async fn read_directory(&self, path: &str) -> SftpResult<Vec<File>> {
        let handle = self.sftp.opendir(path).await?.handle;
        let mut found = Vec::new();
        let read = loop {
            match self.sftp.readdir(handle.as_str()).await {
                Ok(names) => found.extend(names.files),
                Err(SftpError::Status(status)) if status.status_code == StatusCode::Eof => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        let closed = self.sftp.close(handle).await;
        read.and(closed.map(drop))?;
        found.retain(|file| !matches!(file.filename.as_str(), "." | ".."));
        Ok(found)
    }

    /// The room that is left in bytes, where the server says.
    pub(super) async fn free_bytes(&self, path: &str) -> Option<u64> {
        if !self.extensions.contains(STATVFS) {
            return None;
        }
        let statistics = self.sftp.statvfs(path).await.ok()?;
        statistics.blocks_avail.checked_mul(statistics.fragment_size)
    }
}

fn tolerate_refusal(result: SftpResult<()>) -> SftpResult<()> {
    match result {
        Err(SftpError::Status(_)) => Ok(()),
        other => other,
    }
}

fn unreachable_at(address: &SftpAddress) -> Error {
    Error::new(ErrorKind::Unreachable, format!("{} cannot be reached", address.known_as()))
        .with_guidance("check the host, the port, and that an SSH server listens there")
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Session").field("extensions", &self.extensions).finish_non_exhaustive()
    }
}

//! OpenSSH's server with SFTP.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::{install, server::Server};
use crate::{
    command::run,
    guest::archives::{fetch, resolve, unpack},
    packages::with_fresh_lists,
};

const NAME: &str = "openssh";

/// Whom a server lets in that root starts: it needs an account of its own to run as root, and so it does not. The system's
/// first account, with its number on Debian and Ubuntu.
const UNPRIVILEGED: (&str, u32) = ("daemon", 1);

/// An SSH server that lets one user in, with one key.
#[derive(Debug)]
pub struct SshServer {
    server: Server,
    user: String,
    files: TempDir,
}

impl SshServer {
    /// Starts a server with an empty directory.
    ///
    /// # Errors
    /// When OpenSSH's server can neither be found nor fetched from apt.
    pub async fn start() -> Result<Self> {
        let programs = install::obtain(NAME, install).await?;
        let files = tempfile::tempdir()?;
        let is_root = fs::metadata("/proc/self")?.uid() == 0;
        let user = if is_root { UNPRIVILEGED.0.to_owned() } else { run(Command::new("id").arg("-un"))? };
        let libraries = lay_out(&programs, files.path())?;
        let directory = files.path().to_owned();
        if is_root {
            hand_over(&directory)?;
        }
        let arguments = |port: u16| {
            let program = directory.join("sshd").display().to_string();
            let number = UNPRIVILEGED.1.to_string();
            let identity = ["--reuid", &number, "--regid", &number, "--clear-groups"];
            let listen = format!("Port={port}");
            let config = directory.join("config").display().to_string();
            let libraries = format!("LD_LIBRARY_PATH={libraries}");
            let command = ["env", &libraries, &program, "-D", "-e", "-f", &config, "-o", &listen];
            identity.into_iter().filter(|_| is_root).chain(command).map(str::to_owned).collect()
        };
        let server = Server::start("Server listening", arguments).await?;
        let server = Self { server, user: user.trim().to_owned(), files };
        server.know(server.port())?;
        Ok(server)
    }

    /// The port that the server listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// The user whom it lets in.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The empty directory on the server, as it is called there and here.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.files.path().join("data")
    }

    /// The home of a client that the server lets in and that knows the server: `.ssh/id_ed25519`, `.ssh/known_hosts`.
    #[must_use]
    pub fn client_home(&self) -> PathBuf {
        self.files.path().join("client")
    }

    /// Adds the server to the client's known hosts, at this port of the loopback address.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn know(&self, port: u16) -> Result<()> {
        let key = fs::read_to_string(self.files.path().join("host_key.pub"))?;
        let path = self.client_home().join(".ssh/known_hosts");
        let known = fs::read_to_string(&path).unwrap_or_default();
        Ok(fs::write(path, format!("{known}[127.0.0.1]:{port} {key}"))?)
    }
}

/// Puts a server's programs, keys and config into its directory; returns where its libraries are.
fn lay_out(programs: &Path, directory: &Path) -> Result<String> {
    let path = |name: &str| directory.join(name);
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    fs::create_dir_all(path("data"))?;
    fs::create_dir_all(path("client/.ssh"))?;
    fs::create_dir_all(path("libraries"))?;
    fs::copy(programs.join("usr/sbin/sshd"), path("sshd"))?;
    for folder in fs::read_dir(programs.join("usr/lib"))? {
        let folder = folder?.path();
        if !folder.to_string_lossy().ends_with("-linux-gnu") {
            continue;
        }
        for library in fs::read_dir(folder)? {
            let library = library?;
            if library.path().is_file() {
                fs::copy(library.path(), path("libraries").join(library.file_name()))?;
            }
        }
    }
    let libraries = path("libraries").display().to_string();
    for key in ["host_key", "client/.ssh/id_ed25519"] {
        run(Command::new(programs.join("usr/bin/ssh-keygen"))
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(path(key))
            .env("LD_LIBRARY_PATH", &libraries))?;
    }
    let shown = directory.display();
    let config = format!(
        "ListenAddress 127.0.0.1\nHostKey {shown}/host_key\n\
         AuthorizedKeysFile {shown}/client/.ssh/id_ed25519.pub\nAuthenticationMethods publickey\n\
         StrictModes no\nUsePAM no\nPidFile none\nSubsystem sftp internal-sftp\nMaxStartups 100\n"
    );
    fs::write(path("config"), config)?;
    Ok(libraries)
}

/// Gives a directory to the account that the server runs as; the client's files stay readable to us, who are root.
fn hand_over(directory: &Path) -> Result<()> {
    let (_, number) = UNPRIVILEGED;
    chown(directory, Some(number), Some(number))?;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { hand_over(&path)? } else { chown(&path, Some(number), Some(number))? }
    }
    Ok(())
}

fn install(directory: &Path) -> Result<()> {
    let archives = directory.join("archives");
    let files = with_fresh_lists(|| {
        let needed = resolve(&["openssh-server"])?;
        // The C library and its kin are this host's own: programs of the same distribution run with them.
        let is_wanted = |name: &String| {
            name.starts_with("openssh-")
                || name.starts_with("lib") && !name.starts_with("libc6") && name != "libgcc-s1"
        };
        fetch(&needed.into_iter().filter(is_wanted).collect::<Vec<_>>(), &archives)
    })
    .context("apt must reach a mirror that has openssh-server")?;
    unpack(&files, directory)?;
    Ok(fs::remove_dir_all(archives)?)
}

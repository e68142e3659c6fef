//! Azure Blob, as Azurite plays it.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::{install, server::Server};
use crate::command::run;

const VERSION: &str = "azurite-3.35.0";

/// The key of Azurite's one account; it is the same everywhere and protects nothing
/// (<https://learn.microsoft.com/azure/storage/common/storage-use-azurite>).
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A server that speaks Azure Blob.
#[derive(Debug)]
pub struct AzureServer {
    server: Server,
    _data: TempDir,
}

impl AzureServer {
    /// The name of the one account.
    pub const ACCOUNT: &str = "devstoreaccount1";

    /// Starts a server with nothing in it.
    ///
    /// # Errors
    /// When Azurite can neither be found nor installed; with what to install.
    pub async fn start() -> Result<Self> {
        let directory = install::obtain(VERSION, install).await?;
        let program = directory.join("node_modules/.bin/azurite-blob").display().to_string();
        let data = tempfile::tempdir()?;
        let location = data.path().display().to_string();
        // The client may speak a later version of the protocol than Azurite knows.
        let arguments = |port: u16| {
            let port = port.to_string();
            let options = ["--blobPort", &port, "--location", &location];
            let switches = ["--silent", "--skipApiVersionCheck", "--disableTelemetry"];
            [program.as_str()].into_iter().chain(options).chain(switches).map(str::to_owned).collect()
        };
        Ok(Self { server: Server::start("successfully listens", arguments).await?, _data: data })
    }

    /// The account's URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/{}", self.server.port, Self::ACCOUNT)
    }

    /// The account's key.
    #[must_use]
    pub fn key(&self) -> &'static str {
        KEY
    }

    /// Environment variables with credentials that the server takes.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, &'static str); 1] {
        [("AZURE_STORAGE_ACCOUNT_KEY", KEY)]
    }
}

fn install(directory: &Path) -> Result<()> {
    let package = VERSION.replace("azurite-", "azurite@");
    run(Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
        .arg(directory)
        .arg(package))
    .context("install nodejs and npm; npm must reach a registry that has azurite")
    .map(drop)
}

//! Amazon S3, as moto plays it.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{install, server::Server};
use crate::command::run;

const VERSION: &str = "moto-5.2.5";

/// A server that speaks S3, with conditional writes, versions and Object Lock.
#[derive(Debug)]
pub struct S3Server {
    server: Server,
}

impl S3Server {
    /// Starts a server with nothing in it.
    ///
    /// # Errors
    /// When moto can neither be found nor installed; with what to install.
    pub async fn start() -> Result<Self> {
        let directory = install::obtain(VERSION, install).await?;
        let program = directory.join("bin/moto_server").display().to_string();
        let arguments =
            |port: u16| [&program, "-H", "127.0.0.1", "-p", &port.to_string()].map(str::to_owned).to_vec();
        Ok(Self { server: Server::start("Running on", arguments).await? })
    }

    /// The server's URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.server.port)
    }

    /// Environment variables with credentials that the server takes.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, &'static str); 3] {
        [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_REGION", "us-east-1")]
    }

    /// Makes a bucket.
    ///
    /// # Errors
    /// When the server does not.
    pub async fn create_bucket(&self, name: &str, object_lock: bool) -> Result<()> {
        let lock = format!("x-amz-bucket-object-lock-enabled: {object_lock}");
        self.ask("PUT", name, &lock).await.with_context(|| format!("making bucket {name}")).map(drop)
    }

    /// What the server says of an object, named with its bucket: the lines of the answer's head.
    ///
    /// # Errors
    /// When there is no such object.
    pub async fn head(&self, path: &str) -> Result<String> {
        self.ask("HEAD", path, "Accept: */*").await
    }

    /// All versions of all objects in a bucket, and the delete markers over them: key and version, both as in a URL.
    ///
    /// # Errors
    /// When there is no such bucket.
    pub async fn versions(&self, bucket: &str) -> Result<Vec<(String, String)>> {
        let answer = self.ask("GET", &format!("{bucket}?versions=&max-keys=100000"), "Accept: */*").await?;
        let field = |content: &str, name: &str| {
            let (_, rest) = content.split_once(&format!("<{name}>"))?;
            rest.split_once(&format!("</{name}>")).map(|(text, _)| text.replace(' ', "%20"))
        };
        // Both kinds of entries begin with their key.
        let entries = answer.split("<Key>").skip(1).map(|rest| format!("<Key>{rest}"));
        Ok(entries.filter_map(|entry| field(&entry, "Key").zip(field(&entry, "VersionId"))).collect())
    }

    /// Puts a delete marker over an object, as who deletes it does.
    ///
    /// # Errors
    /// When the server does not.
    pub async fn delete(&self, bucket: &str, key: &str) -> Result<()> {
        let answer = self.exchange("DELETE", &format!("{bucket}/{key}"), "Accept: */*").await?;
        ensure!(answer.starts_with("HTTP/1.1 204"), "the deletion of {key} is answered with {answer}");
        Ok(())
    }

    /// Deletes a version for good, with all that the server's credentials can do but to lift governance. Returns whether it
    /// is gone.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn delete_version(&self, bucket: &str, key: &str, version: &str) -> Result<bool> {
        let path = format!("{bucket}/{key}?versionId={version}");
        Ok(self.exchange("DELETE", &path, "Accept: */*").await?.starts_with("HTTP/1.1 2"))
    }

    /// Sends a request with one header, and returns what a server answers that does it.
    async fn ask(&self, method: &str, path: &str, header: &str) -> Result<String> {
        let answer = self.exchange(method, path, header).await?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{method} {path} is answered with {answer}");
        Ok(answer)
    }

    /// The server wants to know by whom a request is signed, and does not check it.
    async fn exchange(&self, method: &str, path: &str, header: &str) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.server.port)).await?;
        let request = format!(
            "{method} /{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 0\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request\r\n{header}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

fn install(directory: &Path) -> Result<()> {
    run(Command::new("python3").args(["-m", "venv"]).arg(directory))
        .context("install python3 and python3-venv")?;
    let requirement = VERSION.replace("moto-", "moto[server]==");
    run(Command::new(directory.join("bin/pip")).args(["install", "--quiet", &requirement]))
        .context("pip must reach a package index that has moto")
        .map(drop)
}

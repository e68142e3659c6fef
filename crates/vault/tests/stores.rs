//! One suite for every kind of store, against real servers.

#![allow(clippy::unwrap_used)] // a test that fails may panic

#[path = "stores/azure.rs"]
mod azure;
#[path = "stores/lock.rs"]
mod lock;
#[path = "stores/retain.rs"]
mod retain;
#[path = "stores/sftp.rs"]
mod sftp;
#[path = "stores/suite.rs"]
mod suite;

use std::sync::Arc;

use object_store::memory::InMemory;
use testkit::stores::{AzureServer, S3Server, SshServer};
use vault::StoreLocation;

#[tokio::test]
async fn memory_holds_a_vault() {
    suite::run(&StoreLocation::at_hand(Arc::new(InMemory::new()))).await;
}

#[tokio::test]
async fn a_directory_holds_a_vault() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/vault");
    suite::run(&StoreLocation::parse(path.to_str().unwrap()).unwrap()).await;
}

#[tokio::test]
async fn s3_holds_a_vault() {
    let server = S3Server::start().await.unwrap();
    server.create_bucket("bucket", false).await.unwrap();
    let url = format!("s3://bucket/a/prefix?endpoint={}", server.endpoint());
    suite::run(&StoreLocation::parse(&url).unwrap().with_variables(server.variables())).await;
}

#[tokio::test]
async fn azure_holds_a_vault() {
    let server = AzureServer::start().await.unwrap();
    azure::create_container(&server, "container").await;
    let url = format!("az://{}/container/a/prefix?endpoint={}", AzureServer::ACCOUNT, server.endpoint());
    suite::run(&StoreLocation::parse(&url).unwrap().with_variables(server.variables())).await;
}

#[tokio::test]
async fn sftp_holds_a_vault() {
    let server = SshServer::start().await.unwrap();
    suite::run(&sftp::location(&server, server.port(), "vault")).await;
}

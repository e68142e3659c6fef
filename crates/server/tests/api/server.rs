use std::os::unix::fs::PermissionsExt as _;

use api::Code;
use server::{Site, SiteConfig};

use crate::site::TestSite;

#[tokio::test]
async fn a_second_server_on_the_same_data_is_refused() {
    let site = TestSite::start().await;
    let refused =
        Site::open(SiteConfig::new(site.directory.path().to_owned(), Vec::new())).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict);
    assert!(refused.detail.contains(&std::process::id().to_string()), "{}", refused.detail);
    assert!(refused.hint.is_some());
    assert!(site.client.site().await.is_ok(), "the first goes on");
}

#[tokio::test]
async fn a_dead_server_s_socket_is_replaced() {
    let site = TestSite::start().await;
    let left = site.stop().await;
    let socket = api::socket_path(left.0.path());
    assert!(!socket.exists(), "a server that ends removes its socket");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let site = TestSite::start_over(left).await;
    assert_eq!(site.client.site().await.unwrap().process_id, std::process::id());
}

#[tokio::test]
async fn only_the_owner_gets_at_anything() {
    let site = TestSite::start().await;
    site.create_vault("main").await;
    let mode = |name: &str| site.path(name).metadata().unwrap().permissions().mode() & 0o777;
    for name in ["run", "keys", "scratch", "disks", "vaults"] {
        assert_eq!(mode(name), 0o700, "{name}");
    }
    for name in ["run/api.sock", "catalog.db", "catalog.db-wal", "lock"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    for key in std::fs::read_dir(site.path("keys")).unwrap() {
        assert_eq!(key.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_is_said_to_be() {
    let directory = tempfile::tempdir().unwrap();
    let long = directory.path().join("x".repeat(120));
    let refused = Site::open(SiteConfig::new(long, Vec::new())).await.unwrap_err();
    assert_eq!(refused.code, Code::Invalid);
    assert!(refused.detail.contains("107"), "{}", refused.detail);
}

#[tokio::test]
async fn the_doctor_looks_at_the_host_and_the_vaults() {
    let site = TestSite::start().await;
    site.create_vault("main").await;
    let names: Vec<_> = site.client.doctor().await.unwrap().into_iter().map(|check| check.name).collect();
    assert!(names.contains(&"vault main".to_owned()), "{names:?}");
    assert!(names.contains(&"space in the data directory".to_owned()), "{names:?}");
}

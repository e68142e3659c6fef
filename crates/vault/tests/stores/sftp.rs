//! What only SFTP has: hosts and users that must know each other, and a connection that can be lost.

use std::{fs, os::unix::fs::PermissionsExt};

use env::Env;
use futures::TryStreamExt;
use object_store::{ObjectStoreExt, path::Path};
use testkit::stores::SshServer;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::broadcast,
};
use vault::{ErrorKind, StoreLocation};

/// A directory of the server as its client reaches it, at this port.
pub fn location(server: &SshServer, port: u16, directory: &str) -> StoreLocation {
    let path = server.directory().join(directory);
    let url = format!("sftp://{}@127.0.0.1:{port}{}", server.user(), path.display());
    let home = server.client_home().display().to_string();
    StoreLocation::parse(&url).unwrap().with_variables([("HOME", home)])
}

#[tokio::test]
async fn a_server_that_is_not_known_is_not_talked_to() {
    let server = SshServer::start().await.unwrap();
    let location = location(&server, server.port(), "vault");
    let known_hosts = server.client_home().join(".ssh/known_hosts");
    let known = fs::read_to_string(&known_hosts).unwrap();

    fs::write(&known_hosts, "").unwrap();
    let unknown = vault::probe(&location, &Env::system()).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Denied);
    assert!(unknown.to_string().contains("SHA256:"), "{unknown}");
    let command = format!("ssh-keyscan -p {} 127.0.0.1 >> {}", server.port(), known_hosts.display());
    assert!(unknown.guidance().unwrap().contains(&command), "{:?}", unknown.guidance());

    let stranger = "AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    fs::write(&known_hosts, format!("[127.0.0.1]:{} ssh-ed25519 {stranger}\n", server.port())).unwrap();
    let changed = vault::probe(&location, &Env::system()).await.unwrap_err();
    assert_eq!(changed.kind(), ErrorKind::Denied);
    assert!(changed.guidance().unwrap().contains("ssh-keygen -f"), "{:?}", changed.guidance());

    fs::write(&known_hosts, known).unwrap();
    assert!(vault::probe(&location, &Env::system()).await.unwrap().is_fit());
}

#[tokio::test]
async fn a_client_that_is_not_let_in_says_which_keys_it_tried() {
    let server = SshServer::start().await.unwrap();
    let home = server.client_home();
    let key = |name: &str| home.join(name).display().to_string();
    let variables = |file: &str| [("HOME", key("")), ("HOLDFAST_SFTP_KEY", key(file))];
    let location = location(&server, server.port(), "vault");

    fs::copy(home.join("../host_key"), home.join("other_key")).unwrap();
    let other = location.clone().with_variables(variables("other_key"));
    let refused = vault::probe(&other, &Env::system()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied);
    assert!(refused.to_string().contains("other_key (refused by the server)"), "{refused}");
    assert!(!refused.to_string().contains("id_ed25519"), "only the named key is tried: {refused}");

    fs::rename(home.join(".ssh/id_ed25519"), home.join("right_key")).unwrap();
    let none = vault::probe(&location, &Env::system()).await.unwrap_err();
    assert!(none.to_string().contains("no key was found"), "{none}");
    assert!(none.guidance().unwrap().contains("HOLDFAST_SFTP_KEY"), "{:?}", none.guidance());

    let right = location.with_variables(variables("right_key"));
    assert!(vault::probe(&right, &Env::system()).await.unwrap().is_fit());
}

#[tokio::test]
async fn nobody_listening_and_no_directory_are_different_things() {
    let server = SshServer::start().await.unwrap();
    let absent = location(&server, server.port(), "absent").object_store().await.unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::NotFound);
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let silent = location(&server, free, "vault").object_store().await.unwrap_err();
    assert_eq!(silent.kind(), ErrorKind::Unreachable);
    assert!(silent.guidance().is_some());
}

#[tokio::test]
async fn a_lost_connection_is_made_anew() {
    let server = SshServer::start().await.unwrap();
    let (port, cut) = relay(server.port()).await;
    server.know(port).unwrap();
    let directory = server.directory().join("vault");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    let (store, _) = location(&server, port, "vault").object_store().await.unwrap();
    let path = Path::from("object");
    store.put(&path, vec![1; 100_000].into()).await.unwrap();
    for round in 2..5 {
        cut.send(()).unwrap();
        // The loss shows in this request, or was seen before it.
        let _ = store.head(&path).await;
        store.put(&path, vec![round; 100_000].into()).await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), vec![round; 100_000]);
    }
}

#[tokio::test]
async fn what_an_interrupted_write_left_is_no_object() {
    let server = SshServer::start().await.unwrap();
    let packs = server.directory().join("packs");
    fs::create_dir(&packs).unwrap();
    fs::write(packs.join(".abc.partial-0123456789abcdef"), "half").unwrap();
    fs::write(packs.join("abc"), "whole").unwrap();
    let (store, _) = location(&server, server.port(), "").object_store().await.unwrap();
    let listed: Vec<_> = store.list(Some(&Path::from("packs"))).try_collect().await.unwrap();
    assert_eq!(listed.iter().map(|meta| meta.location.as_ref()).collect::<Vec<_>>(), ["packs/abc"]);
}

/// Passes connections on to a port of this host, until it is told to cut those that there are.
async fn relay(to: u16) -> (u16, broadcast::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (cut, _) = broadcast::channel(1);
    let cuts = cut.clone();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
            let mut is_cut = cuts.subscribe();
            tokio::spawn(async move {
                tokio::select! {
                    _ = copy_bidirectional(&mut near, &mut far) => {}
                    _ = is_cut.recv() => {}
                }
            });
        }
    });
    (port, cut)
}

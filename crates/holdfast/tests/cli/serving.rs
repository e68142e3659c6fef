//! The server, and clients of it.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use api::{SiteView, VaultView, VmOriginView, VmView};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::program::{Run, holdfast, run, send};

/// A server at work. Killed when dropped.
pub struct Serving {
    pub directory: TempDir,
    server: Child,
}

impl Serving {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { server: serve(&directory, arguments), directory }
    }

    /// Kills the server and starts another over the same data.
    pub fn start_over(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
        self.server = serve(&self.directory, &[]);
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        run(self.directory.path(), arguments)
    }

    pub fn ask<T: serde::de::DeserializeOwned>(&self, arguments: &[&str]) -> T {
        let run = self.run(&[arguments, &["-o", "json"]].concat());
        assert_eq!(run.exit, Some(0), "{arguments:?}: {}", run.stderr);
        serde_json::from_str(&run.stdout).unwrap()
    }

    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }
}

/// A server that listens.
fn serve(directory: &TempDir, arguments: &[&str]) -> Child {
    let mut command = holdfast(directory.path());
    let mut server = command.arg("serve").args(arguments).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
    let mut seen = Vec::new();
    while !seen.last().is_some_and(|line: &String| line.contains("listening")) {
        seen.push(log.next().unwrap_or_else(|| panic!("the server ended: {seen:#?}")).unwrap());
    }
    // Goes on reading: a full pipe would hold the server up.
    std::thread::spawn(move || log.count());
    server
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

#[test]
fn a_signal_stops_the_server_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut site = Serving::start();
        assert_eq!(site.run(&["status", "-q"]).stdout.trim(), site.path("").trim_end_matches('/'));
        send(signal, &site.server);
        assert_eq!(site.server.wait().unwrap().code(), Some(0), "{signal:?}");
        assert!(!api::socket_path(site.directory.path()).exists());
        assert_eq!(site.run(&["status"]).exit, Some(7));
    }
}

#[test]
fn a_second_server_is_refused_and_the_first_stays() {
    let site = Serving::start();
    let second = site.run(&["serve"]);
    assert_eq!(second.exit, Some(6), "{}", second.stderr);
    assert!(second.stderr.contains(&format!("process {}", site.server.id())), "{}", second.stderr);
    let status: serde_json::Value = site.ask(&["status"]);
    let view: SiteView = serde_json::from_value(status["site"].clone()).unwrap();
    assert_eq!(view.process_id, site.server.id());
}

#[test]
fn a_log_filter_that_makes_no_sense_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let output = holdfast(directory.path()).arg("serve").env("HOLDFAST_LOG", "a=b=c").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("hint: write a level, as in HOLDFAST_LOG=debug")
    );
}

#[test]
fn a_vault_opens_elsewhere_with_the_key_that_was_saved_and_with_no_other() {
    let (site, other_site) = (Serving::start(), Serving::start());
    let (key, other_key, place) = (site.path("main.key"), site.path("other.key"), site.path("place"));
    let vault: VaultView = site.ask(&["vault", "create", "main", "--url", &place, "--save-key", &key]);
    let _: VaultView = site.ask(&["vault", "create", "other", "--save-key", &other_key]);
    let attach = |place: &str, key: &str| {
        other_site.run(&["vault", "attach", "main", "--url", place, "--key-file", key])
    };
    assert_eq!(attach(&place, &other_key).exit, Some(12));
    assert_eq!(attach(&site.path("nothing"), &key).exit, Some(10));
    let attached = attach(&place, &key);
    assert_eq!(attached.exit, Some(0), "{}", attached.stderr);
    assert_eq!(attach(&place, &key).exit, Some(0), "again, as after a change of keys");
    let seen: VaultView = other_site.ask(&["vault", "show", "main"]);
    assert_eq!(seen.id, vault.id);
}

#[test]
fn the_key_that_the_server_keeps_is_where_the_warning_says() {
    let site = Serving::start();
    let created = site.run(&["vault", "create", "main"]);
    let (_, after) = created.stderr.split_once("the only one is ").unwrap();
    let (kept, _) = after.split_once(": copy it").unwrap();
    let elsewhere = Serving::start();
    let place = site.path("vaults/main");
    let attached = elsewhere.run(&["vault", "attach", "main", "--url", &place, "--key-file", kept]);
    assert_eq!(attached.exit, Some(0), "{}", attached.stderr);
}

#[test]
fn an_empty_vault_is_sound() {
    let site = Serving::start();
    let _: VaultView = site.ask(&["vault", "create", "main"]);
    let verified = site.run(&["vault", "verify", "main"]);
    assert_eq!(verified.exit, Some(0), "{}", verified.stderr);
    assert!(verified.stdout.contains("every byte is sound"), "{}", verified.stdout);
    assert_eq!(site.run(&["job", "list", "-q"]).stdout.lines().count(), 1);
}

#[test]
fn a_vm_is_added_by_its_definition_and_forgotten() {
    let site = Serving::start();
    qcow2(Path::new(&site.path("root.qcow2")));
    let text = "name = \"web 1\"\nmemory = \"64MiB\"\n[[disk]]\nname = \"root\"\npath = \"root.qcow2\"\n";
    std::fs::write(site.path("web.toml"), text).unwrap();
    let vm: VmView = site.ask(&["vm", "add", "--definition", &site.path("web.toml")]);
    assert_eq!((vm.name.as_str(), vm.origin), ("web 1", VmOriginView::Managed));
    assert_eq!(vm.disks[0].path, site.path("root.qcow2"));
    assert_eq!(vm.disks[0].size_bytes.0, 1 << 20);
    assert_eq!(site.run(&["vm", "remove", "web 1"]).exit, Some(0));
    assert_eq!(site.run(&["vm", "show", "web 1"]).exit, Some(4));
    assert!(Path::new(&site.path("root.qcow2")).exists());
}

fn qcow2(path: &Path) {
    let made = Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(path).arg("1M").status();
    assert!(made.unwrap().success());
}

#[test]
fn two_servers_are_paired_by_a_token_that_goes_through_a_pipe() {
    let east = Serving::start_with(&["--site-name", "east", "--peer-listen", "127.0.0.1:0"]);
    let west = Serving::start_with(&["--site-name", "west"]);
    let refused = west.run(&["site", "token"]);
    assert_eq!(refused.exit, Some(6), "{}", refused.stderr);
    assert!(refused.stderr.contains("hint: start the server with --peer-listen"), "{}", refused.stderr);

    let token = east.run(&["site", "token", "--valid", "10m", "-q"]);
    assert_eq!((token.exit, token.stdout.lines().count()), (Some(0), 1), "{}", token.stderr);
    let file = west.path("token.txt");
    std::fs::write(&file, &token.stdout).unwrap();
    let mut pair = holdfast(west.directory.path());
    pair.args(["site", "pair", "-", "--name", "head-office", "-q"]);
    let paired = pair.stdin(std::fs::File::open(&file).unwrap()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&paired.stdout), "head-office\n");

    let list = west.run(&["site", "ls"]);
    assert!(
        list.stdout.contains("reachable") && list.stdout.contains("this site calls it"),
        "{}",
        list.stdout
    );
    let list = east.run(&["site", "list"]);
    assert!(
        list.stdout.contains("calls us") && list.stdout.contains("it calls this site"),
        "{}",
        list.stdout
    );
    let shown = east.run(&["site", "show"]);
    assert!(shown.stdout.contains("Peers call:"), "{}", shown.stdout);
    let again = west.run(&["site", "pair", token.stdout.trim()]);
    assert_eq!(again.exit, Some(5), "{}", again.stderr);

    let dry = west.run(&["site", "remove", "head-office", "--dry-run"]);
    assert_eq!(dry.exit, Some(0), "{}", dry.stderr);
    assert_eq!(west.run(&["site", "list", "-q"]).stdout, "head-office\n");
    let removed = west.run(&["site", "remove", "head-office"]);
    assert!(removed.stderr.contains("it was told"), "{}", removed.stderr);
    assert!(east.run(&["site", "show", "west"]).stdout.contains("ENDED by the other side"));
    assert_eq!(west.run(&["site", "show", "head-office"]).exit, Some(4));
}

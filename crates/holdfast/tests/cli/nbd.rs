//! Images shown over NBD.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Lines},
    os::unix::fs::FileExt as _,
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
};

use api::NbdView;
use rustix::process::Signal;

use crate::{
    program::{holdfast, send},
    serving::Serving,
};

const SIZE_BYTES: u64 = 4 << 20;

/// A command that shows an image. Killed when dropped.
struct Showing {
    command: Child,
    said: Lines<BufReader<ChildStderr>>,
    view: NbdView,
}

impl Showing {
    fn start(site: &Serving, arguments: &[&str]) -> Self {
        let mut command = holdfast(site.directory.path());
        command.args(["nbd", "-o", "jsonl"]).args(arguments);
        let mut command = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(command.stderr.take().unwrap()).lines();
        let shown = BufReader::new(command.stdout.take().unwrap()).lines().next();
        let Some(shown) = shown else { panic!("it has ended: {:?}", said.next()) };
        Self { command, said, view: serde_json::from_str(&shown.unwrap()).unwrap() }
    }

    fn uri(&self) -> &str {
        &self.view.exports[0].uri
    }

    /// Waits until it says this.
    fn says(&mut self, words: &str) {
        while !self.said.next().expect("it runs").unwrap().contains(words) {}
    }
}

impl Drop for Showing {
    fn drop(&mut self) {
        self.command.kill().ok();
        self.command.wait().ok();
    }
}

/// A site, and an image file with something in it.
fn site_with_image() -> (Serving, String) {
    let site = Serving::start();
    let file = File::create(site.path("disk.raw")).unwrap();
    file.set_len(SIZE_BYTES).unwrap();
    file.write_all_at(&[7; 5000], 1 << 20).unwrap();
    let reference = format!("file:{}", site.path("disk.raw"));
    (site, reference)
}

fn tool(program: &str, arguments: &[&str]) -> String {
    let output =
        Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_image_is_shown_to_other_peoples_tools_until_the_command_ends() {
    let (site, reference) = site_with_image();
    let mut showing = Showing::start(&site, &[&reference]);
    let (uri, disk, copy) = (showing.uri().to_owned(), site.path("disk.raw"), site.path("copy.raw"));
    tool("qemu-img", &["compare", "-f", "raw", "-F", "raw", &uri, &disk]);
    let listed = tool("nbdinfo", &["--list", "--json", &uri]);
    assert!(listed.contains(r#""export-name": "disk""#), "{listed}");
    let map = tool("nbdinfo", &["--map", &uri]);
    assert!(map.contains("data") && map.contains("hole,zero"), "{map}");
    tool("nbdcopy", &[&uri, &copy]);
    assert!(std::fs::read(&copy).unwrap() == std::fs::read(&disk).unwrap());

    let socket = showing.view.socket.clone().unwrap();
    send(Signal::INT, &showing.command);
    assert_eq!(showing.command.wait().unwrap().code(), Some(0));
    until_gone(Path::new(&socket));
}

#[test]
fn a_server_that_dies_is_waited_for_and_a_command_that_dies_leaves_nothing() {
    let (mut site, reference) = site_with_image();
    let socket = site.path("own.sock");
    let mut showing = Showing::start(&site, &[&reference, "--socket", &socket]);
    let (uri, disk) = (showing.uri().to_owned(), site.path("disk.raw"));
    site.start_over();
    showing.says("the server has gone");
    showing.says("shown again");
    tool("qemu-img", &["compare", "-f", "raw", "-F", "raw", &uri, &disk]);
    showing.command.kill().unwrap();
    until_gone(Path::new(&socket));
}

#[test]
fn people_are_told_what_to_type_and_programs_get_addresses() {
    let (site, reference) = site_with_image();
    let showing = Showing::start(&site, &[&reference, "--listen", "127.0.0.1:0"]);
    assert!(showing.uri().starts_with("nbd://127.0.0.1:"), "{:?}", showing.view);
    for (flag, words) in
        [("--output=table", "nbdinfo 'nbd+unix:///disk?socket="), ("--quiet", "nbd+unix:///disk?socket=")]
    {
        let mut command = holdfast(site.directory.path());
        command.args(["nbd", &reference, flag]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut command = command.spawn().unwrap();
        let mut lines = BufReader::new(command.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains(words)), "{flag}");
        command.kill().unwrap();
        command.wait().unwrap();
    }
}

#[test]
fn what_cannot_be_shown_is_refused_with_the_way_out() {
    let (site, reference) = site_with_image();
    for (arguments, exit, words) in [
        (vec!["file:/nowhere"], 4, "/nowhere"),
        (vec!["disk.raw"], 2, "hint:"),
        (vec![&reference, "--listen", "0.0.0.0:0"], 2, "--tls-certificates"),
        (vec![&reference, "--listen", "here"], 2, "127.0.0.1:10809"),
        (vec![&reference, "--socket", "/etc/hostname"], 6, "in use"),
        (vec![&reference, "--listen", "127.0.0.1:0", "--tls-certificates", "/nowhere"], 4, "server-cert.pem"),
    ] {
        let run = site.run(&[&["nbd"], arguments.as_slice()].concat());
        assert!(run.exit == Some(exit) && run.stderr.contains(words), "{arguments:?}: {run:?}");
    }
}

fn until_gone(socket: &Path) {
    while socket.exists() {
        std::thread::yield_now();
    }
}

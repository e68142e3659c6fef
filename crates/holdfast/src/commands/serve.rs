//! The server of a site.

use std::{io::IsTerminal as _, path::PathBuf};

use clap::Args;
use model::{PeerAddress, SiteName};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use server::{Site, SiteConfig};
use tracing_subscriber::EnvFilter;

use crate::{exit::Exit, failure::Failure, signals::Signals};

/// The variable that sets what is logged, in tracing-subscriber's filter syntax.
const LOG_VARIABLE: &str = "HOLDFAST_LOG";

/// This same program, also when a newer version has taken the place of its file.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// The most threads for what computes or waits for files: enough that a few jobs whose stores hang do not hold up the rest.
/// Each leaves an arena of free memory behind; tokio's own limit is 512.
const BLOCKING_THREADS_MAX: usize = 64;

/// How a site is served.
#[derive(Debug, Args)]
pub struct Serve {
    /// What the site calls itself to its peers; the host's name by default.
    #[arg(long, value_name = "NAME", env = "HOLDFAST_SITE_NAME", hide_env_values = true)]
    site_name: Option<SiteName>,
    /// Listen for peers there, as in 0.0.0.0:8443 or [::]:8443. Off by default: then this site can call its peers, and none of
    /// them can call it.
    #[arg(long, value_name = "HOST:PORT", env = "HOLDFAST_PEER_LISTEN", hide_env_values = true)]
    peer_listen: Option<PeerAddress>,
    /// Where peers are told to call, where that is not where this site listens: behind NAT, or on all interfaces.
    #[arg(
        long,
        value_name = "HOST:PORT",
        requires = "peer_listen",
        env = "HOLDFAST_PEER_ADDRESS",
        hide_env_values = true
    )]
    peer_address: Option<PeerAddress>,
}

impl Serve {
    /// Serves the site until a signal stops it.
    pub fn run(self, data_directory: PathBuf) -> Result<(), Failure> {
        start_log("info")?;
        raise_open_files_limit();
        let mut config = SiteConfig::new(data_directory, vec![THIS_PROGRAM.into(), "capture-guard".into()]);
        config.peers.site_name = self.site_name;
        config.peers.listen = self.peer_listen;
        config.peers.address = self.peer_address;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| cannot("start", &error))?;
        runtime.block_on(Box::pin(serve(config)))
    }
}

/// Takes as many open files as this process may have: each VM that runs from a point and each client takes one.
fn raise_open_files_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Without it fewer are served at once.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

async fn serve(config: SiteConfig) -> Result<(), Failure> {
    // Before the site is opened: a signal that comes meanwhile is not lost.
    let mut signals = Signals::new().map_err(|error| cannot("wait for signals", &error))?;
    let place = config.data_directory.display().to_string();
    let site = Site::open(config).await;
    let site = site.map_err(|problem| Failure::problem(Some(&format!("the site {place}")), &problem))?;
    let stopped = async move {
        signals.next().await;
        tokio::spawn(async move {
            signals.next().await;
            // What was being captured is let go by its guard.
            std::process::exit(Exit::Interrupted as i32);
        });
    };
    server::serve(site, stopped).await.map_err(|problem| Failure::problem(None, &problem))
}

/// Logs to standard error what HOLDFAST_LOG says or, without it, from this level on.
pub(super) fn start_log(level: &str) -> Result<(), Failure> {
    let filter = std::env::var(LOG_VARIABLE).unwrap_or_else(|_| level.to_owned());
    let filter = EnvFilter::try_new(&filter).map_err(|error| {
        Failure::usage(format!("{LOG_VARIABLE}={filter:?}: {error}"))
            .with_hint(format!("write a level, as in {LOG_VARIABLE}=debug"))
    })?;
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(!is_plain && std::io::stderr().is_terminal())
        .init();
    Ok(())
}

fn cannot(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Error, format!("cannot {what}: {error}"))
}

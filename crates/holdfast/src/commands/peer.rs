//! Sites that are paired.

use std::io::Read as _;

use api::{MakePairingToken, MapNetworks, PairSite};
use clap::{Args, Subcommand};
use model::{NetworkConnection, SiteName};

use crate::{arguments, context::Context, exit::Exit, failure::Failure};

/// The longest token that is read from standard input, in bytes.
const TOKEN_LIMIT_BYTES: u64 = 4096;

/// What can be done with other sites.
#[derive(Debug, Subcommand)]
pub enum SiteCommand {
    /// Makes a token with which one other site can pair itself with this one.
    ///
    /// The token counts once, until it expires. It says where this site listens, and which certificate authority is its own, so
    /// that nobody in between can pretend to be it. Whoever has it can become a peer: give it to nobody else.
    #[command(after_long_help = TOKEN_EXAMPLES)]
    Token(Token),
    /// Pairs this site with the one that made a token. Both know one another from then on.
    #[command(after_long_help = PAIR_EXAMPLES)]
    Pair(Pair),
    /// Lists the sites that this one is paired with, as they were last seen: within a minute where they can be reached.
    #[command(visible_alias = "ls", after_long_help = "Example:\n  holdfast site list")]
    List,
    /// Shows a peer, looked at now; without a name, this site.
    #[command(after_long_help = "Examples:\n  holdfast site show\n  holdfast site show west")]
    Show(Show),
    /// Says what bridges of a peer are here, for the VMs that are replicated from there.
    ///
    /// It counts for every replica of that site that says nothing itself: see `holdfast replica edit`.
    #[command(name = "map-network", after_long_help = MAP_EXAMPLES)]
    MapNetwork(MapNetwork),
    /// Ends a pairing.
    ///
    /// The peer's certificate counts for nothing here from then on. The peer is told where it can be reached; where it cannot, it
    /// finds out when it calls. What either site has received from the other stays.
    #[command(after_long_help = "Example:\n  holdfast site remove west --dry-run")]
    Remove(Remove),
}

const TOKEN_EXAMPLES: &str = "\
Examples:
  holdfast site token
  holdfast site token --valid 10m -q | ssh backup@west 'holdfast site pair - --name east'";

const PAIR_EXAMPLES: &str = "\
Examples:
  holdfast site pair holdfast-site-1-…
  holdfast site pair - --name east < token.txt";

const MAP_EXAMPLES: &str = "\
Examples:
  holdfast site map-network east vmbr0=br-lan vmbr1=isolated --test vmbr0=br-drill
  holdfast site map-network east vmbr1=        # as if nobody had said";

/// Says what bridges are here.
#[derive(Debug, Args)]
pub struct MapNetwork {
    /// The peer, by name or id.
    site: String,
    /// A bridge there, and a bridge here or isolated; nothing after the = takes it back.
    #[arg(value_name = "THEIRS=OURS", value_parser = mapping, required_unless_present = "test")]
    networks: Vec<(String, Option<NetworkConnection>)>,
    /// The same in tests.
    #[arg(long, value_name = "THEIRS=OURS", value_parser = mapping)]
    test: Vec<(String, Option<NetworkConnection>)>,
}

/// Makes a token.
#[derive(Debug, Args)]
pub struct Token {
    /// How long it counts, as in 10m or 2h: a week at most.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = seconds)]
    valid: u32,
}

/// Pairs the site.
#[derive(Debug, Args)]
pub struct Pair {
    /// The token that the other site has made; - reads it from standard input.
    token: String,
    /// What the other site is to be called here; what it calls itself by default.
    #[arg(long)]
    name: Option<SiteName>,
}

/// Names a peer.
#[derive(Debug, Args)]
pub struct Show {
    /// The peer, by name or id.
    name: Option<String>,
}

/// Ends a pairing.
#[derive(Debug, Args)]
pub struct Remove {
    /// The peer, by name or id.
    name: String,
    /// Show the peer that would be forgotten, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl SiteCommand {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = &context.client;
        match self {
            Self::Token(Token { valid }) => {
                let request = MakePairingToken { valid_seconds: Some(valid) };
                let token = client.make_pairing_token(&request).await?;
                context.note("on the other site, once and in time: holdfast site pair TOKEN");
                context.output.one(&token)
            }
            Self::Pair(Pair { token, name }) => {
                let token = if token == "-" { token_from_stdin()? } else { token };
                let request = PairSite { token, name: name.map(|name| name.to_string()) };
                context.output.one(&client.pair_site(&request).await?)
            }
            Self::List => {
                let token = context.command("site token");
                let none = format!("not paired with any site; begin with: {token}");
                context.output.list(&client.peers().await?, &none)
            }
            Self::Show(Show { name: Some(name) }) => context.output.one(&client.peer(&name).await?),
            Self::Show(Show { name: None }) => context.output.one(&client.site().await?),
            Self::MapNetwork(asked) => asked.run(context).await,
            Self::Remove(remove) => remove.run(context).await,
        }
    }
}

impl MapNetwork {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let map = |is_test: bool| {
            move |(theirs, ours): (String, Option<NetworkConnection>)| api::MapNetwork {
                theirs,
                ours: ours.map(|ours| ours.to_string()),
                is_test,
            }
        };
        let tests = self.test.into_iter().map(map(true));
        let request =
            MapNetworks { networks: self.networks.into_iter().map(map(false)).chain(tests).collect() };
        context.output.one(&context.client.map_networks(&self.site, &request).await?)
    }
}

/// Reads what a bridge of another site is here.
fn mapping(text: &str) -> Result<(String, Option<NetworkConnection>), String> {
    let (theirs, ours) = text.split_once('=').ok_or("write THEIRS=OURS, as in vmbr0=br-lan")?;
    Ok((theirs.to_owned(), arguments::connection(ours)?))
}

impl Remove {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self { name, dry_run } = self;
        let peer = context.client.peer(&name).await?;
        if dry_run {
            context.note("the pairing with this site would end; nothing was changed");
            return context.output.one(&peer);
        }
        context.confirm(&format!("End the pairing with {}?", peer.name))?;
        let removed = context.client.remove_peer(peer.id.as_str()).await?;
        let told = match removed.problem {
            _ if removed.is_told => "it was told".to_owned(),
            Some(problem) => format!("it could not be told ({problem}) and finds out when it calls"),
            None => "it finds out when it calls".to_owned(),
        };
        context.note(&format!("the pairing with {} has ended; {told}", removed.name));
        Ok(())
    }
}

fn token_from_stdin() -> Result<String, Failure> {
    let mut token = String::new();
    std::io::stdin()
        .take(TOKEN_LIMIT_BYTES)
        .read_to_string(&mut token)
        .map_err(|error| Failure::new(Exit::Error, format!("cannot read the token: {error}")))?;
    Ok(token.trim().to_owned())
}

/// Reads a duration of whole seconds.
fn seconds(text: &str) -> Result<u32, String> {
    let duration = arguments::duration(text)?;
    match u32::try_from(duration.as_secs()) {
        Ok(seconds @ 1..) => Ok(seconds),
        _ => Err("write 1s to 168h".to_owned()),
    }
}

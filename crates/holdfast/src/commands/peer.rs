//! Sites that are paired.

use std::io::Read as _;

use api::{MakePairingToken, PairSite};
use clap::{Args, Subcommand};
use model::SiteName;

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
            Self::Remove(remove) => remove.run(context).await,
        }
    }
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

//! What a client command works with.

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
};

use api::Client;
use model::VaultId;

use crate::{
    arguments::GlobalArguments,
    exit::Exit,
    failure::Failure,
    location,
    output::{self, Output, Tone},
    suggestion,
};

/// The site, and how to talk to the person.
pub struct Context {
    /// The site's API.
    pub client: Client,
    /// Standard output.
    pub output: Output,
    data_directory: PathBuf,
    asks: bool,
    says_yes: bool,
}

impl Context {
    /// The context that the global flags describe.
    pub fn new(global: &GlobalArguments) -> Result<Self, Failure> {
        let data_directory = data_directory(global)?;
        if !is_meant_anyway(&data_directory) {
            suggestion::aim(api::shell_word(&data_directory.to_string_lossy()));
        }
        Ok(Self {
            client: Client::new(&api::socket_path(&data_directory)),
            output: Output::new(global.output, global.quiet),
            data_directory,
            says_yes: global.yes,
            asks: !global.yes && std::io::stdin().is_terminal() && std::io::stderr().is_terminal(),
        })
    }

    /// A command for the person to type, for this same site.
    pub fn command(&self, arguments: &str) -> String {
        if is_meant_anyway(&self.data_directory) {
            return format!("holdfast {arguments}");
        }
        let directory = api::shell_word(&self.data_directory.to_string_lossy());
        format!("holdfast {arguments} --data-dir {directory}")
    }

    /// Where the server keeps the key file that it made for a vault.
    pub fn kept_key_file(&self, vault: VaultId) -> PathBuf {
        self.data_directory.join("keys").join(format!("{vault}.key-file"))
    }

    /// Asks on a terminal whether to go on. Elsewhere, or with `--yes`, goes on.
    pub fn confirm(&self, question: &str) -> Result<(), Failure> {
        if !self.asks {
            return Ok(());
        }
        output::ask(&format!("{question} [y/N] "));
        let mut answer = String::new();
        std::io::stdin()
            .read_line(&mut answer)
            .map_err(|error| Failure::new(Exit::Error, format!("cannot read the answer: {error}")))?;
        if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
            return Ok(());
        }
        Err(Failure::new(Exit::Error, "nothing was changed: the answer was not yes"))
    }

    /// Asks for a name to be typed before something that nobody can take back. `--yes` answers; where there is neither, nobody
    /// goes on.
    pub fn confirm_by_name(&self, question: &str, name: &str) -> Result<(), Failure> {
        if self.says_yes {
            return Ok(());
        }
        if !self.asks {
            return Err(Failure::usage(format!(
                "{question} Nobody can take it back, and there is nobody to ask"
            ))
            .with_hint("add --yes where it is meant"));
        }
        output::ask(&format!("{question} Nobody can take it back. Type {name} to go on: "));
        let mut answer = String::new();
        std::io::stdin()
            .read_line(&mut answer)
            .map_err(|error| Failure::new(Exit::Error, format!("cannot read the answer: {error}")))?;
        if answer.trim() == name {
            return Ok(());
        }
        Err(Failure::new(Exit::Error, format!("nothing was changed: the answer was not {name}")))
    }

    /// Tells something on standard error that is neither data nor an error.
    pub fn note(&self, text: &str) {
        if !self.output.quiet {
            output::tell(Tone::Plain, text);
        }
    }
}

/// Whether a command that names no data directory means this one.
fn is_meant_anyway(data_directory: &Path) -> bool {
    let unaided = std::env::var_os("HOLDFAST_DATA_DIR").map_or_else(data_directory_default, PathBuf::from);
    std::path::absolute(unaided).is_ok_and(|unaided| unaided == data_directory)
}

/// The data directory that the global flags name, as an absolute path.
pub fn data_directory(global: &GlobalArguments) -> Result<PathBuf, Failure> {
    match &global.data_dir {
        Some(directory) => location::absolute(directory).map(PathBuf::from),
        None => Ok(data_directory_default()),
    }
}

fn data_directory_default() -> PathBuf {
    api::data_directory_default(rustix::process::geteuid().is_root())
}

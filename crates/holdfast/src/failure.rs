//! Errors as people read them: what went wrong, why, and what to do next.

use std::{fmt, io, path::Path};

use api::{ClientError, Problem};

use crate::{exit::Exit, output};

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    /// How the program ends.
    pub exit: Exit,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// A failure: what was tried, then why it failed.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// A command line, or a file that it names, that makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A file that the command line names and that cannot be used.
    pub fn file(path: &Path, error: &io::Error) -> Self {
        let exit = match error.kind() {
            io::ErrorKind::PermissionDenied => Exit::Denied,
            io::ErrorKind::AlreadyExists => Exit::Conflict,
            _ => Exit::Usage,
        };
        Self::new(exit, format!("{}: {error}", path.display()))
    }

    /// What a server, or a job of it, says went wrong.
    pub fn problem(what: Option<&str>, problem: &Problem) -> Self {
        let message = match what {
            Some(what) => format!("{what}: {}", problem.detail),
            None => problem.detail.clone(),
        };
        Self { exit: problem.code.into(), message, hint: problem.hint.clone() }
    }

    /// Adds what to do next.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Tells it on standard error.
    pub fn report(&self) {
        output::tell(output::Tone::Error, &self.message);
        if let Some(hint) = &self.hint {
            output::tell(output::Tone::Hint, hint);
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(formatter, "\nhint: {hint}"))
    }
}

/// An error of a vault that this process has opened itself.
impl From<vault::Error> for Failure {
    fn from(error: vault::Error) -> Self {
        Self::problem(None, &server::vault_problem(error))
    }
}

/// An error of an operation that this process does itself.
impl From<protection::Error> for Failure {
    fn from(error: protection::Error) -> Self {
        Self::problem(None, &server::operation_problem(error))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::Problem(problem) => Self::problem(None, problem),
            ClientError::NoServer { socket, source } if source.kind() == io::ErrorKind::PermissionDenied => {
                Self::new(
                    Exit::Denied,
                    format!("cannot talk to the server at {}: {source}", socket.display()),
                )
                .with_hint("only the user who runs the server may use it; run this as that user")
            }
            ClientError::NoServer { socket, .. } => {
                let failure = Self::new(Exit::Unreachable, error.to_string());
                let data_directory =
                    socket.ancestors().find(|directory| api::socket_path(directory) == *socket);
                match data_directory {
                    Some(directory) => failure.with_hint(format!(
                        "start it: holdfast serve --data-dir {}",
                        api::shell_word(&directory.to_string_lossy())
                    )),
                    None => failure,
                }
            }
            ClientError::Broken(_) => {
                Self::new(Exit::Unreachable, error.to_string()).with_hint("the server's log says why")
            }
        }
    }
}

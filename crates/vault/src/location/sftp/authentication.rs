//! Proving to the server who we are, with one of the user's keys.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use russh::{
    client::Handle,
    keys::{HashAlg, PrivateKeyWithHashAlg, agent::client::AgentClient, load_secret_key},
};

use super::{super::variables::Variables, SftpAddress, host_key::KnownHost};
use crate::{Error, ErrorKind, Result};

/// The variable that names a key file, which is then the only key that is tried.
const KEY_VARIABLE: &str = "HOLDFAST_SFTP_KEY";

/// The files of `~/.ssh` that may hold a key, in the order in which `ssh` tries them.
const KEY_FILES: [&str; 3] = ["id_rsa", "id_ecdsa", "id_ed25519"];

/// The keys of a user, and what became of those that were tried.
struct Attempt<'a> {
    handle: &'a mut Handle<KnownHost>,
    user: &'a str,
    hash: Option<HashAlg>,
    tried: Vec<String>,
}

/// Tries the keys that there are, one after the other.
///
/// # Errors
/// [`ErrorKind::Denied`] with the keys that were tried.
pub(super) async fn authenticate(
    handle: &mut Handle<KnownHost>,
    address: &SftpAddress,
    variables: &Variables,
) -> Result<()> {
    // What the server can do with RSA keys; none where it does not say.
    let hash = handle.best_supported_rsa_hash().await.ok().flatten().flatten();
    let mut attempt = Attempt { handle, user: address.user(), hash, tried: Vec::new() };
    if let Some(file) = variables.get(KEY_VARIABLE) {
        if attempt.file(Path::new(&file)).await {
            return Ok(());
        }
        return Err(attempt.refused(address));
    }
    if let Some(socket) = variables.get("SSH_AUTH_SOCK")
        && attempt.agent(Path::new(&socket)).await
    {
        return Ok(());
    }
    let keys = PathBuf::from(variables.get("HOME").unwrap_or_default()).join(".ssh");
    for name in KEY_FILES.iter().rev() {
        let file = keys.join(name);
        if file.exists() && attempt.file(&file).await {
            return Ok(());
        }
    }
    Err(attempt.refused(address))
}

impl Attempt<'_> {
    async fn file(&mut self, file: &Path) -> bool {
        let (path, shown) = (file.to_owned(), file.display());
        let loaded = tokio::task::spawn_blocking(move || load_secret_key(path, None)).await;
        let key = match loaded {
            Ok(Ok(key)) => key,
            Ok(Err(russh::keys::Error::KeyIsEncrypted)) => {
                self.tried.push(format!("{shown} (needs a passphrase: add it to the agent with ssh-add)"));
                return false;
            }
            Ok(Err(error)) => {
                self.tried.push(format!("{shown} (cannot be used: {error})"));
                return false;
            }
            Err(_) => return false,
        };
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), self.hash);
        match self.handle.authenticate_publickey(self.user, key).await {
            Ok(answer) if answer.success() => return true,
            Ok(_) => self.tried.push(format!("{shown} (refused by the server)")),
            Err(error) => self.tried.push(format!("{shown} (failed: {error})")),
        }
        false
    }

    async fn agent(&mut self, socket: &Path) -> bool {
        let mut agent = match AgentClient::connect_uds(socket).await {
            Ok(agent) => agent,
            Err(error) => {
                self.tried.push(format!("the agent at {} (cannot be asked: {error})", socket.display()));
                return false;
            }
        };
        let identities = match agent.request_identities().await {
            Ok(identities) => identities,
            Err(error) => {
                self.tried.push(format!("the agent at {} (does not answer: {error})", socket.display()));
                return false;
            }
        };
        for identity in identities {
            let key = identity.public_key().into_owned();
            let shown = format!("{} of the agent", key.fingerprint(HashAlg::Sha256));
            let hash = self.hash.filter(|_| key.algorithm().is_rsa());
            match self.handle.authenticate_publickey_with(self.user, key, hash, &mut agent).await {
                Ok(answer) if answer.success() => return true,
                Ok(_) => self.tried.push(format!("{shown} (refused by the server)")),
                Err(error) => self.tried.push(format!("{shown} (failed: {error})")),
            }
            if self.handle.is_closed() {
                break;
            }
        }
        false
    }

    fn refused(self, address: &SftpAddress) -> Error {
        let keys = if self.tried.is_empty() {
            "no key was found in the agent or in ~/.ssh".to_owned()
        } else {
            format!("tried {}", self.tried.join(", "))
        };
        let closed = if self.handle.is_closed() { "; then the server hung up" } else { "" };
        Error::new(
            ErrorKind::Denied,
            format!("{} let nobody in as {}: {keys}{closed}", address.known_as(), address.user()),
        )
        .with_guidance(format!(
            "add the public key to the server's ~/.ssh/authorized_keys (ssh-copy-id -p {} {}@{}), or set {KEY_VARIABLE} to \
             the file of the right key",
            address.port(),
            address.user(),
            address.host()
        ))
    }
}

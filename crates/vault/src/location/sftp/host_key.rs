//! Whether the server is the one that the user knows.

use std::{borrow::Cow, path::PathBuf};

use russh::{
    Preferred,
    client::Handler,
    keys::{
        Algorithm, HashAlg, PublicKeyOrCertificate,
        known_hosts::{check_known_hosts_path, known_host_keys_path},
    },
};

use super::{super::variables::Variables, SftpAddress};
use crate::{Error, ErrorKind};

/// The keys in `~/.ssh/known_hosts` that a server may have.
#[derive(Debug, Clone)]
pub(super) struct KnownHost {
    address: SftpAddress,
    known_hosts: PathBuf,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Refusal {
    Ssh(russh::Error),
    HostKey(Error),
}

impl From<russh::Error> for Refusal {
    fn from(error: russh::Error) -> Self {
        Self::Ssh(error)
    }
}

impl KnownHost {
    pub(super) fn new(address: &SftpAddress, variables: &Variables) -> Self {
        let home = variables.get("HOME").unwrap_or_default();
        Self { address: address.clone(), known_hosts: PathBuf::from(home).join(".ssh/known_hosts") }
    }

    /// What to ask the server for: first the kinds of keys by which it is known, lest it show another that is not.
    pub(super) fn preferred(&self) -> Preferred {
        let known = known_host_keys_path(self.address.host(), self.address.port(), &self.known_hosts)
            .unwrap_or_default();
        let is_known = |algorithm: &&Algorithm| {
            known.iter().any(|(_, key)| match (key.algorithm(), algorithm) {
                (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
                (known, algorithm) => known == **algorithm,
            })
        };
        let (mut first, others): (Vec<Algorithm>, Vec<Algorithm>) = {
            let (first, others): (Vec<_>, Vec<_>) = Preferred::DEFAULT.key.iter().partition(is_known);
            (first.into_iter().cloned().collect(), others.into_iter().cloned().collect())
        };
        first.extend(others);
        Preferred { key: Cow::Owned(first), ..Preferred::DEFAULT }
    }

    fn unknown(&self, fingerprint: &str) -> Error {
        let (host, port) = (self.address.host(), self.address.port());
        let known_hosts = self.known_hosts.display();
        Error::new(
            ErrorKind::Denied,
            format!("the host key of {} is not in {known_hosts}: {fingerprint}", self.address.known_as()),
        )
        .with_guidance(format!(
            "compare the fingerprint with the server's own (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then run: \
             ssh-keyscan -p {port} {host} >> {known_hosts}"
        ))
    }

    fn changed(&self, fingerprint: &str, line: usize) -> Error {
        let (known_as, known_hosts) = (self.address.known_as(), self.known_hosts.display());
        Error::new(
            ErrorKind::Denied,
            format!("the host key of {known_as} is {fingerprint}, not the one in line {line} of {known_hosts}"),
        )
        .with_guidance(format!(
            "somebody may pose as the server; if it was set up anew, run: ssh-keygen -f {known_hosts} -R '{known_as}'"
        ))
    }
}

impl Handler for KnownHost {
    type Error = Refusal;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Refusal> {
        let key = shown.public_key();
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let (host, port) = (self.address.host(), self.address.port());
        match check_known_hosts_path(host, port, &key, &self.known_hosts) {
            Ok(true) => Ok(true),
            Ok(false) => Err(Refusal::HostKey(self.unknown(&fingerprint))),
            Err(russh::keys::Error::KeyChanged { line }) => {
                Err(Refusal::HostKey(self.changed(&fingerprint, line)))
            }
            Err(error) => {
                let known_hosts = self.known_hosts.display();
                let unreadable = Error::invalid(format!("{known_hosts} cannot be read")).with_source(error);
                Err(Refusal::HostKey(unreadable))
            }
        }
    }
}

//! Where an SFTP directory is.

use std::fmt;

use url::Url;

/// The port of SSH.
const DEFAULT_PORT: u16 = 22;

/// A directory of a user of an SSH server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SftpAddress {
    url: Url,
    user: String,
    host: String,
    port: u16,
    directory: String,
}

impl SftpAddress {
    pub(crate) fn of_url(url: &Url) -> Result<Self, String> {
        if url.query().is_some() {
            return Err("a directory has no options".into());
        }
        // Not a special scheme, so the address of an IPv6 host keeps its brackets.
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        if host.is_empty() {
            return Err("the host is missing".into());
        }
        if url.username().is_empty() {
            return Err("the user is missing".into());
        }
        let directory = decoded(url.path()).ok_or("the directory is not UTF-8")?;
        if directory.trim_matches('/').is_empty() {
            return Err("the directory is missing".into());
        }
        Ok(Self {
            user: decoded(url.username()).ok_or("the user is not UTF-8")?,
            host: host.to_owned(),
            port: url.port().unwrap_or(DEFAULT_PORT),
            // As in curl and git, `/~/` is the user's home, which is where a session starts.
            directory: directory.strip_prefix("/~/").map_or(directory.clone(), str::to_owned),
            url: url.clone(),
        })
    }

    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn directory(&self) -> &str {
        &self.directory
    }

    /// The host as `known_hosts` and `ssh-keygen` write it.
    pub(crate) fn known_as(&self) -> String {
        if self.port == DEFAULT_PORT { self.host.clone() } else { format!("[{}]:{}", self.host, self.port) }
    }
}

impl fmt::Display for SftpAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(formatter)
    }
}

/// Text of a URL with its escapes resolved.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = after
            .get(..2)
            .filter(|_| byte == b'%')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

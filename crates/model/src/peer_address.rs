//! Where a site listens for its peers.

use std::{fmt, str::FromStr};

/// No name of a host is longer (RFC 1035, 2.3.4); a colon and a port come on top.
const LENGTH_MAX_BYTES: usize = 255 + 6;

/// A host and a port: `backup.example.com:8443`, `192.0.2.7:8443` or `[2001:db8::7]:8443`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PeerAddress(String);

/// The text is not a host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsePeerAddressError(String);

impl fmt::Display for ParsePeerAddressError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:?} is not an address: write a host and a port, as in backup.example.com:8443 or [2001:db8::7]:8443",
            self.0
        )
    }
}

impl std::error::Error for ParsePeerAddressError {}

impl PeerAddress {
    /// The address as text, as operating systems look it up.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host: a name or an IP address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        let host = self.0.rsplit_once(':').map_or(&*self.0, |(host, _)| host);
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl FromStr for PeerAddress {
    type Err = ParsePeerAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParsePeerAddressError(text.chars().take(LENGTH_MAX_BYTES).collect());
        let (host, port) = text.rsplit_once(':').ok_or_else(error)?;
        let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
        let is_host = match host.strip_prefix('[') {
            Some(bracketed) => {
                bracketed.strip_suffix(']').is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok())
            }
            None => {
                !host.is_empty()
                    && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
            }
        };
        if is_port && is_host && text.len() <= LENGTH_MAX_BYTES {
            Ok(Self(text.to_owned()))
        } else {
            Err(error())
        }
    }
}

impl TryFrom<String> for PeerAddress {
    type Error = ParsePeerAddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PeerAddress> for String {
    fn from(address: PeerAddress) -> Self {
        address.0
    }
}

impl From<std::net::SocketAddr> for PeerAddress {
    fn from(address: std::net::SocketAddr) -> Self {
        Self(address.to_string())
    }
}

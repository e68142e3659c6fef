//! What the network interfaces of a VM are connected to at a site that runs it for another one.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{NetworkDefinition, NetworkKind};

/// The longest name that Linux gives an interface, in bytes.
const INTERFACE_NAME_MAX_BYTES: usize = 15;

/// The word for [`NetworkConnection::Isolated`].
const ISOLATED: &str = "isolated";

/// What a network interface is to be connected to, as people write it: the name of a bridge, or `isolated`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum NetworkConnection {
    /// A bridge of the host.
    Bridge(String),
    /// A network on which the guest reaches nothing.
    Isolated,
}

/// Text that says no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseNetworkConnectionError(String);

impl fmt::Display for ParseNetworkConnectionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} is neither the name of a bridge nor {ISOLATED}", self.0)
    }
}

impl std::error::Error for ParseNetworkConnectionError {}

impl NetworkConnection {
    /// The bridge, where it is one.
    #[must_use]
    pub fn bridge(&self) -> Option<&str> {
        match self {
            Self::Bridge(name) => Some(name),
            Self::Isolated => None,
        }
    }

    /// Connects an interface to it.
    pub fn connect(&self, network: &mut NetworkDefinition) {
        network.kind = match self {
            Self::Bridge(_) => NetworkKind::Bridge,
            Self::Isolated => NetworkKind::Isolated,
        };
        network.bridge = self.bridge().map(str::to_owned);
    }
}

impl FromStr for NetworkConnection {
    type Err = ParseNetworkConnectionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == ISOLATED {
            return Ok(Self::Isolated);
        }
        let is_name = (1..=INTERFACE_NAME_MAX_BYTES).contains(&text.len())
            && !matches!(text, "." | "..")
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        match is_name {
            true => Ok(Self::Bridge(text.to_owned())),
            false => Err(ParseNetworkConnectionError(text.to_owned())),
        }
    }
}

impl fmt::Display for NetworkConnection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.bridge().unwrap_or(ISOLATED))
    }
}

impl From<NetworkConnection> for String {
    fn from(connection: NetworkConnection) -> Self {
        connection.to_string()
    }
}

impl TryFrom<String> for NetworkConnection {
    type Error = ParseNetworkConnectionError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests;

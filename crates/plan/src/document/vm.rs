//! A VM of a plan: how it is known to be well, and what it is connected to.

use model::VmName;
use serde::{Deserialize, Serialize};

use super::OnFailure;
use crate::run::{Direction, Kind};

/// How long a VM has to be well, unless the gate says otherwise.
const GATE_TIMEOUT_DEFAULT_SECONDS: u64 = 300;

/// A VM of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vm {
    /// Its name at the site that it comes from.
    pub name: VmName,
    /// What must be so before it counts as up, in this order. That it was started is not enough where anything is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health: Vec<Gate>,
    /// What its network devices are connected to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Network>,
    /// What becomes of the run when it does not come up.
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// What must be so before a VM counts as up. Tried again until it is, or its time is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// The guest's agent answers.
    #[serde(default, skip_serializing_if = "is_false")]
    pub agent: bool,
    /// A port takes connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpGate>,
    /// A request is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpGate>,
    /// A program in the guest ends with 0: the program and its arguments, handed to no shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// How long it is tried, in seconds.
    #[serde(default = "gate_timeout_default")]
    pub timeout_seconds: u64,
}

/// A port that must take connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpGate {
    /// The port.
    pub port: u16,
    /// The host; by default the first address of the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// A request that must be answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpGate {
    /// Where to. `{address}` in it stands for the first address of the guest.
    pub url: String,
    /// The status of the answer; 200 to 299 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What the answer must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
}

/// What a network device is connected to, and the address that it has there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Which device, from 0.
    pub device: u32,
    /// When the VM is to stay, away from its own site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub production: Option<Attachment>,
    /// When it comes back to its own site; by default as it is there otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<Attachment>,
    /// In a test; by default it reaches nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Attachment>,
}

impl Network {
    /// What counts in such a run.
    #[must_use]
    pub fn attachment(&self, kind: Kind, direction: Direction) -> Option<&Attachment> {
        match (kind, direction) {
            (Kind::Test, _) => self.test.as_ref(),
            (_, Direction::Failover) => self.production.as_ref(),
            (_, Direction::Failback) => self.home.as_ref(),
        }
    }
}

/// What a network device is connected to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// A bridge of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// The address and the length of its network's prefix, as in 10.2.0.5/24, set through the guest's agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The router.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Name servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub name_servers: Vec<String>,
}

impl Gate {
    /// What it asks for, in a few words.
    #[must_use]
    pub fn title(&self) -> String {
        if self.agent {
            return "the guest agent answers".to_owned();
        }
        if let Some(tcp) = &self.tcp {
            return format!("port {} takes connections", tcp.port);
        }
        if let Some(http) = &self.http {
            return format!("{} answers", http.url);
        }
        let program = self.command.as_ref().and_then(|command| command.first());
        format!("{} in the guest", program.map_or("nothing", String::as_str))
    }

    pub(crate) fn kinds(&self) -> usize {
        [self.agent, self.tcp.is_some(), self.http.is_some(), self.command.is_some()]
            .into_iter()
            .filter(|is_asked| *is_asked)
            .count()
    }
}

fn gate_timeout_default() -> u64 {
    GATE_TIMEOUT_DEFAULT_SECONDS
}

fn is_false(value: &bool) -> bool {
    !value
}

//! What the VM that a replica becomes is to be here.

use std::path::PathBuf;

use api::{ConnectNetwork, EditReplica, ReplicaSetting};
use clap::{Args, ValueEnum};
use model::{ByteCount, NetworkConnection, VmName};

use super::Replica;
use crate::{arguments, context::Context, failure::Failure, location};

/// Changes the settings of a replica.
#[derive(Debug, Args)]
pub struct Edit {
    #[command(flatten)]
    replica: Replica,
    /// What the VM is called after a failover.
    #[arg(long)]
    name: Option<VmName>,
    /// Its virtual CPUs.
    #[arg(long, value_name = "COUNT")]
    cpus: Option<u32>,
    /// Its memory, as in 4GiB.
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteCount>,
    /// The directory in which its disks get one of their own. It has to be there.
    #[arg(long, value_name = "DIR")]
    storage: Option<PathBuf>,
    /// Connect a network interface, by its place from 0: as in 0=br-lan or 1=isolated; 0= takes it back.
    #[arg(long = "network", value_name = "N=BRIDGE", value_parser = connection)]
    networks: Vec<(u32, Option<NetworkConnection>)>,
    /// The same in tests.
    #[arg(long = "test-network", value_name = "N=BRIDGE", value_parser = connection)]
    test_networks: Vec<(u32, Option<NetworkConnection>)>,
    /// Take settings back, before the others are made.
    #[arg(long, value_name = "SETTING", value_delimiter = ',')]
    reset: Vec<Setting>,
}

const HINT: &str = "see what can be: holdfast replica edit --help";

/// What can be taken back.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Setting {
    Name,
    Cpus,
    Memory,
    Storage,
    Networks,
    TestNetworks,
}

impl From<Setting> for ReplicaSetting {
    fn from(setting: Setting) -> Self {
        match setting {
            Setting::Name => Self::Name,
            Setting::Cpus => Self::Cpus,
            Setting::Memory => Self::Memory,
            Setting::Storage => Self::Storage,
            Setting::Networks => Self::Networks,
            Setting::TestNetworks => Self::TestNetworks,
        }
    }
}

impl Edit {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let storage = location::absolute_if_given(self.storage.as_deref())?;
        let connect = |is_test: bool| {
            move |(number, to): (u32, Option<NetworkConnection>)| ConnectNetwork {
                number,
                to: to.map(|to| to.to_string()),
                is_test,
            }
        };
        let tests = self.test_networks.into_iter().map(connect(true));
        let request = EditReplica {
            name: self.name.map(|name| name.to_string()),
            cpus: self.cpus,
            memory_bytes: self.memory,
            storage,
            networks: self.networks.into_iter().map(connect(false)).chain(tests).collect(),
            reset: self.reset.into_iter().map(ReplicaSetting::from).collect(),
        };
        if request == EditReplica::default() {
            return Err(Failure::usage("nothing to change").with_hint(HINT));
        }
        let view = context.client.edit_replica(&self.replica.replica, &request).await?;
        for problem in &view.target.problems {
            context.note(&format!("warning: {problem}; until that changes, a failover is refused"));
        }
        context.output.one(&view)
    }
}

/// Reads what an interface is connected to; nothing takes it back.
fn connection(text: &str) -> Result<(u32, Option<NetworkConnection>), String> {
    let (number, to) = text.split_once('=').ok_or("write N=BRIDGE, as in 0=br-lan")?;
    let number = number.parse().map_err(|_| format!("{number:?} is no number of a network interface"))?;
    Ok((number, arguments::connection(to)?))
}

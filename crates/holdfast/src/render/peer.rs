//! Sites that are paired, and this one.

use api::{PairingTokenView, PeerState, PeerView, PeerWays, SiteView};

use super::{Identified, Page, Row, Times, or_dash, table};

/// Clocks that differ by less are called the same, in milliseconds.
const CLOCK_NOISE_MS: i64 = 1000;

impl Identified for PeerView {
    fn id(&self) -> String {
        self.name.clone()
    }
}

impl Row for PeerView {
    const COLUMNS: &'static [&'static str] =
        &["name", "state", "connections", "last seen", "clock", "version", "certificate until"];

    fn cells(&self, times: &Times) -> Vec<String> {
        vec![
            self.name.clone(),
            state(self),
            ways(self).to_owned(),
            or_dash(self.last_seen_at.map(|at| times.moment(at))),
            or_dash(self.clock_ahead_ms.map(clock)),
            or_dash(self.version.as_ref()),
            or_dash(self.certificate_expires_at.map(|at| times.clock(at))),
        ]
    }
}

impl Page for PeerView {
    fn page(&self, times: &Times) -> String {
        let mut fields = vec![
            ("Name", self.name.clone()),
            ("Id", self.id.to_string()),
            ("Address", self.address.clone().unwrap_or_else(|| "none: it calls this site".to_owned())),
            ("State", state(self)),
            ("Connections", ways(self).to_owned()),
            ("Paired", times.moment(self.paired_at)),
        ];
        fields.extend(self.ended_at.map(|at| ("Ended by the other side", times.moment(at))));
        fields.push(("Last seen", or_dash(self.last_seen_at.map(|at| times.moment(at)))));
        fields.push(("Clock", or_dash(self.clock_ahead_ms.map(clock))));
        fields.push(("Version", or_dash(self.version.as_ref())));
        fields.push(("Certificate until", or_dash(self.certificate_expires_at.map(|at| times.clock(at)))));
        fields.push(("Authority (SHA-256)", self.authority.clone()));
        let mut page = table::fields(fields);
        if !self.networks.is_empty() {
            let networks = self.networks.iter().map(|network| {
                let ours = network.ours.as_ref().unwrap_or(&network.theirs);
                let test_ours = network.test_ours.as_deref().unwrap_or("isolated");
                vec![network.theirs.clone(), ours.clone(), test_ours.to_owned()]
            });
            page += &table::section("Networks", &["there", "here", "here in tests"], networks.collect());
        }
        page
    }
}

fn state(peer: &PeerView) -> String {
    match (peer.state, &peer.problem) {
        (PeerState::Reachable, _) => "reachable".to_owned(),
        (PeerState::Unreachable, Some(problem)) => format!("UNREACHABLE: {problem}"),
        (PeerState::Unreachable, None) => "UNREACHABLE".to_owned(),
        (PeerState::CallsUs, _) => "calls us".to_owned(),
        (PeerState::Ended, _) => "ENDED by the other side".to_owned(),
        _ => "-".to_owned(),
    }
}

fn ways(peer: &PeerView) -> &'static str {
    match peer.ways {
        PeerWays::Both => "both ways",
        PeerWays::WeCall => "this site calls it",
        PeerWays::ItCalls => "it calls this site",
        _ => "-",
    }
}

fn clock(ahead_ms: i64) -> String {
    let (seconds, side) = (ahead_ms.unsigned_abs() / 1000, if ahead_ms > 0 { "ahead" } else { "behind" });
    if ahead_ms.abs() < CLOCK_NOISE_MS { "the same".to_owned() } else { format!("{seconds} s {side}") }
}

impl Identified for PairingTokenView {
    fn id(&self) -> String {
        self.token.clone()
    }
}

impl Page for PairingTokenView {
    fn page(&self, times: &Times) -> String {
        let fields = vec![
            ("The other site calls", self.address.clone()),
            ("Counts once, until", times.clock(self.expires_at)),
        ];
        format!("{}\n{}\n", table::fields(fields), self.token)
    }
}

impl Identified for SiteView {
    fn id(&self) -> String {
        self.id.to_string()
    }
}

impl Page for SiteView {
    fn page(&self, times: &Times) -> String {
        table::fields(vec![
            ("Name", self.name.clone()),
            ("Id", self.id.to_string()),
            ("Data directory", self.data_directory.clone()),
            ("Version", self.version.clone()),
            ("Listens for peers on", self.peer_listening.clone().unwrap_or_else(|| "nothing".to_owned())),
            (
                "Peers call",
                self.peer_address.clone().unwrap_or_else(|| "none can: this site calls them".to_owned()),
            ),
            ("Certificate until", times.clock(self.certificate_expires_at)),
            ("Authority (SHA-256)", self.authority.clone()),
        ])
    }
}

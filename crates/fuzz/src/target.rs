//! What is fuzzed: the decoders of the vault's and the journal's formats, of NBD's messages, of what
//! peers send that is no JSON, and of plans.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use nbd::codec::{handshake as hs, transmission as tx};

/// What a decoder says: why it refuses its input, if it does.
type Decode = Box<dyn Fn(&[u8]) -> Result<(), String> + Send + Sync>;

/// A decoder.
pub struct Target {
    /// Its name.
    pub name: String,
    pub(crate) decode: Decode,
    /// Inputs that it accepts.
    pub examples: Vec<Vec<u8>>,
    /// Bytes of memory that it may take whatever its input.
    pub(crate) fixed_bytes: usize,
}

impl Target {
    /// A decoder that accepts these examples.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        decode: impl Fn(&[u8]) -> Result<(), String> + Send + Sync + 'static,
        examples: Vec<Vec<u8>>,
    ) -> Self {
        Self { name: name.into(), decode: Box::new(decode), examples, fixed_bytes: FIXED_BYTES }
    }
}

/// Bytes of memory that any decoder may take: errors have messages.
const FIXED_BYTES: usize = 64 << 10;

/// All of them.
///
/// # Errors
/// When an example cannot be read.
pub fn targets() -> Result<Vec<Target>> {
    let mut targets = vault::fuzz::DECODERS.iter().map(of_vault).collect::<Result<Vec<_>>>()?;
    targets.extend(journal::fuzz::DECODERS.iter().map(of_journal).collect::<Result<Vec<_>>>()?);
    targets.extend(of_nbd());
    targets.extend(of_peer()?);
    targets.extend(of_plans());
    Ok(targets)
}

/// Golden files of a crate.
fn golden(crate_name: &str, names: &[&str]) -> Result<Vec<Vec<u8>>> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(crate_name).join("golden");
    let read = |name: &&str| {
        let path = golden.join(name);
        fs::read(&path).with_context(|| format!("reading {}", path.display()))
    };
    names.iter().map(read).collect()
}

fn of_journal(decoder: &journal::fuzz::Decoder) -> Result<Target> {
    let mut fixed_bytes = FIXED_BYTES;
    if decoder.name == "block" {
        // What its head says that it expands to, within limits.
        fixed_bytes += 2 << 20;
    }
    let decode = decoder.decode;
    let decode = move |bytes: &[u8]| decode(bytes).map_err(|error| error.to_string());
    let name = format!("journal-{}", decoder.name);
    Ok(Target { fixed_bytes, ..Target::new(name, decode, golden("journal", decoder.examples)?) })
}

fn of_vault(decoder: &vault::fuzz::Decoder) -> Result<Target> {
    let mut examples = golden("vault", decoder.examples)?;
    let mut fixed_bytes = FIXED_BYTES;
    if decoder.name == "frame" {
        // Nothing but a full frame is accepted, and no golden file holds what zstd may come to compress better.
        examples.push(zstd::bulk::compress(&b"frames, ".repeat(512 << 10), 1)?);
        fixed_bytes += 4 << 20;
    }
    let decode = decoder.decode;
    let decode = move |bytes: &[u8]| decode(bytes).map_err(|error| error.to_string());
    Ok(Target { fixed_bytes, ..Target::new(decoder.name, decode, examples) })
}

fn of_peer() -> Result<Vec<Target>> {
    let region: Vec<u8> = (0..16_384_u32).map(|place| (place / 512) as u8).collect();
    let change =
        |starts_zeroed| peer::RegionChange::new(&region, &[0..4096, 8192..16_384], starts_zeroed).encode();
    let mut incompressible = vec![0; 4096];
    env::Entropy::fill(&env::SeededEntropy::new(1), &mut incompressible);
    let plain = peer::RegionChange::new(&incompressible, std::slice::from_ref(&(0..4096)), true).encode();
    let regions = Target {
        // Before it is seen that they do not expand to what they say, there is room for a region.
        fixed_bytes: FIXED_BYTES + (4 << 20),
        ..Target::new(
            "peer-region",
            |bytes: &[u8]| peer::RegionChange::decode(bytes).map(drop).map_err(|error| error.to_string()),
            vec![change(true), change(false), plain],
        )
    };
    let position = journal::Position { segment: journal::SegmentNumber(1), offset_bytes: 9 };
    let part = |content| journal::Part { position, content };
    let parts =
        [part(journal::PartContent::Block(incompressible.into())), part(journal::PartContent::Seal([7; 32]))];
    let parts = Target::new(
        "peer-parts",
        |bytes: &[u8]| {
            // With the right digest, or nothing behind that would be seen.
            let content = &bytes[..bytes.len().saturating_sub(32)];
            let sealed = [content, &peer::Digest::of(content).0].concat();
            let decoded = peer::replicas::decode(&sealed.into());
            decoded.map(drop).map_err(|error| error.to_string())
        },
        vec![peer::replicas::encode(&parts)?.to_vec()],
    );
    let token = peer::pairing::PairingToken {
        site: model::SiteId::from_random([1; 10]),
        id: model::PairingId::from_random([2; 10]),
        authority: peer::Fingerprint([3; 32]),
        secret: peer::pairing::PairingSecret::new([4; 32]),
        address: "[2001:db8::7]:8443".parse()?,
    };
    let tokens = Target::new(
        "peer-token",
        |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
            text.parse::<peer::pairing::PairingToken>().map(drop).map_err(|error| error.to_string())
        },
        vec![token.to_text().into_bytes()],
    );
    let certificate: serde_json::Value =
        serde_json::from_slice(include_bytes!("../../peer/golden/site-v1.json"))?;
    let certificate = certificate["authority_certificate"].as_str().and_then(peer::hex::decode);
    let authorities = Target::new(
        "peer-authority",
        |bytes: &[u8]| peer::Authority::new(bytes.to_vec()).map(drop).map_err(|error| error.to_string()),
        vec![certificate.unwrap_or_default()],
    );
    Ok(vec![regions, parts, tokens, authorities])
}

/// Documents of people and of paired sites, and runs as they are kept.
fn of_plans() -> Vec<Target> {
    const TOML: &str = "version = 1\nrto_seconds = 900\n[[groups]]\nname = \"a\"\n[[groups.vms]]\nname = \"db\"\n\
                        health = [{ agent = true }, { tcp = { port = 5432 } }, { command = [\"pg_isready\"] }]\n\
                        networks = [{ device = 0, production = { bridge = \"br0\", address = \"10.2.0.5/24\" } }]\n\
                        [[groups.post]]\nname = \"b\"\nscript = { command = [\"x\", \"y z\"] }\non_failure = \"ask\"\n";
    const YAML: &str = "version: 1\ngroups:\n  - name: a\n    vms:\n      - name: db\n        health: &h\n          - agent: true\n\
                        \x20     - { name: app, health: *h }\n    post:\n      - name: b\n        guest: { vm: db, command: [x, \"y z\"] }\n";
    const RUNBOOK: &str =
        "version = 1\nscript = { command = [\"x\", \"{{a}}\"] }\n[parameters.a]\ndefault = \"30\"\n";
    let document = |name: &str, example: &str, decode: fn(&str) -> Result<(), String>| {
        let decode =
            move |bytes: &[u8]| decode(std::str::from_utf8(bytes).map_err(|error| error.to_string())?);
        // Trees of words take more than their text.
        Target { fixed_bytes: 4 << 20, ..Target::new(name, decode, vec![example.as_bytes().to_vec()]) }
    };
    let plan: fn(&str) -> Result<(), String> = |text| {
        let plan = plan::read(text, plan::Format::of(text)).map_err(|finding| finding.to_string())?;
        drop(plan::validate(&plan));
        Ok(())
    };
    let runbook: fn(&str) -> Result<(), String> = |text| {
        let runbook = plan::read_runbook(text).map_err(|finding| finding.to_string())?;
        drop(runbook.validate());
        Ok(())
    };
    let run: fn(&str) -> Result<(), String> =
        |text| plan::Run::decode(text).map(drop).map_err(|error| error.to_string());
    let begun = plan::read(TOML, plan::Format::Toml).map(|plan| {
        let begin = plan::Begin {
            plan: "shop".to_owned(),
            plan_version: 1,
            kind: plan::Kind::Test,
            direction: plan::Direction::Failover,
            point: "latest".to_owned(),
            operator: "ada".to_owned(),
        };
        plan::Run::begin(&plan, begin, model::Timestamp::from_microseconds(1_790_000_000_000_000)).encode()
    });
    vec![
        document("plan-toml", TOML, plan),
        document("plan-yaml", YAML, plan),
        document("plan-runbook", RUNBOOK, runbook),
        document("plan-run", &begun.unwrap_or_default(), run),
    ]
}

fn of_nbd() -> Vec<Target> {
    let encoded = |encode: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        bytes
    };
    let export = || "disk-0".to_owned();
    let option = hs::OptionHeader { code: hs::OptionCode::GO, length_bytes: 7 };
    let reply = hs::OptionReplyHeader { code: hs::OptionCode::GO, kind: hs::ReplyKind::ACK, length_bytes: 0 };
    let go = hs::GoRequest { export: export(), infos: vec![hs::Info::BLOCK_SIZE] };
    let contexts =
        hs::MetaContextRequest { export: export(), contexts: vec![nbd::BASE_ALLOCATION.to_owned()] };
    let context = hs::MetaContext { id: 1, name: nbd::BASE_ALLOCATION.to_owned() };
    let sizes = hs::BlockSizes { minimum_bytes: 1, preferred_bytes: 4096, maximum_bytes: 32 << 20 };
    let (cookie, offset_bytes) = (tx::Cookie(1), 1 << 32);
    let request =
        tx::Request { flags: 0, command: tx::Command::READ, cookie, offset_bytes, length_bytes: 4096 };
    let simple = tx::ReplyHeader::Simple { cookie, error: tx::ErrorCode::IO };
    let chunk = tx::ReplyHeader::Chunk { cookie, is_last: true, kind: tx::ChunkKind::NONE, length_bytes: 0 };
    let descriptor = tx::BlockDescriptor { length_bytes: 4096, flags: 1 };
    let status = tx::BlockStatus { context_id: 1, descriptors: vec![descriptor; 3] };
    let error = tx::ChunkError { code: tx::ErrorCode::IO, message: "no".to_owned() };
    let hole = tx::Hole { offset_bytes, length_bytes: 4096 };
    vec![
        nbd(
            "greeting",
            hs::Greeting::decode,
            vec![encoded(&|out| hs::Greeting { flags: hs::HandshakeFlags(3) }.encode(out))],
        ),
        nbd("option", hs::OptionHeader::decode, vec![encoded(&|out| option.encode(out))]),
        nbd("option-reply", hs::OptionReplyHeader::decode, vec![encoded(&|out| reply.encode(out))]),
        nbd("go", hs::GoRequest::decode, vec![encoded(&|out| go.encode(out))]),
        nbd("contexts", hs::MetaContextRequest::decode, vec![encoded(&|out| contexts.encode(out))]),
        nbd("context", hs::MetaContext::decode, vec![encoded(&|out| context.encode(out))]),
        nbd("server", hs::decode_server, vec![encoded(&|out| hs::encode_server("disk-0", out))]),
        nbd("info", hs::Info::decode, vec![encoded(&|out| hs::Info::BlockSizes(sizes).encode(out))]),
        nbd("request", tx::Request::decode, vec![request.encode().to_vec()]),
        nbd(
            "reply",
            tx::ReplyHeader::decode,
            vec![encoded(&|out| simple.encode(out)), encoded(&|out| chunk.encode(out))],
        ),
        nbd("block-status", tx::BlockStatus::decode, vec![encoded(&|out| status.encode(out))]),
        nbd("chunk-error", tx::ChunkError::decode, vec![encoded(&|out| error.encode(out))]),
        nbd("hole", tx::Hole::decode, vec![encoded(&|out| hole.encode(out))]),
    ]
}

fn nbd<T: 'static>(
    name: &str,
    decode: fn(&[u8]) -> Result<T, nbd::codec::Malformed>,
    examples: Vec<Vec<u8>>,
) -> Target {
    let decode = move |bytes: &[u8]| decode(bytes).map(drop).map_err(|error| error.to_string());
    Target::new(format!("nbd-{name}"), decode, examples)
}

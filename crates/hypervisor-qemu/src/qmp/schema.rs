//! What this QEMU can do, by its own word. Versions lie: distributions add features to and take them from their builds.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

/// The abilities of a QEMU that Holdfast looks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// The copy-before-write filter that breaks the snapshot rather than the guest, with a limit on waiting.
    pub(crate) breaking_filter: bool,
    /// The node that reads the moment which a copy-before-write filter preserves.
    pub(crate) snapshot_access: bool,
    /// Exports over NBD.
    pub(crate) nbd_export: bool,
    /// Exports as a file, through FUSE.
    pub(crate) fuse_export: bool,
    /// Dirty bitmaps that start and stop in a transaction.
    pub(crate) bitmap_transactions: bool,
    /// Mirrors that hand each write on before the guest is told that it is done, and NBD servers to hand it to.
    pub(crate) write_blocking_mirror: bool,
    /// Histograms of the guest's latency.
    pub(crate) latency_histogram: bool,
}

impl Capabilities {
    /// Reads the answer of `query-qmp-schema`.
    pub(crate) fn from_schema(schema: &Value) -> Self {
        let entries = schema.as_array().map(Vec::as_slice).unwrap_or_default();
        let schema =
            Schema(entries.iter().filter_map(|entry| Some((entry["name"].as_str()?, entry))).collect());
        let filter = schema.variant("blockdev-add", "copy-before-write").map(|branch| schema.members(branch));
        let actions = schema.transaction_actions();
        let mirror = schema.arguments("blockdev-mirror").map(|mirror| schema.members(mirror));
        let target = schema.variant("blockdev-add", "nbd").map(|branch| schema.members(branch));
        let exports = schema.cases(schema.arguments("block-export-add"));
        Self {
            breaking_filter: filter
                .is_some_and(|members| members.contains("on-cbw-error") && members.contains("cbw-timeout")),
            snapshot_access: schema.variant("blockdev-add", "snapshot-access").is_some(),
            nbd_export: exports.contains_key("nbd"),
            fuse_export: exports.contains_key("fuse"),
            bitmap_transactions: ["add", "disable", "enable", "merge", "remove"]
                .iter()
                .all(|verb| actions.contains_key(format!("block-dirty-bitmap-{verb}").as_str())),
            write_blocking_mirror: mirror.is_some_and(|members| members.contains("copy-mode"))
                && target.is_some_and(|members| members.contains("open-timeout")),
            latency_histogram: schema.0.contains_key("block-latency-histogram-set"),
        }
    }
}

/// The schema's entries by name. Types have meaningless names and refer to each other.
struct Schema<'a>(HashMap<&'a str, &'a Value>);

impl<'a> Schema<'a> {
    fn entry(&self, name: &Value) -> Option<&'a Value> {
        self.0.get(name.as_str()?).copied()
    }

    fn arguments(&self, command: &str) -> Option<&'a Value> {
        self.entry(&self.0.get(command)?["arg-type"])
    }

    fn cases(&self, union: Option<&'a Value>) -> HashMap<&'a str, &'a Value> {
        let variants =
            union.and_then(|union| union["variants"].as_array()).map(Vec::as_slice).unwrap_or_default();
        variants.iter().filter_map(|variant| Some((variant["case"].as_str()?, &variant["type"]))).collect()
    }

    fn variant(&self, command: &str, case: &str) -> Option<&'a Value> {
        self.cases(self.arguments(command)).get(case).and_then(|name| self.entry(name))
    }

    fn members(&self, object: &'a Value) -> HashSet<&'a str> {
        let members = object["members"].as_array().map(Vec::as_slice).unwrap_or_default();
        members.iter().filter_map(|member| member["name"].as_str()).collect()
    }

    fn transaction_actions(&self) -> HashMap<&'a str, &'a Value> {
        let members = self.arguments("transaction").and_then(|arguments| arguments["members"].as_array());
        let actions = members.into_iter().flatten().find(|member| member["name"] == "actions");
        let array = actions.and_then(|actions| self.entry(&actions["type"]));
        self.cases(array.and_then(|array| self.entry(&array["element-type"])))
    }
}

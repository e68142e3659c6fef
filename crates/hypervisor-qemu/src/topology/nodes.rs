//! Nodes of QEMU's block graph.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::names;

/// Drivers that pass everything through to the node below.
const FILTERS: [&str; 10] = [
    "blkdebug",
    "blklogwrites",
    "blkverify",
    "commit_top",
    "compress",
    "copy-before-write",
    "copy-on-read",
    "mirror_top",
    "preallocate",
    "throttle",
];

/// All nodes that QEMU names, by name.
pub(super) struct Nodes<'a>(HashMap<&'a str, &'a Value>);

impl<'a> Nodes<'a> {
    /// Reads the answer of `query-named-block-nodes`.
    pub(super) fn new(answer: &'a Value) -> Self {
        Self(entries(answer).filter_map(|node| Some((node["node-name"].as_str()?, node))).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).copied()
    }

    /// Goes down from a device's entry in `query-blockstats` to the node that holds the disk's format: the first that is
    /// no filter.
    pub(super) fn format_node(&self, device_stats: &'a Value) -> Option<&'a str> {
        let mut layer = device_stats;
        loop {
            let name = layer["node-name"].as_str()?;
            let driver = self.get(name)?["drv"].as_str()?;
            if !FILTERS.contains(&driver) && !names::is(names::shield, name) {
                return Some(name);
            }
            layer = &layer["parent"]; // QEMU's word for the child that a filter stands on
        }
    }
}

/// The highest node below a device that belongs to no capture, by the device's entry in `query-blockstats`.
pub(super) fn below_captures(device_stats: &Value) -> Option<&str> {
    let mut layer = device_stats;
    loop {
        let name = layer["node-name"].as_str()?;
        if !names::is(names::filter, name) && !names::is(names::shield, name) {
            return Some(name);
        }
        layer = &layer["parent"];
    }
}

/// The elements of an array; nothing for what is no array.
pub(super) fn entries(answer: &Value) -> impl Iterator<Item = &Value> {
    answer.as_array().into_iter().flatten()
}

/// The file below a node, from the name that QEMU prints for it.
pub(super) fn file_path(printed: &str) -> PathBuf {
    let parsed =
        printed.strip_prefix("json:").and_then(|options| serde_json::from_str::<Value>(options).ok());
    let mut layer = parsed.as_ref().unwrap_or(&Value::Null);
    while layer["file"].is_object() {
        layer = &layer["file"];
    }
    match layer["filename"].as_str().or_else(|| layer["file.filename"].as_str()) {
        Some(filename) => PathBuf::from(filename),
        None => Path::new(printed).to_owned(),
    }
}

/// Whether a number of bytes can be a disk's: images are made of whole sectors.
pub(super) fn is_disk_size(size_bytes: u64) -> bool {
    size_bytes > 0 && size_bytes.is_multiple_of(512)
}

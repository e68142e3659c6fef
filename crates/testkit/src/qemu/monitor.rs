//! The test's own way into QEMU, beside Holdfast's.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::json_lines::JsonLines;

/// Runs one QMP command on a monitor that nobody else uses.
pub(super) async fn execute(socket: &Path, command: &str, arguments: &Value) -> Result<Value> {
    let mut monitor = JsonLines::connect(socket).await?;
    monitor.next().await?.context("QEMU closed its monitor")?;
    monitor.call("qmp_capabilities", &json!({})).await?;
    monitor.call(command, arguments).await
}

/// The names of everything of Holdfast's in a QEMU: nodes, exports and block jobs.
pub(super) async fn names_of_holdfast(socket: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for (query, key) in [
        ("query-named-block-nodes", "node-name"),
        ("query-block-exports", "id"),
        ("query-block-jobs", "device"),
    ] {
        let list = execute(socket, query, &json!({})).await?;
        names.extend(
            list.as_array().into_iter().flatten().filter_map(|entry| entry[key].as_str()).map(str::to_owned),
        );
    }
    names.retain(|name| name.starts_with("holdfast-"));
    Ok(names)
}

/// The names of Holdfast's dirty bitmaps in a QEMU, sorted; a name for each disk that has it.
pub(super) async fn bitmaps(socket: &Path) -> Result<Vec<String>> {
    let nodes = execute(socket, "query-named-block-nodes", &json!({})).await?;
    let bitmaps = nodes.as_array().into_iter().flatten().filter_map(|node| node["dirty-bitmaps"].as_array());
    let mut names: Vec<_> =
        bitmaps.flatten().filter_map(|bitmap| bitmap["name"].as_str()).map(str::to_owned).collect();
    names.retain(|name| name.starts_with("holdfast-"));
    names.sort();
    Ok(names)
}

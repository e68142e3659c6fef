use serde_json::json;

use super::nodes::{Nodes, file_path};
use crate::names;

#[test]
fn the_format_node_is_below_all_filters() {
    let nodes = json!([
        {"node-name": "filter", "drv": "copy-before-write"},
        {"node-name": "limit", "drv": "throttle"},
        {"node-name": "disk", "drv": "qcow2"},
        {"node-name": "file", "drv": "file"},
    ]);
    let nodes = Nodes::new(&nodes);
    let disk = json!({"node-name": "disk", "parent": {"node-name": "file"}});
    let below = json!({"node-name": "filter", "parent": {"node-name": "limit", "parent": disk}});
    assert_eq!(nodes.format_node(&below), Some("disk"));
    assert_eq!(nodes.format_node(&disk), Some("disk"));
    assert_eq!(nodes.format_node(&json!({"node-name": "filter"})), None);
    assert_eq!(nodes.format_node(&json!({})), None);
}

#[test]
fn a_file_is_found_behind_qemus_ways_to_print_it() {
    assert_eq!(file_path("/images/a.qcow2").to_str(), Some("/images/a.qcow2"));
    let nested = r#"json:{"driver":"qcow2","file":{"driver":"file","filename":"/images/b, c.qcow2"}}"#;
    assert_eq!(file_path(nested).to_str(), Some("/images/b, c.qcow2"));
    assert_eq!(file_path(r#"json:{"file.filename":"/d.raw"}"#).to_str(), Some("/d.raw"));
    assert_eq!(file_path("json:{broken").to_str(), Some("json:{broken"));
}

#[test]
fn our_nodes_are_told_from_those_of_others() {
    assert!(names::is(names::filter, &names::filter(17)));
    assert!(!names::is(names::filter, &names::overlay(17)));
    assert!(!names::is(names::filter, "holdfast-filter-"));
    assert!(!names::is(names::filter, "holdfast-filter-x"));
    assert!(!names::is(names::filter, "libvirt-1-format"));
    assert!(names::overlay(999).len() <= 31, "QEMU takes no longer names");
}

use model::{PointId, VmId};

use crate::fixture::{MIB, changed_source, memory_vault, noise, point, source};
use crate::{Monitor, Vault};
use image::ByteRange;

fn id(number: u8) -> PointId {
    PointId::from_random([number; 10])
}

/// Three points: one, the same with a MiB changed, and one of another disk.
async fn vault() -> Vault {
    let (vault, _) = memory_vault().await;
    let mut bytes = noise(1, 8 * MIB);
    bytes.extend(vec![0; 8 * MIB]);
    let mut writer = vault.writer().await.unwrap();
    let first = writer.store_disk(source(&bytes), &Monitor::default()).await.unwrap();
    writer.commit(point(1, &first)).await.unwrap();
    bytes[MIB..2 * MIB].copy_from_slice(&noise(2, MIB));
    let changed = vec![ByteRange::new(MIB as u64, MIB as u64)];
    let mut writer = vault.writer().await.unwrap();
    let second = changed_source(&bytes, first.map, changed);
    let second = writer.store_disk(second, &Monitor::default()).await.unwrap();
    writer.commit(point(2, &second)).await.unwrap();
    let mut writer = vault.writer().await.unwrap();
    let third = writer.store_disk(source(&noise(3, 4 * MIB)), &Monitor::default()).await.unwrap();
    let mut of_another = point(3, &third);
    of_another.summary.vm_id = VmId::from_random([9; 10]);
    writer.commit(of_another).await.unwrap();
    vault
}

/// A size in MiB, rounded.
fn mib(bytes: model::ByteCount) -> u64 {
    (bytes.0 + MIB as u64 / 2) / MIB as u64
}

#[tokio::test]
async fn a_point_uses_what_its_disks_hold_and_owns_what_no_other_needs() {
    let vault = vault().await;
    let sizes = vault.sizes().await.unwrap();
    let told = [1, 2, 3].map(|number| sizes.points[&id(number)]);
    assert_eq!(told.map(|size| mib(size.used_bytes)), [8, 8, 4], "holes are not used");
    assert_eq!(told.map(|size| mib(size.unique_bytes)), [1, 1, 4]);
    let mut of_vms: Vec<_> = sizes.vms.values().map(|bytes| mib(*bytes)).collect();
    of_vms.sort_unstable();
    assert_eq!(of_vms, [4, 9]);
}

#[tokio::test]
async fn what_is_purged_is_needed_by_nobody() {
    let vault = vault().await;
    vault.set_settings(model::VaultSettings { soft_delete_days: 0, ..Default::default() }).await.unwrap();
    vault.delete_points(&[id(1)]).await.unwrap();
    let before = vault.sizes().await.unwrap();
    assert_eq!(mib(before.points[&id(2)].unique_bytes), 1, "until it is collected");
    vault.collect(&crate::CollectOptions::default(), &Monitor::default()).await.unwrap();
    let after = vault.sizes().await.unwrap();
    assert_eq!(mib(after.points[&id(2)].unique_bytes), 8);
}

#[tokio::test]
async fn a_node_is_read_no_oftener_for_many_points() {
    let vault = vault().await;
    let map = vault.point(id(2)).await.unwrap();
    for number in 10..40 {
        let mut again = map.clone();
        again.summary.id = id(number);
        let writer = vault.writer().await.unwrap();
        writer.commit(again).await.unwrap();
    }
    let sizes = vault.sizes().await.unwrap();
    assert_eq!(mib(sizes.points[&id(39)].used_bytes), 8);
    assert_eq!(mib(sizes.points[&id(39)].unique_bytes), 0);
    assert_eq!(sizes.vms.len(), 2);
}

use model::VmId;

use super::jitter_seconds;

#[test]
fn vms_are_spread_evenly_and_each_keeps_its_place() {
    let place = |number: u8| jitter_seconds(VmId::from_random([number; 10]).as_str(), 599);
    let mut thirds = [0; 3];
    (0..=255).for_each(|number| thirds[(place(number) / 200) as usize] += 1);
    assert!(thirds.iter().all(|&count| count > 60), "{thirds:?}");
    assert_eq!(place(7), place(7));
    assert_eq!(jitter_seconds(VmId::from_random([7; 10]).as_str(), 0), 0);
    assert!(jitter_seconds(VmId::from_random([7; 10]).as_str(), u32::MAX) > 0);
}

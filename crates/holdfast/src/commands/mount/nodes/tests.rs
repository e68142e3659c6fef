use super::*;

#[test]
fn a_number_stays_until_all_of_it_is_forgotten() {
    let mut nodes = Nodes::new();
    let entry = Place::Entry(b"/vda/etc".to_vec());
    let number = nodes.look_up(entry.clone());
    assert_eq!(nodes.look_up(entry.clone()), number);
    nodes.forget(number, 1);
    assert_eq!(nodes.place(number), Some(&entry));
    nodes.forget(number, 1);
    assert_eq!((nodes.place(number), nodes.number(&entry)), (None, None));
    assert_ne!(nodes.look_up(entry), number, "a number is never given twice");
}

#[test]
fn the_root_is_never_forgotten() {
    let mut nodes = Nodes::new();
    nodes.forget(1, u64::MAX);
    assert_eq!(nodes.place(1), Some(&Place::Root));
}

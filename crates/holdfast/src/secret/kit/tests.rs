use super::key_in;

const PAGE: &str = "\
HOLDFAST RECOVERY KIT                                         made on 2026-03-01
------------------------------------------------------------------------------
    Key slot    00ff

THE KEY
------------------------------------------------------------------------------
    holdfast-key-1

      group 1         group 2         group 3         group 4
      0011223344    5566778899    aabbccddee    ff00112233

      last
      01234567

TO RESTORE, ON ANY LINUX MACHINE THAT REACHES THE PLACE
------------------------------------------------------------------------------
 1. Install Holdfast.
    deadbeef
";

#[test]
fn the_key_is_found_on_the_whole_page() {
    assert_eq!(key_in(PAGE), "holdfast-key-1 0011223344 5566778899 aabbccddee ff00112233 01234567");
}

#[test]
fn a_key_by_itself_stays_what_it_is() {
    assert_eq!(key_in("Holdfast-Key-1-00ff-01\n"), "Holdfast-Key-1-00ff-01");
    assert_eq!(key_in("holdfast-key-1 00\nff 01\n"), "holdfast-key-1 00 ff 01");
    assert_eq!(key_in("nothing of the kind"), "nothing of the kind");
}

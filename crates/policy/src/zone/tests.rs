use super::Zone;

#[test]
fn zones_are_those_of_the_database() {
    let berlin: Zone = "europe/berlin".parse().unwrap();
    assert_eq!(berlin.to_string(), "Europe/Berlin");
    assert_eq!("UTC".parse::<Zone>().unwrap(), Zone::utc());
    for wrong in ["", "Mars/Olympus", "../passwd", "+02:00"] {
        assert!(wrong.parse::<Zone>().unwrap_err().to_string().contains("Europe/Berlin"), "{wrong}");
    }
}

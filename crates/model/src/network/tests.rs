use super::NetworkConnection;

#[test]
fn a_connection_reads_as_it_is_written_and_names_what_linux_can_name() {
    for text in ["br0", "vmbr1.100", "br-lan_2", "isolated"] {
        let connection: NetworkConnection = text.parse().unwrap();
        assert_eq!(connection.to_string(), text);
        let json = serde_json::to_string(&connection).unwrap();
        assert_eq!(serde_json::from_str::<NetworkConnection>(&json).unwrap(), connection);
    }
    for text in ["", ".", "..", "a/b", "br 0", "br0,restrict=off", "sixteen-bytes-xx"] {
        assert!(text.parse::<NetworkConnection>().is_err(), "{text:?}");
        assert!(serde_json::from_value::<NetworkConnection>(text.into()).is_err(), "{text:?}");
    }
}

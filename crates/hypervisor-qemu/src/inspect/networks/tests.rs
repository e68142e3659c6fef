use model::NetworkKind;

use super::parse_backends;

#[test]
fn backends_are_read_from_prose_in_both_its_shapes() {
    let prose = "hub 3\r\n \\ n1: ee: index=0,type=nic,model=e1000,macaddr=52:54:00:11:22:33\r\n\
                 virtio-net-pci.0: index=0,type=nic,model=virtio-net-pci\r\n \\ n0: index=0,type=user,restrict=on\r\n\
                 net1: index=0,type=user,net=10.0.2.0,restrict=off\r\nnonsense\r\n";
    let backends = parse_backends(prose);
    let kind = |id: &str| backends.get(id).map(|backend| backend.kind().0);
    assert_eq!(kind("n0"), Some(NetworkKind::Isolated));
    assert_eq!(kind("net1"), Some(NetworkKind::User));
    assert_eq!(kind("n1"), Some(NetworkKind::Disconnected));
    assert_eq!(kind("missing"), None);
}

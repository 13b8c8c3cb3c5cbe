use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _};

use super::*;

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn open() -> OpenSocket {
    OpenSocket { address: any(), socket: TcpListener::bind(any()).unwrap().into() }
}

fn port(open: &OpenSocket) -> u16 {
    TcpListener::from(open.socket.try_clone().unwrap()).local_addr().unwrap().port()
}

#[tokio::test]
async fn sockets_go_from_one_to_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("upgrade.sock");
    let door = Door::open(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // More than the kernel passes at once, or has room for.
    let (listeners, admin): (Vec<_>, _) = ((0..300).map(|_| open()).collect(), open());
    let give = hand_over(Some(&door), &listeners, Some(&admin));
    let take = async {
        let (predecessor, sockets) = Predecessor::meet(&path).await.unwrap();
        assert_eq!(predecessor.pid, Some(std::process::id() as i32));
        predecessor.release().await.unwrap();
        sockets
    };
    let ((), sockets) = tokio::join!(give, take);
    let ports = |sockets: &[OpenSocket]| sockets.iter().map(port).collect::<Vec<_>>();
    assert_eq!(ports(&sockets.listeners), ports(&listeners));
    assert_eq!(port(&sockets.admin.unwrap()), port(&admin));
    assert!(sockets.listeners.iter().all(|open| open.address == any()));
}

#[tokio::test]
async fn whoever_gives_up_is_followed_by_another() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("upgrade.sock");
    let door = Door::open(&path).unwrap();
    let listeners = [open()];
    let give = hand_over(Some(&door), &listeners, None);
    let take = async {
        drop(UnixStream::connect(&path).await.unwrap());
        let mut other = Wire::new(UnixStream::connect(&path).await.unwrap());
        other.send("sluicegate upgrade 99", None).await.unwrap();
        assert!(other.receive().await.unwrap().starts_with("refused: "));
        drop(Predecessor::meet(&path).await.unwrap());
        let (predecessor, sockets) = Predecessor::meet(&path).await.unwrap();
        predecessor.release().await.unwrap();
        assert_eq!(sockets.listeners.len(), 1);
    };
    tokio::join!(give, take);
}

#[tokio::test]
async fn a_door_is_nobody_elses() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("upgrade.sock");
    let error = |error: anyhow::Error| format!("{error:#}");
    assert!(error(Predecessor::meet(&path).await.err().unwrap()).contains("nobody to take over from"));
    fs::write(&path, "precious").unwrap();
    assert!(error(Door::open(&path).err().unwrap()).contains("is not a socket"));
    fs::remove_file(&path).unwrap();
    let door = Door::open(&path).unwrap();
    assert!(error(Door::open(&path).err().unwrap()).contains("--upgrade"));
    let mut next = Door::prepare(&path).unwrap();
    next.take_place().unwrap();
    drop(door);
    assert!(path.exists(), "it is the next one's");
    let mut last = Door::prepare(&path.with_extension("last")).unwrap();
    last.take_place().unwrap();
    last.give_up_place();
    assert!(path.with_extension("last").exists(), "a successor may be there at any moment");
    fs::remove_file(path.with_extension("last")).unwrap();
    drop(next);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    // What a killed process leaves behind is in nobody's way.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    Door::open(&path).unwrap();
}

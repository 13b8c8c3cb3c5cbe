//! Changes while traffic flows.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use sluicegate_policy::{Clock, seat};
use sluicegate_proxy::{
    ClusterSettings, ControlError, ListenerSettings, Route, RouteMatch, RouteTable, SpawnError, WorkerOptions,
    spawn_workers,
};

use crate::support::{GET, Origin, Proxy, QUICK, Wire, check_failure};

/// Clients that send requests until they are stopped, or told to go away.
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn new(proxy: &Proxy, count: usize) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let clients = (0..count).map(|_| {
            let (stop, served, address) = (Arc::clone(&stop), Arc::clone(&served), proxy.address);
            tokio::spawn(async move {
                let mut wire = Wire::connect(address).await;
                while !stop.load(SeqCst) {
                    let response = wire.get("/").await;
                    assert_eq!(response.status(), 200, "{response:?}");
                    served.fetch_add(1, SeqCst);
                    if response.header("connection") == Some("close") {
                        return;
                    }
                }
            })
        });
        Self { clients: clients.collect(), stop, served }
    }

    async fn finish(self) -> usize {
        self.stop.store(true, SeqCst);
        for client in self.clients {
            client.await.expect("zero failures");
        }
        self.served.load(SeqCst)
    }
}

#[tokio::test]
async fn endpoints_change_under_load_without_a_failure() {
    let (one, two, three) = (Origin::echo().await, Origin::echo().await, Origin::echo().await);
    let mut proxy = Proxy::with_workers(2, &[one.address, two.address], QUICK).await;
    let load = Load::new(&proxy, 8);
    for _ in 0..30 {
        for set in [&[two.address, three.address][..], &[three.address], &[one.address, two.address]] {
            proxy.set_endpoints(set).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert!(load.finish().await > 100);
    assert!(three.connections() > 0);
    proxy.settle().await;
}

#[tokio::test]
async fn draining_under_load_fails_nobody() {
    let origin = Origin::echo().await;
    let mut proxy = Proxy::with_workers(2, &[origin.address], QUICK).await;
    let load = Load::new(&proxy, 16);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let cut = proxy.workers.take().unwrap().drain(Duration::from_secs(10)).await;
    assert_eq!(cut, 0);
    assert!(load.finish().await > 16);
    assert!(tokio::net::TcpStream::connect(proxy.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_switch_of_protocols_while_it_drains_is_one() {
    let origin = Origin::new(|mut wire, _| async move {
        while let Some(request) = wire.head().await {
            if request.header("upgrade").is_some() {
                wire.send("HTTP/1.1 101 Yes\r\nConnection: upgrade\r\nUpgrade: own\r\n\r\nbye").await;
                return;
            }
            wire.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    })
    .await;
    let mut proxy = Proxy::new(&[origin.address], QUICK).await;
    let (mut client, mut other) = (proxy.connect().await, proxy.connect().await);
    for client in [&mut client, &mut other] {
        assert_eq!(client.get("/").await.status(), 204);
    }
    let workers = proxy.workers.take().unwrap();
    let retired = tokio::spawn(async move { workers.retire(Duration::from_secs(20)).await });
    while other.get("/").await.header("connection") != Some("close") {
        // It does not drain yet.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    client.send("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: own\r\nConnection: upgrade\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert_eq!((head.status(), head.header("connection")), (101, Some("upgrade")));
    assert_eq!(client.rest().await, b"bye");
    drop(client);
    assert_eq!(retired.await.unwrap(), 0);
}

#[tokio::test]
async fn a_request_that_outlasts_the_drain_is_cut_off_and_counted() {
    let origin = Origin::new(|mut wire, _| async move {
        wire.request().await;
        wire.ended().await;
    })
    .await;
    let settings = ClusterSettings { response_timeout: Duration::from_secs(60), ..QUICK };
    let mut proxy = Proxy::new(&[origin.address], settings).await;
    let mut client = proxy.connect().await;
    client.send(GET).await;
    crate::support::eventually("it is under way", || proxy.endpoint(0).live.in_flight() == 1).await;
    let cut = proxy.workers.take().unwrap().drain(Duration::from_millis(500)).await;
    assert_eq!((cut, proxy.endpoint(0).live.in_flight()), (1, 0));
    assert!(client.head().await.is_none());
}

#[tokio::test]
async fn routes_and_clusters_come_and_go_in_order() {
    let origin = Origin::echo().await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let handle = proxy.workers.as_ref().unwrap().handles()[0].clone();
    let name = || Arc::<str>::from("test");
    assert_eq!(handle.remove_cluster(name()).await, Err(ControlError::ClusterInUse(name())));
    let other = Route::to_cluster(RouteMatch::default(), "other");
    let unknown = handle.set_routes(Arc::new(RouteTable::new(vec![other]))).await;
    assert_eq!(unknown, Err(ControlError::UnknownCluster("other".into())));
    assert_eq!(proxy.connect().await.get("/").await.status(), 200);
    handle.set_routes(Arc::default()).await.unwrap();
    check_failure(&proxy, GET, 404, "no_route").await;
    handle.remove_cluster(name()).await.unwrap();
    assert_eq!(handle.update_cluster(name(), QUICK).await, Err(ControlError::UnknownCluster(name())));
    assert_eq!(handle.drain(Duration::from_millis(100)).await, Ok(0));
    assert_eq!(handle.drain(Duration::from_millis(100)).await, Err(ControlError::WorkerGone));
}

#[tokio::test]
async fn a_cluster_can_be_removed_under_a_request() {
    let origin = Origin::new(|mut wire, _| async move {
        wire.request().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate").await;
        wire.ended().await;
    })
    .await;
    let proxy = Proxy::new(&[origin.address], QUICK).await;
    let handle = proxy.workers.as_ref().unwrap().handles()[0].clone();
    let mut client = proxy.connect().await;
    client.send(GET).await;
    crate::support::eventually("it is under way", || proxy.endpoint(0).live.in_flight() == 1).await;
    handle.set_routes(Arc::default()).await.unwrap();
    handle.remove_cluster("test".into()).await.unwrap();
    assert_eq!(client.response("GET").await.unwrap().text(), "late");
    proxy.settle().await;
}

#[tokio::test]
async fn nobody_can_connect_before_the_start() {
    let options = WorkerOptions {
        clock: Clock::start(),
        access_log: false,
        limits: Arc::default(),
        thread_start: Arc::new(|_| Box::new(())),
    };
    let workers = spawn_workers(2, &[ListenerSettings::plain("127.0.0.1:0".parse().unwrap())], &options).unwrap();
    let address = workers.addresses()[0];
    assert_ne!(address.port(), 0);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    workers.start().await.unwrap();
    assert_eq!(Wire::connect(address).await.get("/").await.status(), 404);
    let (_, inbox) = seat(0, 1, options.clock, tokio::sync::mpsc::channel(1).0);
    drop(inbox);
    assert_eq!(workers.drain(Duration::from_millis(100)).await, 0);
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let options = WorkerOptions {
        clock: Clock::start(),
        access_log: false,
        limits: Arc::default(),
        thread_start: Arc::new(|_| Box::new(())),
    };
    let error = spawn_workers(1, &[ListenerSettings::plain(address)], &options).unwrap_err();
    assert!(matches!(error, SpawnError::Bind { address: named, .. } if named == address));
    assert!(error.to_string().starts_with(&format!("can't bind {address}: ")), "{error}");
}

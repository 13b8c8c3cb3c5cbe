use sluicegate_core::*;
use sluicegate_policy::*;
use std::{sync::Arc, time::Instant};
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let n: u16 = std::env::args().nth(2).map_or(16, |n| n.parse().unwrap());
    let engine = Engine::new(Limits::default(), None).unwrap();
    let clock = Clock::start();
    println!("clock {} overhead {}", clock.source(), clock.overhead_ns());
    let bytes = std::fs::read(path).unwrap();
    let artifact = match engine.load(&bytes) {
        Ok(a) => a,
        Err(e) => {
            println!("REFUSED {}: {e}", e.label());
            return;
        }
    };
    println!(
        "{:?} load {:?} exports {:?} imports {:?}",
        artifact.lane(),
        artifact.load_time,
        artifact.exports,
        artifact.imports
    );
    let specs: Vec<_> = (1..=n).map(|port| EndpointSpec::new(([127, 0, 0, 1], port).into())).collect();
    let snapshot = Arc::new(ClusterSnapshot::empty("test").next(&specs, &mut LiveArena::default(), 0));
    let spec =
        GenerationSpec { cluster: "c".into(), policy: "p".into(), artifact, config: "{}".into(), seed: 1, workers: 1 };
    let generation = Generation::new(1, spec);
    let r = generation.rehearse(&engine, &clock, &snapshot, None);
    println!("{r:?}");
    let t = Instant::now();
    let mut instance = generation.instance(&engine, 0, snapshot.clone(), 0).unwrap();
    println!("instance in {:?}", t.elapsed());
    let lane = instance.lane();
    let mut request = RequestHead::default();
    for _ in 0..5 {
        let mut best = f64::MAX;
        let mut per = Vec::new();
        for _ in 0..200 {
            let t = Instant::now();
            for i in 0..1000u64 {
                std::hint::black_box(lane.pick(i, 0, &mut request).unwrap());
            }
            let ns = t.elapsed().as_nanos() as f64 / 1000.;
            per.push(ns);
            best = best.min(ns);
        }
        per.sort_by(f64::total_cmp);
        let mut timed = Vec::new();
        for _ in 0..100000 {
            let a = clock.now();
            std::hint::black_box(lane.pick(a, 0, &mut request).unwrap());
            timed.push((clock.now() - a).saturating_sub(clock.overhead_ns()));
        }
        timed.sort();
        println!("best {best:.1} median {:.1} ns | timed p50 {} p99 {}", per[100], timed[50000], timed[99000]);
    }
}

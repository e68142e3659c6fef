use crate::machine::*;
use hypervisor::*;
#[tokio::test(flavor = "multi_thread")]
async fn zz() {
    let machine = Machine::start(&[Disk::qcow2("vroot"), Disk::raw("vdata")]);
    for i in 1..5 {
        let t = std::time::Instant::now();
        let phases = std::sync::Arc::new(std::sync::Mutex::new(vec![]));
        let p2 = phases.clone();
        let mut r = machine.request(i, (i > 1).then(|| i - 1));
        r.on_phase = std::sync::Arc::new(move |p| p2.lock().unwrap().push((p, t.elapsed())));
        let c = machine.hypervisor.capture(r).await.unwrap();
        let a = t.elapsed();
        let cost = c.cost().await;
        c.finish(CaptureOutcome::Kept).await.unwrap();
        eprintln!("ZZ {a:?} {:?} {:?} {cost:?}", t.elapsed(), phases.lock().unwrap());
    }
}

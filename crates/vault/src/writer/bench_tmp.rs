use crate::fixture::*;
use image::*;
use std::{os::unix::fs::FileExt, sync::Arc, time::Instant};
struct FileImage(Arc<std::fs::File>, u64);
#[async_trait::async_trait]
impl DiskImage for FileImage {
    fn size_bytes(&self) -> u64 {
        self.1
    }
    async fn extents(&self, range: ByteRange) -> Result<Vec<Extent>> {
        Ok(vec![Extent { range, kind: ExtentKind::Data }])
    }
    async fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let f = Arc::clone(&self.0);
        let n = buffer.len();
        let v = tokio::task::spawn_blocking(move || {
            let mut v = vec![0; n];
            f.read_exact_at(&mut v, offset).unwrap();
            v
        })
        .await
        .unwrap();
        buffer.copy_from_slice(&v);
        Ok(())
    }
}
struct FileTarget(Arc<std::fs::File>, u64);
#[async_trait::async_trait]
impl DiskTarget for FileTarget {
    fn size_bytes(&self) -> u64 {
        self.1
    }
    fn starts_zeroed(&self) -> bool {
        true
    }
    async fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        let f = Arc::clone(&self.0);
        let d = data.to_vec();
        tokio::task::spawn_blocking(move || f.write_all_at(&d, offset).unwrap()).await.unwrap();
        Ok(())
    }
    async fn write_zeroes(&self, _: ByteRange) -> Result<()> {
        Ok(())
    }
    async fn flush(&self) -> Result<()> {
        self.0.sync_all().unwrap();
        Ok(())
    }
}
fn usage() -> (f64, u64) {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = s.split(") ").nth(1).unwrap().split(' ').collect();
    let cpu = (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0;
    let st = std::fs::read_to_string("/proc/self/status").unwrap();
    let hwm = st
        .lines()
        .find(|l| l.starts_with("VmHWM"))
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    (cpu, hwm)
}
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore]
async fn bench() {
    let f = std::fs::File::open("/tmp/vault-bench/disk.img").unwrap();
    let n = f.metadata().unwrap().len();
    let loc = crate::StoreLocation::parse("/tmp/vault-bench/v").unwrap();
    let vault =
        crate::Vault::create(&loc, &[crate::NewSlot::KeyFile(key_file())], env::Env::system()).await.unwrap();
    let src = || crate::DiskSource {
        image: Arc::new(FileImage(Arc::new(f.try_clone().unwrap()), n)),
        parent: None,
        changes: None,
    };
    let lap = |what: &str, t: Instant, c: f64| {
        let (cpu, hwm) = usage();
        println!("{what}: {:.2}s wall {:.2} cpu, hwm {} MiB", t.elapsed().as_secs_f64(), cpu - c, hwm >> 10);
    };
    let (t, c) = (Instant::now(), usage().0);
    let s = back_up(&vault, 1, src()).await.unwrap();
    lap("full", t, c);
    println!("{s:?} {:?}", vault.stats().await.unwrap());
    let (t, c) = (Instant::now(), usage().0);
    back_up(&vault, 2, src()).await.unwrap();
    lap("again", t, c);
    let (t, c) = (Instant::now(), usage().0);
    let out = std::fs::File::create("/tmp/vault-bench/out.img").unwrap();
    out.set_len(n).unwrap();
    vault.restore_disk(&s.map, &FileTarget(Arc::new(out), n), &crate::Monitor::default()).await.unwrap();
    lap("restore", t, c);
    let (t, c) = (Instant::now(), usage().0);
    assert!(vault.verify(&crate::Monitor::default()).await.unwrap().is_clean());
    lap("verify", t, c);
}

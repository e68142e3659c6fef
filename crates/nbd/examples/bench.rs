use image::DiskImage;
use std::{sync::Arc, time::Instant};
#[tokio::main]
async fn main() {
    let socket = std::env::args().nth(1).unwrap();
    let n: usize = std::env::args().nth(2).unwrap().parse().unwrap();
    let image = Arc::new(nbd::NbdImage::connect(nbd::Endpoint::Unix(socket.into()), "", &[], n).await.unwrap());
    let start = Instant::now();
    let size = image.size_bytes();
    let mut set = tokio::task::JoinSet::new();
    for worker in 0..8u64 {
        let image = Arc::clone(&image);
        set.spawn(async move {
            let mut buffer = vec![0; 1 << 20];
            let mut offset = worker << 20;
            while offset + (1 << 20) <= size {
                image.read_at(offset, &mut buffer).await.unwrap();
                offset += 8 << 20;
            }
        });
    }
    while set.join_next().await.is_some() {}
    let s = start.elapsed().as_secs_f64();
    println!("{n} connections: {:.0} MB/s", size as f64 / s / 1e6);
}

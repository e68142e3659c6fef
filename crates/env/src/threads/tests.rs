use std::thread;

use super::Threads;

#[tokio::test]
async fn inline_work_stays_on_its_thread_and_pooled_work_leaves_it() {
    let here = thread::current().id();
    assert_eq!(Threads::Inline.run(|| thread::current().id()).await.unwrap(), here);
    assert_ne!(Threads::Pool.run(|| thread::current().id()).await.unwrap(), here);
}

use model::{JobId, VmId};

use super::Queue;

fn job(number: u8) -> JobId {
    JobId::from_random([number; 10])
}

fn vm(number: u8) -> Option<VmId> {
    Some(VmId::from_random([number; 10]))
}

#[test]
fn one_job_at_a_time_works_on_a_vm() {
    let queue = Queue::new(9);
    let (first, second) = (queue.enter(job(1), vm(1)), queue.enter(job(2), vm(1)));
    assert_eq!(second.try_begin(), Some(format!("job {}", job(1))), "even before the first has begun");
    assert_eq!(first.try_begin(), None);
    assert_eq!(second.try_begin(), Some(format!("job {}", job(1))));
    assert_eq!(queue.enter(job(3), vm(2)).try_begin(), None, "other VMs go on");
    drop(first);
    assert_eq!(second.try_begin(), None);
}

#[test]
fn only_so_many_jobs_run_at_once() {
    let queue = Queue::new(2);
    let tickets = [1, 2, 3, 4].map(|number| queue.enter(job(number), vm(number)));
    let waits = tickets.each_ref().map(|ticket| ticket.try_begin().is_some());
    assert_eq!(waits, [false, false, true, true]);
    let [first, _second, third, fourth] = tickets;
    drop(first);
    assert!(fourth.try_begin().is_some(), "the third was earlier");
    assert_eq!(third.try_begin(), None);
}

#[test]
fn a_job_that_waits_for_its_vm_takes_no_place() {
    let queue = Queue::new(2);
    let first = queue.enter(job(1), vm(1));
    let _second = queue.enter(job(2), vm(1));
    let third = queue.enter(job(3), None);
    assert_eq!(first.try_begin(), None);
    assert_eq!(third.try_begin(), None);
}

#[test]
fn a_prompt_job_waits_for_its_vm_and_for_nothing_else() {
    let queue = Queue::new(1);
    let backup = queue.enter(job(1), vm(1));
    assert_eq!(backup.try_begin(), None);
    let (same, other) = (queue.enter_promptly(job(2), vm(1)), queue.enter_promptly(job(3), vm(2)));
    assert_eq!(same.try_begin(), Some(format!("job {}", job(1))));
    assert_eq!(other.try_begin(), None, "although one job runs");
    drop(backup);
    assert_eq!(same.try_begin(), None);
    assert_eq!(queue.enter(job(4), None).try_begin(), None, "nobody waits for them either");
}

#[test]
fn an_operation_takes_a_vm_only_where_nobody_has_it() {
    let queue = Queue::new(1);
    let operation = queue.claim(vm(1).unwrap(), "starting it").unwrap();
    let waiting = queue.enter(job(1), vm(1));
    assert!(waiting.try_begin().is_some_and(|blocker| blocker.contains("starting it")));
    drop(operation);
    assert!(queue.claim(vm(1).unwrap(), "stopping it").is_err());
    assert_eq!(waiting.try_begin(), None);
    assert!(queue.claim(vm(2).unwrap(), "stopping it").is_ok(), "operations do not count as jobs");
}

#[tokio::test]
async fn a_place_given_up_wakes_those_behind() {
    let queue = Queue::new(1);
    let (first, second) = (queue.enter(job(1), None), queue.enter(job(2), None));
    first.begin(|blocker| panic!("waits for {blocker}")).await;
    let (waits, mut told) = tokio::sync::mpsc::unbounded_channel();
    let waiting = tokio::spawn(async move { second.begin(|blocker| waits.send(blocker).unwrap()).await });
    assert!(told.recv().await.is_some());
    drop(first);
    waiting.await.unwrap();
}

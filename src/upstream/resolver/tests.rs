//! Names and answers, with lookups that the tests control.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};

/// Lookups that each wait for an answer from the test; and how many there were.
fn steered() -> (Resolver, mpsc::Sender<io::Result<Vec<IpAddr>>>, Arc<AtomicUsize>) {
    let (answers, next) = mpsc::channel();
    let (next, count) = (Mutex::new(next), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    let lookup = move |host: &str| {
        assert_eq!(host, "api.test");
        counted.fetch_add(1, Ordering::SeqCst);
        next.lock().unwrap().recv().unwrap()
    };
    (Resolver::with("api.test", lookup), answers, count)
}

fn ip(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

/// As if the last answer had been asked for so long ago.
fn age(resolver: &Resolver, by: Duration) {
    resolver.0.state.send_modify(|state| {
        let answer = state.answer.as_mut().unwrap();
        answer.asked_at -= by;
    });
}

async fn no_lookup_runs(resolver: &Resolver) {
    resolver.0.state.subscribe().wait_for(|state| state.running.is_none()).await.unwrap();
}

#[tokio::test]
async fn one_lookup_serves_all_that_wait_and_then_half_a_minute() {
    let (resolver, answers, count) = steered();
    let waiting: Vec<_> = (0..64)
        .map(|_| {
            let resolver = resolver.clone();
            tokio::spawn(async move { resolver.addresses().await.unwrap() })
        })
        .collect();
    tokio::task::yield_now().await;
    answers.send(Ok(vec![ip(1), ip(2)])).unwrap();
    for waiting in waiting {
        assert_eq!(*waiting.await.unwrap(), [ip(1), ip(2)]);
    }
    age(&resolver, FRESH - Duration::from_secs(5));
    assert_eq!(*resolver.addresses().await.unwrap(), [ip(1), ip(2)]);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_answer_that_is_due_is_renewed_beside_the_calls() {
    let (resolver, answers, count) = steered();
    answers.send(Ok(vec![ip(1)])).unwrap();
    resolver.addresses().await.unwrap();
    age(&resolver, FRESH);
    // The lookup hangs, and no call waits for it, nor begins another.
    for _ in 0..10 {
        assert_eq!(*resolver.addresses().await.unwrap(), [ip(1)]);
    }
    answers.send(Ok(vec![ip(2)])).unwrap();
    no_lookup_runs(&resolver).await;
    assert_eq!(*resolver.addresses().await.unwrap(), [ip(2)]);
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_very_old_answer_is_used_when_its_renewal_takes_too_long() {
    let (resolver, answers, _) = steered();
    answers.send(Ok(vec![ip(1)])).unwrap();
    resolver.addresses().await.unwrap();
    age(&resolver, OLD);
    let begun = Instant::now();
    assert_eq!(*resolver.addresses().await.unwrap(), [ip(1)]);
    assert!(begun.elapsed() >= PATIENCE);
    // The next call does not wait anew.
    let begun = Instant::now();
    assert_eq!(*resolver.addresses().await.unwrap(), [ip(1)]);
    assert!(begun.elapsed() < PATIENCE);
    answers.send(Ok(vec![ip(2)])).unwrap();
    no_lookup_runs(&resolver).await;
    age(&resolver, OLD);
    answers.send(Ok(vec![ip(3)])).unwrap();
    assert_eq!(*resolver.addresses().await.unwrap(), [ip(3)]);
}

#[tokio::test]
async fn a_failed_lookup_leaves_the_last_good_answer_in_use() {
    let (resolver, answers, count) = steered();
    let failed = || Err(io::Error::other("server failure"));
    answers.send(failed()).unwrap();
    for _ in 0..10 {
        let error = resolver.addresses().await.unwrap_err().to_string();
        assert_eq!(error, "the name `api.test` cannot be looked up: server failure");
    }
    assert_eq!(count.load(Ordering::SeqCst), 1, "not at once again");
    resolver.0.state.send_modify(|state| state.failed = None);
    answers.send(Ok(vec![ip(1)])).unwrap();
    resolver.addresses().await.unwrap();
    for wrong in [failed(), Ok(Vec::new())] {
        age(&resolver, FRESH);
        resolver.0.state.send_modify(|state| state.failed = None);
        answers.send(wrong).unwrap();
        resolver.addresses().await.unwrap();
        no_lookup_runs(&resolver).await;
        assert_eq!(*resolver.addresses().await.unwrap(), [ip(1)]);
    }
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_tried_last() {
    let (resolver, answers, _) = steered();
    answers.send(Ok(vec![ip(1), ip(2), ip(3)])).unwrap();
    resolver.addresses().await.unwrap();
    resolver.demote(ip(1));
    resolver.demote(ip(9));
    assert_eq!(*resolver.addresses().await.unwrap(), [ip(2), ip(3), ip(1)]);
}

#[tokio::test]
async fn an_address_needs_no_lookup() {
    let resolver = Resolver::with("2001:db8::1", |_| panic!("no lookup"));
    assert_eq!(*resolver.addresses().await.unwrap(), ["2001:db8::1".parse::<IpAddr>().unwrap()]);
}

//! A ticket's task: what a reader that wants one sees, and when the upstream is asked.

use futures_util::future::join_all;

use super::*;
use crate::credential::policy::JSAPI_TICKET;

const PATIENCE: Duration = Duration::from_secs(5);

/// The generation that a reader gets, and how many seconds it takes.
async fn wanted(reader: &Reader) -> (Result<u64, Absent>, u64) {
    let began = clock();
    let got = reader.wanted(PATIENCE).await.map(|ticket| ticket.generation);
    (got, (clock() - began).round() as u64)
}

#[tokio::test(start_paused = true)]
async fn it_is_asked_every_five_minutes_while_there_is_demand_and_never_without() {
    let fake = Fake::new(|_, _| (1, issued(1)));
    let (reader, _task) = start(&JSAPI_TICKET, &fake, &Arc::default());
    tokio::time::sleep(secs(86_400)).await;
    assert_eq!(fake.count(), 0, "no demand");
    let first = join_all((0..100).map(|_| wanted(&reader))).await;
    assert!(first.iter().all(|got| *got == (Ok(1), 1)), "{first:?}");
    assert_eq!(fake.count(), 1);
    // An hour of demand, each second.
    for _ in 0..3600 {
        assert_eq!(wanted(&reader).await, (Ok(1), 0), "nobody waits for the next answers");
        tokio::time::sleep(secs(1)).await;
    }
    assert!((11..=13).contains(&fake.count()), "{:?}", fake.times());
    let gaps: Vec<_> = fake.times().windows(2).map(|pair| (pair[1] - pair[0]).round() as u64).collect();
    assert!(gaps.iter().all(|gap| (300..=303).contains(gap)), "{gaps:?}");
    let asked = fake.count();
    tokio::time::sleep(secs(3600)).await;
    assert_eq!(fake.count(), asked, "no demand, no call");
    assert_eq!(wanted(&reader).await, (Ok(1), 1), "after a pause it is asked first");
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_the_last_one_is_served_to_its_end() {
    // The first call is answered, then the upstream hangs for half a minute each time.
    let fake = Fake::new(|n, _| if n == 1 { (0, issued(1)) } else { (30, busy()) });
    let (reader, _task) = start(&JSAPI_TICKET, &fake, &Arc::default());
    assert_eq!(wanted(&reader).await, (Ok(1), 0));
    tokio::time::sleep(secs(900)).await;
    assert_eq!(wanted(&reader).await, (Ok(1), 5), "the first one waits for as long as anybody does");
    tokio::time::sleep(secs(30)).await;
    for _ in 0..60 {
        assert_eq!(wanted(&reader).await, (Ok(1), 0), "while it fails nobody waits");
        tokio::time::sleep(secs(60)).await;
    }
    tokio::time::sleep(secs(7200)).await;
    let (got, took) = wanted(&reader).await;
    assert!(matches!(got, Err(Absent::Passing { .. })) && took <= 5, "{got:?} {took}");
}

#[tokio::test(start_paused = true)]
async fn it_is_stored_and_a_restart_goes_on_with_it() {
    let store = Arc::default();
    let fake = Fake::healthy();
    let (reader, task) = start(&JSAPI_TICKET, &fake, &store);
    assert_eq!(wanted(&reader).await, (Ok(1), 0));
    task.shutdown().await;
    tokio::time::sleep(secs(200)).await;
    let (reader, task) = start(&JSAPI_TICKET, &fake, &store);
    assert_eq!((wanted(&reader).await, fake.count()), ((Ok(1), 0), 1));
    task.shutdown().await;
    tokio::time::sleep(secs(600)).await;
    let (reader, _task) = start(&JSAPI_TICKET, &fake, &store);
    assert_eq!((wanted(&reader).await, fake.count()), ((Ok(2), 0), 2));
}

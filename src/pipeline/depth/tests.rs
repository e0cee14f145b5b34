use std::sync::Mutex;

use super::*;
use crate::model::{DeadLetter, Trouble};
use crate::port::{BoxFuture, CallLimits};

/// Queues that answer as they are told.
#[derive(Default)]
struct Told(Mutex<Vec<Result<QueueDepth, Unsettled>>>);

impl DeadLetterSink for Told {
    fn call_limits(&self) -> CallLimits {
        CallLimits { entries: 10, bytes: 1 << 20 }
    }

    fn size_of(&self, letter: &DeadLetter) -> usize {
        letter.body.len()
    }

    fn depth<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<QueueDepth>, Unsettled>> {
        Box::pin(async { self.0.lock().unwrap().remove(0).map(Some) })
    }

    fn send<'a>(&'a self, _: &'a str, letters: &'a [&'a DeadLetter]) -> BoxFuture<'a, Vec<Result<(), Unsettled>>> {
        Box::pin(async { vec![Ok(()); letters.len()] })
    }
}

fn lines(metrics: &Metrics) -> Vec<String> {
    let text = metrics.render();
    text.lines().filter(|line| line.starts_with("meshgate_dlq_")).map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_shown_is_what_is_known() {
    let at = Timestamp::from_millis;
    let away = Unsettled { trouble: Trouble::Unavailable, message: "away".into() };
    let letters = Arc::new(Told(Mutex::new(vec![
        Ok(QueueDepth { letters: 3, oldest: Some(at(8_500)) }),
        Err(away),
        Ok(QueueDepth { letters: 0, oldest: None }),
        Ok(QueueDepth { letters: 7, oldest: None }),
        Ok(QueueDepth { letters: 1, oldest: None }),
    ])));
    let metrics = Arc::new(Metrics::new());
    // The last look finds another queue in the settings.
    let looks = Mutex::new(0);
    let queues = move || {
        let mut looks = looks.lock().unwrap();
        *looks += 1;
        BTreeSet::from([Arc::from(if *looks < 5 { "orders" } else { "orders-2" })])
    };
    let depths = Depths {
        letters: letters as _,
        queues,
        metrics: Arc::clone(&metrics),
        every: AWS_EVERY,
        clock: || Timestamp::from_millis(10_000),
    };
    let watching = tokio::spawn(async { watch(depths).await });
    let mut seen = Vec::new();
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        seen.push(lines(&metrics));
        tokio::time::sleep(AWS_EVERY - Duration::from_secs(1)).await;
    }
    watching.abort();
    let letters = |queue: &str, count| format!("meshgate_dlq_letters{{queue=\"{queue}\"}} {count}");
    let oldest = |seconds| format!("meshgate_dlq_oldest_seconds{{queue=\"orders\"}} {seconds}");
    let reachable = |queue: &str, is| format!("meshgate_dlq_reachable{{queue=\"{queue}\"}} {is}");
    let orders = "orders";
    assert_eq!(
        seen,
        [
            vec![letters(orders, 3), oldest("1.5"), reachable(orders, 1)],
            vec![reachable(orders, 0)],
            vec![letters(orders, 0), oldest("0"), reachable(orders, 1)],
            vec![letters(orders, 7), reachable(orders, 1)],
            vec![letters("orders-2", 1), reachable("orders-2", 1)],
        ]
    );
}

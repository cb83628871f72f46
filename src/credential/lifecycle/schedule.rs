//! When to fetch: ahead of a token's end, and after a failure. Arithmetic alone.

use std::time::Duration;

use tokio::time::Instant;

/// The old and the new token both work for so long, so a new one is fetched that long before the end.
const OVERLAP: Duration = Duration::from_secs(300);
/// A life of this kind is counted where the upstream says none that makes sense.
const FALLBACK_LIFE: Duration = Duration::from_secs(60);
/// No token is believed to live longer.
pub(super) const LONGEST_LIFE: Duration = Duration::from_secs(86_400);
/// A refusal is not over in seconds: asking more often only spends the quota.
pub(super) const AFTER_REFUSAL: Duration = Duration::from_secs(60);
/// A report that comes during the backoff waits for the next attempt if that is due within this time, which
/// is the time that its reader waits.
pub(super) const WORTH_WAITING: Duration = Duration::from_secs(5);

/// The life to count on, and whether that is what the upstream said.
pub(super) fn life(expires_in: Option<i64>) -> (Duration, bool) {
    match expires_in {
        Some(..=0) | None => (FALLBACK_LIFE, false),
        Some(secs) => {
            let said = Duration::from_secs(secs.unsigned_abs());
            (said.min(LONGEST_LIFE), said <= LONGEST_LIFE)
        }
    }
}

/// How long before its end a token is replaced: five minutes, or a fifth of a life shorter than 25 minutes.
pub(super) fn margin(life: Duration) -> Duration {
    OVERLAP.min(life / 5)
}

/// When to ask again after the upstream handed out the current token once more: at the usual time if that is
/// still ahead, else soon, but not in a spin (asking before the issuer is willing is no failure).
pub(super) fn after_same(now: Instant, ends: Instant, life: Duration) -> Instant {
    let usual = ends.checked_sub(margin(life)).unwrap_or(now);
    if usual > now {
        return usual;
    }
    let left = ends.saturating_duration_since(now);
    now + (left / 4).clamp(Duration::from_secs(1), Duration::from_secs(30))
}

/// 1, 2, 4 … 60 s after the first, second, third … failure in a row, times `jitter`.
pub(super) fn backoff(failures: u32, jitter: f64) -> Duration {
    let secs = 2_u32.saturating_pow(failures.saturating_sub(1)).min(60);
    // A jitter that is no sensible number must not panic in `mul_f64`.
    let jitter = if jitter.is_finite() { jitter.clamp(0.8, 1.2) } else { 1.0 };
    Duration::from_secs(secs.into()).mul_f64(jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expires_in_is_believed_within_reason() {
        for (said, life_secs, believed) in [
            (Some(7200), 7200, true),
            (Some(1), 1, true),
            (Some(345), 345, true),
            (Some(86_400), 86_400, true),
            (Some(86_401), 86_400, false),
            (Some(i64::MAX), 86_400, false),
            (Some(0), 60, false),
            (Some(-5), 60, false),
            (Some(i64::MIN), 60, false),
            (None, 60, false),
        ] {
            assert_eq!(life(said), (Duration::from_secs(life_secs), believed), "{said:?}");
        }
    }

    #[test]
    fn five_minutes_ahead_or_a_fifth_of_a_short_life() {
        for (life, ahead) in [(7200, 300), (1500, 300), (1499, 299), (600, 120), (60, 12), (5, 1)] {
            assert_eq!(margin(Duration::from_secs(life)).as_secs(), ahead, "{life}");
        }
    }

    #[test]
    fn the_same_token_again_is_asked_for_soon_but_not_in_a_spin() {
        let now = Instant::now();
        for (left, life, next) in
            [(7200, 7200, 6900), (298, 7200, 30), (100, 7200, 25), (12, 60, 3), (2, 60, 1)]
        {
            let at = after_same(now, now + Duration::from_secs(left), Duration::from_secs(life));
            assert_eq!((at - now).as_secs(), next, "{left} s left");
        }
    }

    #[test]
    fn failures_back_off_to_a_minute() {
        let secs: Vec<_> = (1..=9).map(|n| backoff(n, 1.0).as_secs()).collect();
        assert_eq!(secs, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff(1000, 1.0).as_secs(), 60);
        assert_eq!(backoff(7, 0.8).as_secs(), 48);
        assert_eq!(backoff(7, 9.0).as_secs(), 72);
        assert_eq!(backoff(1, f64::NAN).as_secs(), 1);
    }
}

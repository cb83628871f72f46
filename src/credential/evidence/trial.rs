//! What the refusals of one credential have shown: how many came in a row, whether others contradicted them, and what
//! the call found out that was sent again for all. No clock and no lock in here.

use std::time::Duration;

use super::Stamp;

/// So many calls refused in a row, while none was accepted, are no accident: of nodes of which half lag behind, one
/// such row in a million would come.
pub(super) const DEAD: usize = 20;

/// So many calls refused in a row, all sent after the latest accepted one, and that shows nothing any more where every
/// node knows the token: it may have been the last before a theft.
const TURNING: usize = 3;

/// Of two calls so far apart the later one does not reach the upstream first.
const APART: Duration = Duration::from_millis(20);

/// So long a credential whose refusals have been contradicted by other calls is not believed to be dead at once.
const DOUBT: Duration = Duration::from_secs(60);

/// What the refusals have shown.
#[derive(Debug, Default)]
pub(super) struct Trial {
    /// When the latest of the refused calls were sent, the last one first. Answers overtake each other: a row is what was
    /// sent after the latest call that was accepted, whenever its answer came.
    latest: [Stamp; DEAD],
    /// Hardly any call was accepted before the first refusal.
    early: bool,
    /// When a refused call was sent that no call sent well after it has contradicted yet.
    unanswered: Option<Stamp>,
    /// When a call was last refused while refusals had been wrong of late: as long as that goes on, it is renewed.
    contradicted: Option<Stamp>,
    probe: Probe,
}

/// One call that is sent again to find out, on behalf of all that were refused at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Probe {
    #[default]
    None,
    Running,
    /// It was refused too; when it was sent.
    Refused(Stamp),
}

/// What the probe has to say to a call that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProbeResult {
    /// There is none.
    None,
    /// It is being sent.
    Running,
    /// It was sent later than the call, and was refused too; no call that was sent after it has been accepted.
    Refused,
}

impl Trial {
    /// A call that was sent at `sent` has been refused, the latest of the accepted ones having been sent at `accepted`.
    /// `early`: hardly any was accepted yet. Whether it ends a row that is a proof.
    pub(super) fn refused(&mut self, sent: Stamp, accepted: Stamp, early: bool, now: Stamp) -> bool {
        if !self.is_any() {
            self.early = early;
        }
        if self.is_contradicted(accepted, now) {
            self.contradicted = Some(now);
        }
        match self.unanswered {
            Some(before) if !well_after(accepted, before) => {}
            _ => self.unanswered = Some(sent),
        }
        let was_dead = self.is_dead(accepted);
        let at = self.latest.partition_point(|later| *later >= sent);
        if at < DEAD {
            self.latest[at..].rotate_right(1);
            self.latest[at] = sent;
        }
        !was_dead && self.is_dead(accepted)
    }

    /// Whether any call was refused.
    pub(super) fn is_any(&self) -> bool {
        self.unanswered.is_some()
    }

    /// Whether some node may not have known it at its first refusal.
    pub(super) fn was_early(&self) -> bool {
        self.early
    }

    /// Whether a call was refused that was sent after the latest accepted one.
    pub(super) fn is_refused(&self, accepted: Stamp) -> bool {
        self.in_a_row(accepted) > 0
    }

    /// Whether so many in a row were refused that what was accepted before shows nothing.
    pub(super) fn is_turning(&self, accepted: Stamp) -> bool {
        self.in_a_row(accepted) >= TURNING
    }

    /// Whether so many in a row were refused that it is no accident.
    pub(super) fn is_dead(&self, accepted: Stamp) -> bool {
        self.in_a_row(accepted) == DEAD
    }

    /// Whether its refusals were wrong of late.
    pub(super) fn is_contradicted(&self, accepted: Stamp, now: Stamp) -> bool {
        let lately = |at: &Stamp| now.since(*at) < DOUBT;
        self.contradicted.as_ref().is_some_and(lately)
            || self.unanswered.as_ref().filter(|at| lately(at)).is_some_and(|at| well_after(accepted, *at))
    }

    /// Whether a call may become the probe: then it is.
    pub(super) fn begin_probe(&mut self) -> bool {
        let free = self.probe != Probe::Running;
        self.probe = Probe::Running;
        free
    }

    /// The probe is over; when it was sent, if it was refused.
    pub(super) fn end_probe(&mut self, refused: Option<Stamp>) {
        self.probe = refused.map_or(Probe::None, Probe::Refused);
    }

    /// What the probe says to a call that was sent at `sent`.
    pub(super) fn probe_result(&self, sent: Stamp, accepted: Stamp) -> ProbeResult {
        match self.probe {
            Probe::Running => ProbeResult::Running,
            Probe::Refused(at) if at > sent && at >= accepted => ProbeResult::Refused,
            Probe::None | Probe::Refused(_) => ProbeResult::None,
        }
    }

    /// Refused calls that were sent after the latest accepted one, up to [`DEAD`].
    fn in_a_row(&self, accepted: Stamp) -> usize {
        self.latest.partition_point(|sent| *sent > Stamp::default() && *sent >= accepted)
    }
}

fn well_after(accepted: Stamp, sent: Stamp) -> bool {
    accepted > sent && accepted.since(sent) >= APART
}

//! Whether a revision on trial is worse than the one that runs.

use std::time::Duration;

use weighbridge_crds::{AbortThresholds, CanaryStep, Latencies, OnInconclusive, Pause, RevisionFigures};

/// The percentile by which latencies are compared.
const PERCENTILE: u64 = 95;
/// A difference of fewer standard errors may be chance: one of three is met once in 700 looks, and figures are looked at
/// often.
const STANDARD_ERRORS: f64 = 3.0;

/// What is judged.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// The step.
    pub step: &'a CanaryStep,
    /// How much worse it may be.
    pub abort: AbortThresholds,
    /// What becomes of it where too little is known.
    pub on_inconclusive: OnInconclusive,
    /// How long the step was measured.
    pub elapsed: Duration,
    /// Whether a person has said that the step is passed.
    pub told: bool,
    /// Of the revision that runs, since the step began.
    pub stable: &'a RevisionFigures,
    /// Of the revision on trial, since the step began.
    pub canary: &'a RevisionFigures,
}

/// What comes of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is measured on.
    Continue,
    /// It is passed.
    Advance,
    /// It is over, and waits, for this reason.
    Hold(String),
    /// The revision goes, for this reason.
    Abort(String),
}

/// How one figure of a revision on trial compares.
enum Compared {
    /// Not worse than it may be.
    Good,
    /// Worse, and it may be chance.
    Unclear,
    /// Worse.
    Worse(String),
}

/// Judges a step.
///
/// Guarantees: no step is passed with fewer than `minRequests` of either revision, unless a person or `onInconclusive` says so;
/// nothing is aborted by figures that both revisions share; what is aborted is worse than it may be by more than chance, or
/// `onInconclusive` says so.
pub fn judge(judged: &Judged<'_>) -> Verdict {
    let Judged { step, abort, on_inconclusive, elapsed, told, stable, canary } = *judged;
    let least = u64::try_from(abort.min_requests).unwrap_or(1).max(1);
    let enough = stable.requests.min(canary.requests) >= least;
    let mut unclear = false;
    if enough {
        let ttft = (&stable.time_to_first_token, &canary.time_to_first_token);
        let between = (&stable.inter_token_latency, &canary.inter_token_latency);
        for compared in [
            errors(stable, canary, abort.error_rate),
            latency("time to first token", ttft, abort.time_to_first_token, least),
            latency("time between two tokens", between, abort.inter_token_latency, least),
        ] {
            match compared {
                Compared::Good => {}
                Compared::Unclear => unclear = true,
                Compared::Worse(words) => return Verdict::Abort(words),
            }
        }
    }
    if told {
        return Verdict::Advance;
    }
    match step.pause {
        Pause::Manual => return Verdict::Hold("the step's pause is Manual".to_owned()),
        Pause::For(pause) if elapsed < pause.get() => return Verdict::Continue,
        Pause::For(_) => {}
    }
    if enough && !unclear {
        return Verdict::Advance;
    }
    // No figure that moves: it would be written anew with each.
    let why = if enough {
        "inconclusive: it is worse than abort allows, by no more than chance may do".to_owned()
    } else {
        format!(
            "inconclusive: fewer than {least} requests of each revision (abort.minRequests) were measured"
        )
    };
    match on_inconclusive {
        OnInconclusive::Hold => Verdict::Hold(format!("{why}; onInconclusive is Hold")),
        OnInconclusive::Promote => Verdict::Advance,
        OnInconclusive::Abort => Verdict::Abort(format!("{why}; onInconclusive is Abort")),
    }
}

fn errors(stable: &RevisionFigures, canary: &RevisionFigures, points: i32) -> Compared {
    let share = |figures: &RevisionFigures| figures.failed as f64 / (figures.requests.max(1)) as f64;
    let (of_stable, of_canary) = (share(stable), share(canary));
    if of_canary - of_stable <= f64::from(points) / 100.0 {
        return Compared::Good;
    }
    // Of two shares that were one and the same, so far apart by chance.
    let (n, m) = (stable.requests as f64, canary.requests as f64);
    let pooled = (stable.failed + canary.failed) as f64 / (n + m);
    let error = (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt();
    if of_canary - of_stable < STANDARD_ERRORS * error {
        return Compared::Unclear;
    }
    Compared::Worse(format!(
        "error rate {:.1} % against {:.1} % over {} requests",
        of_canary * 100.0,
        of_stable * 100.0,
        canary.requests
    ))
}

fn latency(what: &str, (stable, canary): (&Latencies, &Latencies), percent: i32, least: u64) -> Compared {
    // Callers who don't stream have none.
    if stable.count().min(canary.count()) < least {
        return Compared::Good;
    }
    let (Some(of_stable), Some(of_canary)) = (stable.percentile(PERCENTILE), canary.percentile(PERCENTILE))
    else {
        return Compared::Good;
    };
    let most = of_stable * (1.0 + f64::from(percent) / 100.0);
    if of_canary <= most {
        return Compared::Good;
    }
    // Of as many as these one in twenty is above the percentile, and so many more by chance.
    let (n, usual) = (canary.count() as f64, 1.0 - PERCENTILE as f64 / 100.0);
    let error = (usual * (1.0 - usual) / n).sqrt();
    if canary.longer_than(most) as f64 / n < usual + STANDARD_ERRORS * error {
        return Compared::Unclear;
    }
    Compared::Worse(format!(
        "{what} {} against {} at the {PERCENTILE}th percentile of {}",
        length(of_canary),
        length(of_stable),
        canary.count()
    ))
}

fn length(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}

#[cfg(test)]
mod tests;

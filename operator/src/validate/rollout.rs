use weighbridge_crds::{
    AbortThresholds, Canary, CanaryStep, Capacity, ModelDeploymentSpec, Pause, Rollout, RolloutStrategy,
};

use super::Refusal;

/// How one revision follows another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The new one comes before the old one goes.
    Surge,
    /// The old one goes before the new one comes.
    Replace,
    /// The new one is tried beside the old one, by steps of which there is one at least.
    Canary(Canary),
}

/// What the CRD says too; an older one does not.
pub(super) fn strategy(spec: &ModelDeploymentSpec) -> Result<Strategy, Refusal> {
    let Some(Rollout { strategy, canary }) = &spec.rollout else { return Ok(Strategy::Surge) };
    if spec.open_weights.is_none() {
        return Err(Refusal::invalid(
            "rollout is of engine pods, and a model with external alone has none: remove it",
        ));
    }
    match (strategy, canary) {
        (RolloutStrategy::Surge, None) => Ok(Strategy::Surge),
        (RolloutStrategy::Replace, None) => Ok(Strategy::Replace),
        (RolloutStrategy::Canary, Some(canary)) => {
            checked(canary)?;
            Ok(Strategy::Canary(canary.clone()))
        }
        (RolloutStrategy::Surge | RolloutStrategy::Replace, Some(_)) | (RolloutStrategy::Canary, None) => {
            Err(Refusal::invalid("rollout.canary goes with rollout.strategy: Canary: set both, or neither"))
        }
    }
}

fn checked(canary: &Canary) -> Result<(), Refusal> {
    let Canary { steps, abort, on_inconclusive: _ } = canary;
    if steps.is_empty() {
        return Err(Refusal::invalid("rollout.canary.steps is empty: write one step at least"));
    }
    for (number, step) in (1..).zip(steps) {
        checked_step(step)
            .map_err(|wrong| Refusal::invalid(format!("rollout.canary.steps: step {number}: {wrong}")))?;
    }
    if !steps.is_sorted_by_key(|step| step.traffic) {
        return Err(Refusal::invalid(
            "rollout.canary.steps: traffic goes down from one step to the next: sort them",
        ));
    }
    let AbortThresholds { error_rate, time_to_first_token, inter_token_latency, min_requests } = *abort;
    if error_rate < 0 || time_to_first_token < 0 || inter_token_latency < 0 || min_requests < 1 {
        return Err(Refusal::invalid(
            "rollout.canary.abort: a share may not be negative, and minRequests is at least 1",
        ));
    }
    Ok(())
}

fn checked_step(step: &CanaryStep) -> Result<(), &'static str> {
    let CanaryStep { capacity, traffic, pause } = step;
    if !(1..=99).contains(traffic) {
        return Err("traffic is a share from 1 to 99");
    }
    match capacity {
        Capacity::Pods(1..) => {}
        Capacity::Percent(percent @ 1..=100) if percent >= traffic => {}
        Capacity::Percent(1..=100) => return Err("traffic is a larger share than capacity"),
        Capacity::Pods(_) | Capacity::Percent(_) => {
            return Err("capacity is a number of pods from 1 on, or a share from 1% to 100%");
        }
    }
    match pause {
        Pause::Manual => Ok(()),
        Pause::For(span) if !span.get().is_zero() => Ok(()),
        Pause::For(_) => Err("pause is at least a second, or Manual"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn strategy_of(rollout: Value) -> Result<Strategy, Refusal> {
        let spec = json!({"openWeights": {"source": "hf://o/r/f"}, "rollout": rollout});
        strategy(&serde_json::from_value(spec).unwrap())
    }

    /// As an apiserver with an older CRD lets it through.
    #[test]
    fn what_no_rule_has_refused_is_refused_here() {
        let step = |capacity: Value, traffic: i32, pause: &str| json!({"capacity": capacity, "traffic": traffic, "pause": pause});
        let canary = |steps: Value| json!({"strategy": "Canary", "canary": {"steps": steps}});
        let good = canary(json!([step(json!(1), 10, "5m"), step(json!("50%"), 50, "Manual")]));
        assert!(matches!(strategy_of(good), Ok(Strategy::Canary(canary)) if canary.steps.len() == 2));
        for (rollout, words) in [
            (canary(json!([])), "one step at least"),
            (canary(json!([step(json!(1), 10, "5m"), step(json!(1), 5, "5m")])), "sort them"),
            (canary(json!([step(json!(1), 100, "5m")])), "step 1: traffic is a share from 1 to 99"),
            (canary(json!([step(json!(0), 1, "5m")])), "capacity is a number of pods"),
            (canary(json!([step(json!("10%"), 11, "5m")])), "larger share than capacity"),
            (canary(json!([step(json!(1), 10, "0s")])), "at least a second"),
            (json!({"strategy": "Canary"}), "set both"),
            (json!({"canary": {"steps": [step(json!(1), 1, "5m")]}}), "set both"),
            (
                json!({"strategy": "Canary", "canary": {"steps": [step(json!(1), 1, "5m")],
                    "abort": {"minRequests": 0}}}),
                "minRequests is at least 1",
            ),
        ] {
            let refused = strategy_of(rollout.clone()).unwrap_err();
            assert!(refused.message.contains(words), "{rollout}: {}", refused.message);
        }
    }
}

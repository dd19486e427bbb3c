//! What a gateway says of the models that it routes, on its state port: JSON that the operator subscribes to.
//!
//! Fields that are not known are skipped, so that an operator and a gateway of different versions understand each other.

use serde::{Deserialize, Serialize};

use crate::{TrialFigures, World};

/// What a gateway routes, or what of it has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayState {
    /// Who asks for what came after this version is told of nothing twice.
    pub version: u64,
    /// Whether it begins anew: what was said before is void.
    #[serde(default)]
    pub whole: bool,
    /// Whether there is more, which did not fit: until it has come, what is not named may exist all the same.
    #[serde(default)]
    pub more: bool,
    /// Models that are routed.
    #[serde(default)]
    pub models: Vec<ModelRoutes>,
    /// Models that are not known any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<GoneModel>,
}

/// Where a gateway sends calls for one model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelRoutes {
    /// Namespace of the ModelDeployment.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID: a name may be another's by now.
    pub uid: String,
    /// `metadata.generation` of the spec that the gateway goes by.
    pub generation: i64,
    /// The world that it calls, which is the one before where a swap is not through.
    pub world: World,
    /// Names of the pods that it sends calls to, in order: engines, or the provider's proxies. None where calls wait or are
    /// refused.
    #[serde(default)]
    pub pods: Vec<String>,
    /// What it has measured of a revision on trial, in its present step; none where nothing is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialFigures>,
}

/// A model that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct GoneModel {
    /// Namespace of the ModelDeployment.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_of_a_later_version_is_understood() {
        let state = serde_json::json!({"version": 7, "later": true, "models": [
            {"namespace": "n", "name": "m", "uid": "u", "generation": 3, "world": "External", "later": [1]}]});
        let state: GatewayState = serde_json::from_value(state).expect("a state");
        assert!(!state.whole && !state.more && state.gone.is_empty());
        assert_eq!((state.models[0].world, state.models[0].pods.len()), (World::External, 0));
    }
}

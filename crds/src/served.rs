//! Which world answers for a model: the one that its spec says, or, until that one can, the one before.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{External, ModelDeployment, ModelDeploymentSpec, World};

/// What calls go to, for people, printer columns and gateways.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Served {
    /// `Open` or `Closed`.
    pub backend: String,
    /// Source of the weights, or `provider/model`.
    pub model: String,
}

impl World {
    /// The word in a status.
    pub fn backend(self) -> &'static str {
        match self {
            World::OpenWeights => "Open",
            World::External => "Closed",
        }
    }
}

impl Served {
    /// The world that answers; `None` where another version wrote its word.
    pub fn world(&self) -> Option<World> {
        [World::OpenWeights, World::External].into_iter().find(|world| world.backend() == self.backend)
    }
}

impl ModelDeploymentSpec {
    /// What answers where `world` does; `None` where its arm is not set.
    pub fn served(&self, world: World) -> Option<Served> {
        let model = match world {
            World::OpenWeights => self.open_weights.as_ref()?.source.clone(),
            World::External => {
                let External { provider, model } = self.external.as_ref()?;
                format!("{provider}/{model}")
            }
        };
        Some(Served { backend: world.backend().to_owned(), model })
    }
}

impl ModelDeployment {
    /// The world before, which goes on answering until the one that the spec says can: a swap is under way.
    ///
    /// None where the spec says that it must not: its arm is gone, or the model is out of service, at 0 replicas too, for a model
    /// that sleeps is woken by who asks.
    pub fn world_before(&self) -> Option<World> {
        let wanted = self.spec.world()?;
        let before = self.status.as_ref()?.served.as_ref()?.world()?;
        let has_arm = self.spec.served(before).is_some();
        let swaps = before != wanted && has_arm && self.spec.out_of_service().is_none();
        swaps.then_some(before)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn before(spec: Value, served: Option<&str>) -> Option<World> {
        let status = served.map(|backend| json!({"served": {"backend": backend, "model": "m"}}));
        let model: ModelDeployment = serde_json::from_value(
            json!({"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ModelDeployment",
            "metadata": {"name": "m"}, "spec": spec, "status": status}),
        )
        .unwrap();
        model.world_before()
    }

    #[test]
    fn the_world_before_answers_while_the_spec_has_its_arm_and_the_model_is_in_service() {
        let weights = json!({"source": "hf://o/r/f"});
        let external = json!({"provider": "p", "model": "x"});
        let both = |serve: &str, more: Value| {
            let mut spec = json!({"serve": serve, "openWeights": weights, "external": external});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            spec
        };
        let open = Some(World::OpenWeights);
        let closed = Some(World::External);
        let cases = [
            (both("External", json!({})), Some("Open"), open),
            (both("OpenWeights", json!({})), Some("Closed"), closed),
            // No swap.
            (both("External", json!({})), Some("Closed"), None),
            (both("OpenWeights", json!({})), Some("Open"), None),
            // Nobody knows what was before: nothing has answered yet, or another version knows a third world.
            (both("OpenWeights", json!({})), None, None),
            (both("OpenWeights", json!({})), Some("Borrowed"), None),
            // The spec says that it must not.
            (both("OpenWeights", json!({"suspend": true})), Some("Closed"), None),
            (both("External", json!({"suspend": true})), Some("Open"), None),
            (both("OpenWeights", json!({"replicas": 0})), Some("Closed"), None),
            (both("External", json!({"replicas": 0})), Some("Open"), None),
            (json!({"openWeights": weights}), Some("Closed"), None),
            (json!({"external": external}), Some("Open"), None),
            (json!({"serve": "External", "openWeights": weights}), Some("Open"), None),
        ];
        for (spec, served, expected) in cases {
            assert_eq!(before(spec.clone(), served), expected, "{spec} {served:?}");
        }
    }
}

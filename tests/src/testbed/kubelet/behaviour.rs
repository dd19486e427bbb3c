//! How the pods of a test are to fare, written on its namespace.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::ResourceExt;
use serde::{Deserialize, Serialize};

/// The namespace's annotation that holds the rules.
pub const ANNOTATION: &str = "testbed.weighbridge.dev/behaviour";

/// The namespace's annotation that gives its pods an address: a test that runs a pod's program itself says where.
pub const ADDRESS: &str = "testbed.weighbridge.dev/address";

/// The address that `namespace` gives its pods.
pub fn address(namespace: &Namespace) -> Option<&String> {
    namespace.annotations().get(ADDRESS)
}

/// What becomes of a pod on a simulated node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Behaviour {
    /// Runs and is ready, and is gone as soon as it is deleted.
    #[default]
    Ready,
    /// Runs, but its readiness probe never passes.
    NeverReady,
    /// Its image can't be pulled.
    ImagePullFailure,
    /// Was killed for memory, and waits to be started again.
    OutOfMemory,
    /// Ended with exit code 1, and waits to be started again.
    Crash,
    /// Ran to its end with exit code 0: for the pods of a Job.
    Succeeds,
    /// Is ready; once deleted it stops being ready but does not go, like a pod that still drains.
    LingersWhenDeleted,
}

/// Which pods fare how: the first rule that fits counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Labels that the pod has; none means every pod.
    #[serde(default)]
    pub pods: BTreeMap<String, String>,
    /// What becomes of it.
    pub fare: Behaviour,
}

impl Rule {
    fn fits(&self, pod: &Pod) -> bool {
        self.pods.iter().all(|(key, value)| pod.labels().get(key) == Some(value))
    }
}

/// What the rules on `namespace` say about `pod`.
pub fn of(namespace: &Namespace, pod: &Pod) -> Result<Behaviour, serde_json::Error> {
    let Some(text) = namespace.annotations().get(ANNOTATION) else { return Ok(Behaviour::default()) };
    let rules: Vec<Rule> = serde_json::from_str(text)?;
    Ok(rules.iter().find(|rule| rule.fits(pod)).map(|rule| rule.fare).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(labels: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p", "labels": labels}})).unwrap()
    }

    #[test]
    fn the_first_rule_that_fits_counts_and_none_means_ready() {
        let rules = r#"[{"pods":{"app":"a"},"fare":"OutOfMemory"},{"fare":"NeverReady"}]"#;
        let mut namespace: Namespace = Namespace::default();
        assert_eq!(of(&namespace, &pod(json!({}))).unwrap(), Behaviour::Ready);
        namespace.annotations_mut().insert(ANNOTATION.to_owned(), rules.to_owned());
        assert_eq!(of(&namespace, &pod(json!({"app": "a"}))).unwrap(), Behaviour::OutOfMemory);
        assert_eq!(of(&namespace, &pod(json!({"app": "b"}))).unwrap(), Behaviour::NeverReady);
    }
}

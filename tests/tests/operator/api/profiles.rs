use anyhow::Result;
use kube::Api;
use serde_json::json;
use weighbridge_crds::ResourceProfile;
use weighbridge_tests::testbed;

use super::rules::Rules;

#[tokio::test]
async fn the_apiserver_refuses_bad_profiles_with_the_field_and_the_fix() -> Result<()> {
    let mut rules = Rules::<ResourceProfile>::of(Api::all(testbed::client().await?))?;
    for (spec, words) in [
        (json!({"cpu": "many", "memory": "1Gi"}), "cpu is not a quantity above zero: write 4"),
        (json!({"cpu": "0", "memory": "1Gi"}), "cpu is not a quantity above zero"),
        (json!({"cpu": "-1", "memory": "1Gi"}), "cpu is not a quantity above zero"),
        (json!({"cpu": 0, "memory": "1Gi"}), "cpu is not a quantity above zero"),
        (json!({"cpu": "1", "memory": "1 Gi"}), "memory is not a quantity above zero: write 16Gi"),
        (json!({"cpu": "1", "memory": ""}), "memory is not a quantity above zero"),
        (json!({"cpu": 0.5, "memory": "1Gi"}), "spec.cpu"),
        (json!({"memory": "1Gi"}), "spec.cpu: Required"),
        (json!({"cpu": "1", "memory": "1Gi", "gpu": {"count": 0}}), "spec.gpu.count"),
        (json!({"cpu": "1", "memory": "1Gi", "gpu": {"count": 65}}), "spec.gpu.count"),
        (
            json!({"cpu": "1", "memory": "1Gi", "gpu": {"memory": "big"}}),
            "gpu.memory is not a quantity above zero",
        ),
        (
            json!({"cpu": "1", "memory": "1Gi", "gpu": {"memory": "0"}}),
            "gpu.memory is not a quantity above zero",
        ),
        (json!({"cpu": "1", "memory": "1Gi", "gpu": {"resource": "gpu"}}), "spec.gpu.resource"),
        (
            json!({"cpu": "1", "memory": "1Gi", "gpu": {"resource": "amd.com/gpu"}}),
            "write nvidia.com/gpu or a slice",
        ),
        (
            json!({"cpu": "1", "memory": "1Gi", "gpu": {"resource": "nvidia.com/gpu", "deviceClass": "gpu.nvidia.com"}}),
            "keep deviceClass where the cluster has such a driver, resource where it has not, and remove the other",
        ),
        (
            json!({"cpu": "1", "memory": "1Gi", "gpu": {"selectors": ["true"]}}),
            "gpu.selectors choose among the devices of a class: name that in gpu.deviceClass",
        ),
        (json!({"cpu": "1", "memory": "1Gi", "gpu": {"deviceClass": "GPU"}}), "spec.gpu.deviceClass"),
        (
            json!({"cpu": "1", "memory": "1Gi", "gpu": {"deviceClass": "a", "selectors": vec!["true"; 33]}}),
            "spec.gpu.selectors",
        ),
        (json!({"cpu": "1", "memory": "1Gi", "price": 1}), "unknown field \"spec.price\""),
    ] {
        rules.refuse("p", spec, words).await?;
    }
    for good in [
        json!({"cpu": 4, "memory": "1.5Gi"}),
        json!({"cpu": "500m", "memory": "1e9", "gpu": {"memory": "81559Mi"}, "nodeSelector": {"disk": "fast"},
            "tolerations": [{"key": "gpu", "operator": "Exists"}]}),
        json!({"cpu": "1", "memory": "1Gi", "gpu": {"resource": "nvidia.com/mig-1g.10gb"}}),
        json!({"cpu": "1", "memory": "1Gi", "gpu": {"deviceClass": "gpu.nvidia.com", "memory": "80Gi",
            "selectors": ["device.driver == 'gpu.nvidia.com'"]}}),
    ] {
        rules.take("p", good).await?;
    }
    rules.each_had_its_cases();
    Ok(())
}

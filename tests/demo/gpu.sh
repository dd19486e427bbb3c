# Part of demo.sh: a model gets the node's GPU, and one that asks for too many says so. The device plugin is a
# stand-in that speaks the real protocol to the real kubelet; the device behind it is a harmless one.
# shellcheck shell=bash

step "A model that asks for a GPU, and one that asks for eight"
show kubectl get nodes -o 'custom-columns=NODE:.metadata.name,GPUS:.status.allocatable.nvidia\.com/gpu,PRODUCT:.metadata.labels.nvidia\.com/gpu\.product'
show kubectl -n demo apply -f "$here/gpu.yaml"
await --for=condition=Ready modeldeployment/on-gpu --timeout=60s
pod=$(kubectl -n demo get pods -l serving.weighbridge.dev/model=on-gpu -o jsonpath='{.items[0].metadata.name}')
process=$(container_process demo "$pod")
echo "in the container of $pod:"
ls -l "/proc/$process/root/dev/nvidia0" | sed "s#/proc/$process/root##"
tr '\0' '\n' <"/proc/$process/environ" | grep ^NVIDIA_VISIBLE_DEVICES= || fail "the pod did not get its device"

await --for='jsonpath={.status.conditions[?(@.type=="Scheduled")].reason}=InsufficientCapacity' \
    modeldeployment/too-many-gpus --timeout=30s
show kubectl -n demo get mdep
show kubectl -n demo get mdep too-many-gpus -o 'jsonpath={range .status.conditions[*]}{.type}={.status} {.reason}: {.message}{"\n"}{end}'
show kubectl -n demo delete -f "$here/gpu.yaml"

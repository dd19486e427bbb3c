#!/usr/bin/env bash
# own-machine.sh COMMAND…: runs a command as if it had this machine for itself.
#
# It gets its own processes, network, mounts and control groups, and everything in them ends with it. So a
# node that a test starts meets no node that is up here already, and whatever becomes of the test, the
# machine is as it was. Needs root.
set -euo pipefail

((EUID == 0)) || { echo "own-machine.sh: a node needs root" >&2; exit 1; }

# Second stage, inside: $1 is the folder for temporary files.
if [[ ${1:-} == --inside ]]; then
    export TMPDIR=$2
    shift 2
    ip link set lo up
    # Mounted anew, each shows this command's own group as its root.
    for controller in /sys/fs/cgroup/*; do
        [[ -d $controller && ! -L $controller ]] || continue
        umount "$controller"
        case ${controller##*/} in
        unified) mount -t cgroup2 none "$controller" ;;
        systemd) mount -t cgroup -o none,name=systemd none "$controller" ;;
        *) mount -t cgroup -o "${controller##*/}" none "$controller" ;;
        esac
    done
    # Programs of a node write here wherever their state is: what they write stays in our folder.
    for folder in /run /var/lib /var/log; do
        layer=$TMPDIR/layers/${folder//\//-}
        mkdir -p "$layer/upper" "$layer/work"
        mount -t overlay -o "lowerdir=$folder,upperdir=$layer/upper,workdir=$layer/work" none "$folder"
    done
    # In those layers only: a node that is up outside is not to be seen here.
    rm -rf /run/containerd /run/netns /var/lib/cni /var/lib/kubelet /var/log/containers /var/log/pods
    # Not exec: this shell is process 1 here, and buries orphans as a machine's would.
    status=0
    "$@" || status=$?
    exit "$status"
fi

if [[ $(stat -fc %T /sys/fs/cgroup) == cgroup2fs ]]; then
    # Not tried on a machine with one control group tree, so it is not pretended.
    exec "$@"
fi

# Everything outside is named after this process, so that it can be told whose it is. State stays on a real
# file system: containers' layers can't be stacked on every kind.
prefix=weighbridge-own
group=$prefix-$$
temporary=${TMPDIR:-/tmp}/$group
remove() { # PROCESS
    for folder in /sys/fs/cgroup/*/"$prefix-$1"; do
        # Whoever dies in a group takes a moment to be gone from it.
        for _ in {1..50}; do
            [[ -d $folder ]] || break
            find "$folder" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
        done
    done
    rm -rf "${TMPDIR:-/tmp}/$prefix-$1"
}
# What runs that were killed outright left.
for folder in "${TMPDIR:-/tmp}/$prefix"-*; do
    owner=${folder##*-}
    [[ $owner == '*' || -d /proc/$owner ]] || remove "$owner"
done
trap 'remove $$' EXIT
mkdir -m 700 "$temporary"
made=()

for controller in /sys/fs/cgroup/*; do
    [[ -d $controller && ! -L $controller ]] || continue
    mkdir "$controller/$group"
    made+=("$controller/$group")
    if [[ -f $controller/cpuset.cpus ]]; then
        # A new set of CPUs is empty, and a process can't enter an empty one.
        cat "$controller/cpuset.cpus" >"$controller/$group/cpuset.cpus"
        cat "$controller/cpuset.mems" >"$controller/$group/cpuset.mems"
    fi
done
(
    for folder in "${made[@]}"; do echo "$BASHPID" >"$folder/cgroup.procs"; done
    exec setpriv --pdeathsig KILL unshare --cgroup --mount --net --pid --fork --kill-child --mount-proc \
        --propagation private "$0" --inside "$temporary" "$@"
)

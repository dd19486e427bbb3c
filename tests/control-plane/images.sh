#!/usr/bin/env bash
# Builds the images that the node level itself needs, as OCI archives, and prints their folder:
#
#   pause.tar   images.weighbridge.local/testbed/pause:1   holds each pod's namespaces
#   probe.tar   images.weighbridge.local/testbed/probe:1   what the node level's own tests run
#
# Cached like the programs, under a hash of the inputs.
set -euo pipefail
cd "$(dirname "$0")"

names=(pause probe)
hash=$( (cat images.sh pause/*.go probe/*.go; go version) | sha256sum | cut -c1-16)
folder=${WEIGHBRIDGE_CACHE:-$HOME/.cache/weighbridge}/testbed/$hash
mkdir -p "$folder"
exec 9>"$folder/.lock"
flock 9

work=$folder/work
# Storage of our own: nothing of this machine's is read or left.
store=(--storage-driver vfs --root "$work/storage" --runroot "$work/run")
for name in "${names[@]}"; do
    [[ -f $folder/$name.tar ]] && continue
    rm -rf "$work"
    mkdir -p "$work/context"
    CGO_ENABLED=0 nice -n 10 go build -trimpath -ldflags "-s -w" -o "$work/context/$name" "./$name" >&2
    cat >"$work/context/Containerfile" <<CONTAINERFILE
FROM scratch
COPY $name /$name
USER 65532:65532
ENTRYPOINT ["/$name"]
CONTAINERFILE
    image=images.weighbridge.local/testbed/$name:1
    buildah "${store[@]}" bud --quiet --isolation chroot --tag "$image" "$work/context" >/dev/null
    buildah "${store[@]}" push --quiet "$image" "oci-archive:$work/$name.tar:$image" >/dev/null
    mv "$work/$name.tar" "$folder/$name.tar"
    rm -rf "$work"
done
echo "$folder"

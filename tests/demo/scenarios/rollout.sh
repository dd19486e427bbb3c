# Part of demo.sh: S=rollout. A new revision, up before the old one goes; then one that comes after the old one went; back.
# shellcheck shell=bash

step "A rollout with spare capacity: the new revision is ready before the old one goes"
before=$(revision)
change '{"spec": {"openWeights": {"engine": {"maxSequences": 48}}}}'
until_true 120 rolled_out "$before"
stands steady

step "A rollout without: strategy Replace, old pods first; callers are held meanwhile"
before=$(revision)
change '{"spec": {"rollout": {"strategy": "Replace"}, "openWeights": {"engine": {"maxSequences": 40}}}}'
until_true 180 rolled_out "$before"
stands steady

step "Back to what was before"
before=$(revision)
change '{"spec": {"rollout": {"strategy": "Surge"}, "openWeights": {"engine": {"maxSequences": 48}}}}'
until_true 120 rolled_out "$before"

# Part of demo.sh: S=rollout. A new revision, up before the old one goes; and back.
# shellcheck shell=bash

step "A rollout: the new revision is ready before the old one goes"
before=$(revision)
change '{"spec": {"openWeights": {"engine": {"maxSequences": 48}}}}'
until_true 120 rolled_out "$before"
stands steady

step "Back to what was before"
before=$(revision)
change '{"spec": {"openWeights": {"engine": {"maxSequences": 64}}}}'
until_true 120 rolled_out "$before"
stands steady

step "A rollout without a spare card: the old revision goes first, and requests wait for the new one"
before=$(revision)
change '{"spec": {"rollout": {"strategy": "Replace"}, "openWeights": {"engine": {"maxSequences": 48}}}}'
until_true 120 rolled_out "$before"
stands steady
change '{"spec": {"rollout": null}}'

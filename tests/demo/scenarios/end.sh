# Part of demo.sh: what the callers saw.
# shellcheck shell=bash

sleep 3
step "What the callers saw"
stands steady
kill -TERM "${logs[load.log]}"
wait "${logs[load.log]}" || fail "the load failed: $(<"$work/load.log")"
unset 'logs[load.log]'
cat "$work/load.log"
while read -r _ name value; do
    figure "${name}" "$value" count
    case $name in
        requests_failed | streams_cut) [[ $value == 0 ]] || lost+=("$name $value") ;;
        requests_answered | streams_whole) [[ $value != 0 ]] || lost+=("$name 0") ;;
    esac
done < <(grep '^figure ' "$work/load.log")

#!/bin/sh
# Waits until a board is a Ready node of the cluster, runs the bundle's hello image on it, and waits for its success.
# Run on the machine that setup.sh made, or on any with a kubeconfig of that cluster. It may be run again at any time.
#
# NOT RUN where Slipway is developed: no cluster can be had there. What was run: shellcheck, `--dry-run`, and
# the whole against a kubectl that stands in.
#
# Exit status: 0 the board ran it, 1 it did not, 2 wrong usage.
set -eu

usage() {
    cat <<'TEXT'
usage: verify.sh --node NAME [options]

  --node NAME            the board's node_name
  --kube-config FILE     how to reach the cluster [/etc/kubernetes/admin.conf]
  --seconds N            how long to wait for each thing [120]
  --dry-run              print every command and run none
TEXT
}

wrong() {
    printf 'verify.sh: %s\n' "$1" >&2
    printf '  try: verify.sh --help\n' >&2
    exit 2
}

fail() {
    printf 'verify.sh: %s\n' "$1" >&2
    printf '  try: %s\n' "$2" >&2
    exit 1
}

node='' config=/etc/kubernetes/admin.conf seconds=120 dry=no
while [ $# -gt 0 ]; do
    case $1 in
    --node | --kube-config | --seconds)
        [ $# -ge 2 ] || wrong "$1 needs a value"
        case $1 in
        --node) node=$2 ;;
        --kube-config) config=$2 ;;
        --seconds) seconds=$2 ;;
        esac
        shift 2
        ;;
    --dry-run) dry=yes && shift ;;
    --help | -h) usage && exit 0 ;;
    *) wrong "there is no option $1" ;;
    esac
done
case $node in
'') wrong "say which board: --node" ;;
*[!a-z0-9.-]*) wrong "\`$node\` is not a node's name: small letters, digits, \`-\` and \`.\`" ;;
esac
case $seconds in
'' | *[!0-9]*) wrong "--seconds is a whole number" ;;
esac

here=$(cd "$(dirname "$0")" && pwd)

kube() {
    if [ "$dry" = yes ]; then
        printf 'would run: kubectl --kubeconfig %s %s\n' "$config" "$*"
    else
        kubectl --kubeconfig "$config" "$@"
    fi
}

# The pod, for this board.
pod() { sed "s/dayu200/$node/g" "$here/hello.yaml"; }

printf '== the node %s is Ready\n' "$node"
kube wait --for=condition=Ready "node/$node" --timeout="${seconds}s" ||
    fail "$node is not a Ready node" "on the board: slipway status, slipway logs; here: kubectl get nodes -o wide"

printf '== the image slipway/hello runs on it\n'
kube delete pod "slipway-hello-$node" --ignore-not-found --timeout="${seconds}s"
if [ "$dry" = yes ]; then
    printf 'would run: kubectl --kubeconfig %s apply -f - with\n' "$config"
    pod | sed 's/^/    /'
    printf 'would wait up to %s s for the phase Succeeded\n' "$seconds"
    exit 0
fi
pod | kube apply -f -
waited=0 phase=''
while [ "$waited" -lt "$seconds" ]; do
    phase=$(kube get pod "slipway-hello-$node" -o 'jsonpath={.status.phase}')
    case $phase in
    Succeeded) break ;;
    Failed) fail "the pod failed on $node" "kubectl describe pod slipway-hello-$node; on the board: slipway logs" ;;
    esac
    sleep 2
    waited=$((waited + 2))
done
[ "$phase" = Succeeded ] ||
    fail "after $seconds s the pod is ${phase:-not there}" "kubectl describe pod slipway-hello-$node"
# `kubectl logs` needs cloudcore's streams, which setup.sh does not turn on: the words are in the board's own log.
printf 'done: the pod ran on %s. Its words: docker logs, on the board\n' "$node"

#!/bin/sh
# Makes this machine the cloud's side of the boards: Kubernetes 1.21 (kubeadm) and KubeEdge 1.9.1 (cloudcore), and
# prints where the token for the boards is. It may be run again at any time: what is done is left as it is.
#
# NOT RUN where Slipway is developed: no cluster can be had there. What was run: shellcheck, `--dry-run`, which
# prints every command and changes nothing, and the whole against programs that stand in for kubeadm, kubectl and keadm.
# docs/cloud.md says what to expect of each step.
#
# Exit status: 0 done, 1 a step failed, 2 wrong usage.
set -eu

usage() {
    cat <<'TEXT'
usage: setup.sh --address ADDRESS --keadm FILE [options]

  --address ADDRESS          the IP address by which the boards reach this machine
  --keadm FILE               keadm 1.9.1 for this machine: cargo xtask recipe keadm --arch x86_64
  --image-repository NAME    where kubeadm gets its images; the one that 1.21 knows by itself may be closed
  --token-file FILE          where the token is written, for its owner alone [/etc/kubeedge/slipway-token]
  --dry-run                  print every command and run none
TEXT
}

wrong() {
    printf 'setup.sh: %s\n' "$1" >&2
    printf '  try: setup.sh --help\n' >&2
    exit 2
}

fail() {
    printf 'setup.sh: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf '  try: %s\n' "$2" >&2
    exit 1
}

kubeedge=1.9.1
kubernetes=1.21
config=/etc/kubernetes/admin.conf
address='' keadm='' repository='' token_file=/etc/kubeedge/slipway-token dry=no

while [ $# -gt 0 ]; do
    case $1 in
    --address | --keadm | --image-repository | --token-file)
        [ $# -ge 2 ] || wrong "$1 needs a value"
        case $1 in
        --address) address=$2 ;;
        --keadm) keadm=$2 ;;
        --image-repository) repository=$2 ;;
        --token-file) token_file=$2 ;;
        esac
        shift 2
        ;;
    --dry-run) dry=yes && shift ;;
    --help | -h) usage && exit 0 ;;
    *) wrong "there is no option $1" ;;
    esac
done
case $address in
'') wrong "say by which address the boards reach this machine: --address" ;;
*[!0-9.]*) wrong "\`$address\` is not an IPv4 address like 192.0.2.7" ;;
esac
[ -n "$keadm" ] || wrong "say where keadm $kubeedge is: --keadm"

say() { printf '\n== %s\n' "$*"; }

# Runs a command, or prints it.
run() {
    if [ "$dry" = yes ]; then
        printf 'would run: %s\n' "$*"
    else
        printf 'run: %s\n' "$*"
        "$@"
    fi
}

# Writes standard input to a file, unless that is what it holds.
put() {
    text=$(cat)
    if [ "$dry" = yes ]; then
        printf 'would write %s:\n' "$1"
        printf '%s\n' "$text" | sed 's/^/    /'
    elif [ "$(cat "$1" 2>/dev/null)" != "$text" ]; then
        printf '%s\n' "$text" >"$1.new" && mv "$1.new" "$1"
        printf 'wrote %s\n' "$1"
    fi
}

# True if a step is still to be done. A dry run shows every step.
still() { [ "$dry" = yes ] || ! "$@" >/dev/null 2>&1; }

check_machine() {
    [ "$(id -u)" = 0 ] || fail "this changes the system, so it is run as root"
    for program in kubeadm kubelet kubectl; do
        command -v "$program" >/dev/null ||
            fail "there is no $program" "install kubeadm, kubelet and kubectl of $kubernetes, and a container runtime"
    done
    found=$(kubeadm version -o short)
    case $found in
    "v$kubernetes".*) ;;
    *) fail "kubeadm is $found; KubeEdge $kubeedge was made for Kubernetes $kubernetes" "install kubeadm $kubernetes" ;;
    esac
    [ -x "$keadm" ] || fail "$keadm is not a program" "cargo xtask recipe keadm --arch x86_64"
    "$keadm" version 2>/dev/null | grep -q "v$kubeedge" || fail "$keadm is not keadm $kubeedge"
}

no_swap() { [ "$(wc -l </proc/swaps)" -le 1 ]; }
cluster_is_there() { [ -s "$config" ]; }
cloudcore_runs() { pgrep -x cloudcore; }

if [ "$dry" = no ]; then
    say "this machine"
    check_machine
fi

say "what Kubernetes asks of the system"
if still no_swap; then run swapoff -a; fi
run modprobe br_netfilter
put /etc/modules-load.d/slipway.conf <<'TEXT'
br_netfilter
TEXT
put /etc/sysctl.d/99-slipway.conf <<'TEXT'
net.bridge.bridge-nf-call-iptables = 1
net.ipv4.ip_forward = 1
TEXT
run sysctl --quiet --load /etc/sysctl.d/99-slipway.conf

say "ports that the boards and the nodes must reach here"
cat <<'TEXT'
   6443  Kubernetes' API
  10000  cloudcore: websocket, what edgecore talks through
  10001  cloudcore: QUIC, in its place
  10002  cloudcore: HTTPS, where a board gets its certificate with the token
  10003  cloudcore: streams for `kubectl logs` and `kubectl exec`
  10004  cloudcore: the boards' end of those streams
TEXT
if [ "$dry" = yes ]; then echo "if ufw is active:"; fi
if [ "$dry" = yes ] || { command -v ufw >/dev/null && ufw status | grep -q '^Status: active'; }; then
    run ufw allow 6443/tcp
    run ufw allow 10000:10004/tcp
    run ufw allow 10001/udp
fi

say "the cluster"
if still cluster_is_there; then
    set -- --apiserver-advertise-address="$address" --pod-network-cidr=10.240.0.0/16 --service-cidr=10.140.0.0/16
    if [ -n "$repository" ]; then set -- "$@" --image-repository="$repository"; fi
    if [ "$dry" = no ]; then set -- "$@" --kubernetes-version="$(kubeadm version -o short)"; fi
    run kubeadm init "$@"
fi
# kube-proxy does not run on a board: edgecore refuses to start beside it.
run kubectl --kubeconfig "$config" -n kube-system patch daemonset kube-proxy --type merge --patch \
    '{"spec":{"template":{"spec":{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"node-role.kubernetes.io/edge","operator":"DoesNotExist"}]}]}}}}}}}'

say "cloudcore $kubeedge"
if still cloudcore_runs; then
    # It fetches cloudcore and the resource definitions of this version from KubeEdge's releases.
    run "$keadm" init --advertise-address="$address" --kubeedge-version="$kubeedge" --kube-config="$config"
fi

say "the token for the boards"
if [ "$dry" = yes ]; then
    printf 'would run: %s gettoken --kube-config=%s\n' "$keadm" "$config"
    printf 'would write %s (mode 0600)\n' "$token_file"
    exit 0
fi
# cloudcore makes the token when it has started.
tries=0 token=''
while [ -z "$token" ] && [ "$tries" -lt 30 ]; do
    token=$("$keadm" gettoken --kube-config="$config" 2>/dev/null | tail -n 1) || token=''
    if [ -z "$token" ]; then sleep 2; fi
    tries=$((tries + 1))
done
[ -n "$token" ] || fail "cloudcore gave no token within a minute" "look into /var/log/kubeedge/cloudcore.log"
mkdir -p "$(dirname "$token_file")"
(umask 077 && printf '%s\n' "$token" >"$token_file.new" && mv "$token_file.new" "$token_file")
cat <<TEXT
The token is in $token_file, valid for a day. Take it to the machine that pushes the bundle:

  cargo xtask bundle --target dayu200 --set cloud_address=$address --set node_name=NAME
  cargo xtask push --target dayu200 --secret cloud_token=FILE

then run verify.sh --node NAME here.
TEXT

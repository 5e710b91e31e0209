# Stands before every check; the board's shell reads it. A check says what it saw, and ends with `fail` where that
# is not what it should be.

# shellcheck shell=sh disable=SC2034 # checks use them
evidence() {
    echo "evidence: $*"
}

fail() {
    echo "failed: $*"
    exit 1
}

not_run() {
    echo "not run: $*"
    exit 77
}

# Ends this stage; the next begins after the board was started again.
go_on_after() {
    echo "next: $1"
    exit 75
}

# Runs a command that must do; shows what it printed if it does not.
must() {
    "$@" >"$FOLDER/must.log" 2>&1 || {
        status=$?
        cat "$FOLDER/must.log"
        fail "\`$*\` gave status $status: $(tail -n 1 "$FOLDER/must.log")"
    }
}

# Waits until a command succeeds, for so many seconds.
wait_for() {
    patience=$1
    shift
    until "$@" >/dev/null 2>&1; do
        patience=$((patience - 1))
        [ $patience -gt 0 ] || return 1
        sleep 1
    done
}

# Waits until the slipway that init started has ended: two are never at work at once, the second says so with status 4.
leave_to_end() {
    until slipway up >"$FOLDER/up.log" 2>&1; do
        [ $? = 4 ] || fail "slipway up: $(tail -n 1 "$FOLDER/up.log")"
        sleep 1
    done
}

BOARD_DIR=/data/slipway
SLOT=$BOARD_DIR/current
export PATH="$SLOT/bin:$PATH" DOCKER_HOST=
unset DOCKER_HOST
mkdir -p "$FOLDER"

# Everything that dockerd and a kubelet ask of a packet filter, asked of the program $1. The rules go into a chain of
# their own, which is removed again.
check_packet_filter() {
    rm -rf "$FOLDER/tables"
    must mkdir -p "$FOLDER/tables"
    must cp "$1" "$FOLDER/tables/multi"
    must chmod 755 "$FOLDER/tables/multi"
    for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
        must ln -s multi "$FOLDER/tables/$name"
    done
    export XTABLES_LOCKFILE="$FOLDER/xtables.lock"
    tried=0
    for program in iptables ip6tables; do
        for table in filter nat mangle raw; do
            # What a run that failed has left.
            "$FOLDER/tables/$program" -t $table -F EMULATE 2>/dev/null
            "$FOLDER/tables/$program" -t $table -X EMULATE 2>/dev/null
            must "$FOLDER/tables/$program" -t $table -N EMULATE
        done
        try filter "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
        try filter "-m comment --comment slipway -j RETURN"
        try filter "-m mark --mark 0x4000/0x4000 -j DROP"
        try filter "-i docker0 ! -o docker0 -j ACCEPT"
        try filter "-p tcp -m multiport --dports 80,443 -j ACCEPT"
        try filter "-j REJECT"
        try filter "-m state --state NEW -j ACCEPT"
        try nat "-m addrtype --dst-type LOCAL -j RETURN"
        try nat "-m statistic --mode random --probability 0.5 -j RETURN"
        try nat "-p tcp --dport 8080 -j REDIRECT --to-ports 80"
        try mangle "-j MARK --set-xmark 0x4000/0x4000"
        try raw "-p tcp -j ACCEPT"
    done
    program=iptables
    try nat "-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE"
    try nat "-p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80"
    try filter "-s 172.17.0.0/16 -j ACCEPT"
    program=ip6tables
    try nat "-s fd00::/64 ! -o docker0 -j MASQUERADE"
    try nat "-p tcp --dport 8080 -j DNAT --to-destination [fd00::2]:80"
    # dockerd's own chains, hooked in and out again.
    must "$FOLDER/tables/iptables" -N DOCKER-EMULATE
    must "$FOLDER/tables/iptables" -I FORWARD -j DOCKER-EMULATE
    must "$FOLDER/tables/iptables" -A DOCKER-EMULATE -j RETURN
    "$FOLDER/tables/iptables-save" -t filter >"$FOLDER/rules" || fail "iptables-save gives no rules"
    grep -q '^-A FORWARD -j DOCKER-EMULATE' "$FOLDER/rules" || fail "iptables-save does not show the DOCKER chain"
    must "$FOLDER/tables/iptables-restore" --noflush "$FOLDER/rules"
    while "$FOLDER/tables/iptables" -D FORWARD -j DOCKER-EMULATE 2>/dev/null; do :; done
    must "$FOLDER/tables/iptables" -F DOCKER-EMULATE
    must "$FOLDER/tables/iptables" -X DOCKER-EMULATE
    for program in iptables ip6tables; do
        for table in filter nat mangle raw; do
            must "$FOLDER/tables/$program" -t $table -X EMULATE
        done
    done
    bits=$(head -c 5 "$1" | od -A n -t x1 | tr -d ' \n')
    evidence "$tried rules added, found and removed by $("$FOLDER/tables/iptables" --version), $((${bits#7f454c460} * 32)) bits"
}

try() { # TABLE RULE
    for verb in -A -C -D; do
        # shellcheck disable=SC2086 # a rule is words
        must "$FOLDER/tables/$program" -t "$1" $verb EMULATE $2
    done
    tried=$((tried + 1))
}

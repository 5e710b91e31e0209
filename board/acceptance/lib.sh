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

BOARD_DIR=/data/slipway
SLOT=$BOARD_DIR/current
export PATH="$SLOT/bin:$PATH" DOCKER_HOST=
unset DOCKER_HOST
mkdir -p "$FOLDER"

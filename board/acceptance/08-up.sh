# proves: `slipway up` prepares the board and starts Docker, and a container says hello
# limit: 900
# needs: install
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
if slipway up >"$FOLDER/up.log" 2>&1; then
    tail -n 20 "$FOLDER/up.log"
else
    status=$?
    cat "$FOLDER/up.log"
    fail "slipway up gave status $status: $(tail -n 2 "$FOLDER/up.log" | tr '\n' ' ')"
fi
slipway status --porcelain >"$FOLDER/status" || fail "slipway status gave status $?: $(tr '\n' ' ' <"$FOLDER/status")"
grep -q '^health=ok' "$FOLDER/status" || fail "$(grep '^health=' "$FOLDER/status")"
evidence "$(tr '\n' ' ' <"$FOLDER/status")"

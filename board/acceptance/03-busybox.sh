# proves: busybox runs on the board: every applet that it lists answers
# limit: 300
# needs: install
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
count=0
for applet in $(busybox --list); do
    # An applet that is not there says so and gives 127.
    busybox "$applet" --help >"$FOLDER/applet.log" 2>&1 </dev/null
    [ $? -ne 127 ] || fail "busybox has no $applet after all"
    if grep -q 'applet not found' "$FOLDER/applet.log"; then fail "$applet: $(cat "$FOLDER/applet.log")"; fi
    count=$((count + 1))
done
[ "$count" -gt 100 ] || fail "only $count applets"
[ "$(echo slipway | busybox sha256sum | busybox cut -c1-8)" = "$(echo slipway | sha256sum | cut -c1-8)" ] || fail "sha256sum differs"
[ "$(printf 'b\na\n' | busybox sort | busybox head -n 1)" = a ] || fail "sort does not sort"
evidence "$count applets; $(busybox | head -n 1)"

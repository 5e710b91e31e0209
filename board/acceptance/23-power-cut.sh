# proves: when the power goes in the middle of an install, the bundle before it runs after the next start
# limit: 1500
# needs: images
# sends: bundle.tar.gz
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
if [ "$STAGE" = 1 ]; then
    readlink "$SLOT" >"$FOLDER/before"
    { cat "$FOLDER/bundle.tar.gz"; for _ in 1 2; do : | busybox gzip -n; done; } >"$BOARD_DIR/incoming/third.tar.gz"
    sync
    "$SLOT/bin/slipway" install "$BOARD_DIR/incoming/third.tar.gz" >"$FOLDER/install.log" 2>&1 &
    installer=$!
    # In the middle: the new slot is being filled, and is not there yet.
    filling() { kill -0 "$installer" && [ -n "$(find "$BOARD_DIR"/slots/.new-* -name dockerd -size +1000 2>/dev/null)" ]; }
    wait_for 300 filling || fail "it was not seen unpacking: $(tail -n 1 "$FOLDER/install.log")"
    go_on_after cut
fi
before=$(cat "$FOLDER/before")
[ "$(readlink "$SLOT")" = "$before" ] || fail "current is $(readlink "$SLOT"), before it was $before"
healthy() { slipway status --porcelain | grep -q '^health=ok'; }
wait_for 300 healthy || fail "it does not come up by itself: $(slipway status --porcelain | tr '\n' ' ')"
leave_to_end
must slipway verify
half=$(find "$BOARD_DIR"/slots/.new-* -type f 2>/dev/null | wc -l)
must docker run --rm slipway/hello
evidence "cut while unpacking, $((half)) files of the half-written slot found; ${before#slots/} runs and is whole"
# Said again, the same command does what was cut.
must slipway install "$BOARD_DIR/incoming/third.tar.gz"
rm -f "$BOARD_DIR/incoming/third.tar.gz"
[ "$(readlink "$SLOT")" != "$before" ] || fail "installed again, current is still $before"
[ -z "$(find "$BOARD_DIR"/slots -maxdepth 1 -name '.new-*')" ] || fail "the half-written slot is left"
evidence "the same install said again: $(readlink "$SLOT" | sed 's|slots/||')"

# proves: a second bundle goes beside the first, `up` moves to it, and the first stays to go back to
# limit: 1500
# needs: images
# sends: bundle.tar.gz
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
old=$(readlink "$SLOT")
# The same files, but another tarball: an empty member at its end changes its hash.
{ cat "$FOLDER/bundle.tar.gz"; : | busybox gzip -n; } >"$FOLDER/second.tar.gz"
must mv "$FOLDER/second.tar.gz" "$BOARD_DIR/incoming/second.tar.gz"
must slipway install "$BOARD_DIR/incoming/second.tar.gz"
rm -f "$BOARD_DIR/incoming/second.tar.gz"
new=$(readlink "$SLOT")
[ "$new" != "$old" ] || fail "current is still $old"
must "$SLOT/bin/slipway" up
slipway status --porcelain >"$FOLDER/status"
grep -q "^slot=${new#slots/}\$" "$FOLDER/status" || fail "$(grep ^slot= "$FOLDER/status")"
grep -q "^previous=${old#slots/}\$" "$FOLDER/status" || fail "$(grep ^previous= "$FOLDER/status")"
grep -q '^docker=up$' "$FOLDER/status" || fail "$(grep ^docker= "$FOLDER/status")"
case $(readlink "/proc/$(pidof dockerd)/exe") in
*"${new#slots/}"/bin/dockerd) ;;
*) fail "dockerd runs from $(readlink "/proc/$(pidof dockerd)/exe")" ;;
esac
must docker run --rm slipway/hello
evidence "${old#slots/} -> ${new#slots/}"

# proves: a bundle whose dockerd does not start is left by itself, and the one before it runs again
# limit: 1200
# needs: images
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
old=$(readlink "$SLOT")
rm -rf "$FOLDER/bad"
must mkdir -p "$FOLDER/bad/slipway-bad-1/bin"
must cp -a "$SLOT/etc" "$SLOT/libexec" "$FOLDER/bad/slipway-bad-1/"
must cp -a "$SLOT/bin/busybox" "$SLOT/bin/slipway" "$SLOT/bin/containerd" "$SLOT/bin/docker" "$SLOT/bin/ip" \
    "$SLOT/bin/xtables-legacy-multi" "$SLOT/bin/iptables" "$FOLDER/bad/slipway-bad-1/bin/"
printf '#!/system/bin/sh\necho "this dockerd is broken on purpose" >&2\nexit 1\n' >"$FOLDER/bad/slipway-bad-1/bin/dockerd"
must chmod 755 "$FOLDER/bad/slipway-bad-1/bin/dockerd"
(cd "$FOLDER/bad/slipway-bad-1" && find . -type f | sed 's|^\./||' | sort |
    xargs sha256sum >../sums && mv ../sums SHA256SUMS) || fail "the bad bundle could not be made"
(cd "$FOLDER/bad" && busybox tar -cf - slipway-bad-1 | busybox gzip -1) >"$BOARD_DIR/incoming/bad.tar.gz"
rm -rf "$FOLDER/bad"
must slipway install "$BOARD_DIR/incoming/bad.tar.gz"
rm -f "$BOARD_DIR/incoming/bad.tar.gz"
bad=$(readlink "$SLOT")
case $bad in
*slipway-bad-1-*) ;;
*) fail "current is $bad" ;;
esac
"$SLOT/bin/slipway" up >"$FOLDER/up.log" 2>&1
status=$?
[ $status = 3 ] || {
    cat "$FOLDER/up.log"
    fail "slipway up gave status $status, not 3: $(tail -n 2 "$FOLDER/up.log" | tr '\n' ' ')"
}
[ "$(readlink "$SLOT")" = "$old" ] || fail "current is $(readlink "$SLOT"), not $old"
slipway status --porcelain | grep -q '^health=ok' || fail "the bundle before it is not healthy"
must docker run --rm slipway/hello
evidence "$(grep -m 1 'Going back' "$FOLDER/up.log" | sed 's/^ *//'); exit status 3"

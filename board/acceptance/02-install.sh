# proves: the bundle is sent whole, its script unpacks it beside nothing, and every file has its hash
# limit: 600
# needs: kernel
# sends: bundle.tar.gz
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
[ "$(sha256sum <"$FOLDER/bundle.tar.gz" | cut -d' ' -f1)" = "$BUNDLE_SHA256" ] || fail "the bundle arrived damaged"
# As a person begins: busybox and the script out of the tarball, then the script itself.
INCOMING=$BOARD_DIR/incoming
must mkdir -p "$INCOMING"
must tar -xzf "$FOLDER/bundle.tar.gz" -C "$FOLDER" "$BUNDLE_TOP/bin/busybox" "$BUNDLE_TOP/bin/slipway"
must mv "$FOLDER/$BUNDLE_TOP/bin/busybox" "$FOLDER/$BUNDLE_TOP/bin/slipway" "$INCOMING"
must ln "$FOLDER/bundle.tar.gz" "$INCOMING/bundle.tar.gz"
must "$INCOMING/slipway" install "$INCOMING/bundle.tar.gz" --sha256 "$BUNDLE_SHA256" --boot
[ -x "$SLOT/bin/slipway" ] || fail "there is no $SLOT/bin/slipway"
evidence "$(readlink "$SLOT"), $(du -sh "$SLOT/" | cut -f1)"

# proves: edgecore starts, opens its database, finds dockerd, and says that it cannot reach the cloud
# limit: 600
# needs: images
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
[ -x "$SLOT/bin/edgecore" ] || not_run "edgecore is not in this bundle"
[ -f "$SLOT/etc/kubeedge/edgecore.yaml" ] || not_run "edgecore has no configuration in this bundle: cloud_address is not set"
# On a board without a cloud; its token is not a real one.
printf 'slipway-acceptance-token\n' >"$FOLDER/token"
must slipway secret cloud_token "$FOLDER/token"
must slipway up
log=$BOARD_DIR/log/edgecore.log
unreachable() { grep -qi -e 'connection refused' -e 'no route to host' -e 'network is unreachable' -e 'i/o timeout' "$log"; }
wait_for 120 unreachable || fail "its log does not say that the cloud cannot be reached: $(tail -n 1 "$log")"
database=$(sed -n 's/^ *dataSource: *"\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' "$SLOT/etc/kubeedge/edgecore.yaml" | head -n 1)
[ -s "$database" ] || fail "there is no database ${database:-in its configuration}"
evidence "$(grep -i -m 1 -e 'refused' -e 'no route' -e 'unreachable' -e 'timeout' "$log" | cut -c1-200)"

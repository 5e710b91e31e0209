# proves: edgecore starts, finds dockerd, waits for a cloud that it cannot reach, and joins it once it can
# limit: 900
# needs: images
# asks: bin/edgecore
# sends: cloud-peer edgecore.yaml
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
# The bundle's own configuration if it has one, else the target's; the cloud is the peer on this board in both.
peer=$FOLDER/peer
settings=$SLOT/etc/slipway/settings
yaml=$SLOT/etc/kubeedge/edgecore.yaml
log=$BOARD_DIR/log/edgecore.log
server=
clean() {
    [ ! -s "$BOARD_DIR/run/edgecore.pid" ] || kill "$(cut -d- -f1 "$BOARD_DIR/run/edgecore.pid")" 2>/dev/null
    [ -z "$server" ] || kill "$server" 2>/dev/null
    umount "$settings" 2>/dev/null
    umount "$yaml" 2>/dev/null
    [ -s "$yaml" ] || rm -rf "${yaml%/*}"
    [ -z "$made" ] || "$SLOT/bin/ip" link del "$interface" 2>/dev/null
    rm -f "$BOARD_DIR/secrets/cloud_token"
    forget
}
# The certificates of a cloud that is gone.
forget() {
    for file in tlsCaFile tlsCertFile tlsPrivateKeyFile; do
        rm -f "$(sed -n "s/^ *$file: *//p" "$FOLDER/edgecore.yaml")"
    done
}
made=
trap clean EXIT

rm -rf "$peer"
must mkdir -p "$peer" "${yaml%/*}"
must chmod 755 "$FOLDER/cloud-peer"
must "$FOLDER/cloud-peer" prepare "$peer"
[ -s "$yaml" ] || touch "$yaml"
[ ! -s "$yaml" ] || cp "$yaml" "$FOLDER/edgecore.yaml"
forget
sed 's|^\( *httpServer:\).*|\1 "https://127.0.0.1:10002"|; s|^\( *server:\).*|\1 "127.0.0.1:10000"|' \
    "$FOLDER/edgecore.yaml" >"$peer/edgecore.yaml"
sed 's|^cloud_address=.*|cloud_address=127.0.0.1|' "$settings" >"$peer/settings"
grep -q '^cloud_address=127' "$peer/settings" || fail "the settings have no cloud_address"
must mount -o bind "$peer/settings" "$settings"
must mount -o bind "$peer/edgecore.yaml" "$yaml"
of_yaml() { sed -n "s/^ *$1: *\"\{0,1\}\([^\"]*\)\"\{0,1\}\$/\1/p" "$yaml" | head -n 1; }

# Its address is what the node is known by; this board has no such network.
interface=$(of_yaml customInterfaceName)
if [ ! -e "/sys/class/net/$interface" ]; then
    must ip link add "$interface" type dummy
    made=yes
    must ip addr add 192.0.2.77/24 dev "$interface"
    must ip link set "$interface" up
fi

# There is no cloud yet. That is edgecore's trouble, and not the bundle's: `up` does not fail for it.
cp "$peer/token" "$peer/secret"
must slipway secret cloud_token "$peer/secret"
true >"$log"
must slipway up
unreachable() { grep -q -i -e 'connection refused' -e 'no route to host' -e 'network is unreachable' "$log"; }
wait_for 300 unreachable || fail "its log does not say that the cloud cannot be reached: $(tail -n 1 "$log")"
evidence "without a cloud: $(grep -i -m 1 -e 'refused' -e 'no route' -e 'unreachable' "$log" | sed 's/^[^]]*] //' | cut -c1-160)"

# There is one now, and nobody tells edgecore.
"$FOLDER/cloud-peer" serve "$peer" >"$peer/log" 2>&1 &
server=$!
happened() { grep -q "^$1:" "$peer/events"; }
for event in authority certificate connected keepalive; do
    wait_for 300 happened $event || {
        cat "$peer/events" "$peer/log"
        tail -n 30 "$log"
        fail "the cloud saw no $event of it: $(tail -n 1 "$log" | cut -c1-300)"
    }
    evidence "at the cloud: $(grep -m 1 "^$event:" "$peer/events")"
done
slipway status --porcelain >"$FOLDER/status" || fail "slipway status gave status $?"
for line in edge=up docker=up health=ok; do
    grep -q "^$line" "$FOLDER/status" || fail "slipway status says $(grep "^${line%=*}=" "$FOLDER/status"), not $line"
done
database=$(of_yaml dataSource)
[ "$(head -c 15 "$database")" = "SQLite format 3" ] || fail "there is no database in ${database:-its configuration}"
# Its dockershim opens this once dockerd has told its version.
shim=$(of_yaml remoteRuntimeEndpoint)
[ -S "${shim#unix://}" ] || fail "there is no $shim: it did not find dockerd"
evidence "its database is $database; dockerd was found: ${shim#unix://}"

# proves: containers reach each other by name, the board, and are reached at a published port
# limit: 600
# needs: images
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
page=/share/licenses/busybox/LICENSE
clean() {
    docker rm -f web >/dev/null 2>&1
    docker network rm emulate >/dev/null 2>&1
    [ -z "$server" ] || kill "$server" 2>/dev/null
}
server=
clean
trap clean EXIT
must docker network create emulate
must docker run -d --name web --network emulate -p 18080:80 slipway/hello busybox httpd -f -p 80 -h /
wait_for 60 docker exec web wget -q -O - "http://127.0.0.1$page" || fail "the container's server does not begin"
# Container to container, by its name.
must docker run --rm --network emulate slipway/hello wget -q -O - "http://web$page"
grep -q 'GNU GENERAL PUBLIC LICENSE' "$FOLDER/must.log" || fail "another container's page is $(head -c 100 "$FOLDER/must.log")"
evidence "container to container: http://web:80"
# Container to board.
gateway=$(docker network inspect --format '{{(index .IPAM.Config 0).Gateway}}' emulate)
"$SLOT/bin/busybox" httpd -f -p "$gateway:18081" -h "$SLOT" &
server=$!
wait_for 60 busybox wget -q -O - "http://$gateway:18081$page" || fail "the board's server does not begin"
must docker run --rm --network emulate slipway/hello wget -q -O - "http://$gateway:18081$page"
grep -q 'GNU GENERAL PUBLIC LICENSE' "$FOLDER/must.log" || fail "the board's page is $(head -c 100 "$FOLDER/must.log")"
evidence "container to board: http://$gateway:18081"
# Board to container, at the published port: by the packet filter, and on loopback by docker-proxy.
for host in "$gateway" 127.0.0.1; do
    must busybox wget -q -O - "http://$host:18080$page"
    grep -q 'GNU GENERAL PUBLIC LICENSE' "$FOLDER/must.log" || fail "the published page is $(head -c 100 "$FOLDER/must.log")"
    evidence "published port: http://$host:18080"
done
iptables-save -t nat >"$FOLDER/nat" || fail "iptables-save gives no rules"
grep -q 'DOCKER.*--dport 18080 -j DNAT' "$FOLDER/nat" || fail "no rule forwards the published port"
grep -q 'MASQUERADE' "$FOLDER/nat" || fail "nothing hides the containers' addresses"

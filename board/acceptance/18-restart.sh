# proves: after dockerd was killed, `slipway up` brings it back, and containers that are to restart run again
# limit: 600
# needs: images
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
docker rm -f lasting passing >/dev/null 2>&1
must docker run -d --name lasting --restart always slipway/hello sh -c 'busybox sleep 3600'
must docker run -d --name passing slipway/hello sh -c 'busybox sleep 3600'
pid=$(pidof dockerd) || fail "dockerd does not run"
must kill -9 "$pid"
gone() { ! kill -0 "$pid" 2>/dev/null; }
wait_for 30 gone || fail "dockerd does not die"
case $(slipway status --porcelain) in
*docker=up*) fail "status says that docker is up" ;;
esac
must slipway up
new=$(pidof dockerd) || fail "dockerd does not run again"
[ "$new" != "$pid" ] || fail "it is the same dockerd"
running() { [ "$(docker inspect --format '{{.State.Running}}' lasting)" = true ]; }
wait_for 60 running || fail "the container with --restart always does not run: $(docker ps -a | grep lasting)"
must docker exec lasting busybox true
[ "$(docker inspect --format '{{.State.Running}}' passing)" = false ] || fail "the container without it runs too"
must docker rm -f lasting passing
evidence "dockerd $pid killed, $new in its place; the one container runs again, the other does not"

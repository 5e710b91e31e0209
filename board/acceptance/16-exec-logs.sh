# proves: docker exec runs a command in a container, docker logs tells what it printed, docker stop ends it
# limit: 300
# needs: images
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
docker rm -f talker >/dev/null 2>&1
must docker run -d --name talker slipway/hello sh -c 'trap "exit 0" TERM; echo out; echo err >&2; while :; do busybox sleep 1; done'
must docker exec talker sh -c 'busybox echo inside $((20 + 22)); busybox hostname'
grep -q '^inside 42' "$FOLDER/must.log" || fail "docker exec gave $(cat "$FOLDER/must.log")"
docker exec talker sh -c 'exit 5'
status=$?
[ $status = 5 ] || fail "exit status 5 of docker exec came back as $status"
logged() { docker logs talker >"$FOLDER/out" 2>"$FOLDER/err" && [ -s "$FOLDER/out" ] && [ -s "$FOLDER/err" ]; }
wait_for 30 logged || fail "docker logs shows nothing"
[ "$(cat "$FOLDER/out") $(cat "$FOLDER/err")" = "out err" ] || fail "docker logs gave $(cat "$FOLDER/out" "$FOLDER/err")"
must docker stop -t 20 talker
status=$(docker inspect --format '{{.State.ExitCode}}' talker)
docker rm talker >/dev/null
[ "$status" = 0 ] || fail "stopped, it gave status $status"
evidence "exec with its exit status; both streams of the log; stop ended it with status 0"

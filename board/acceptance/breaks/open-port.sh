# proves: a daemon that listens on port 2375 for everyone is found
# caught-by: docker-info
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
if [ "$STAGE" = undo ]; then
    must kill "$(cat "$FOLDER/open-port.pid")"
    exit
fi
"$SLOT/bin/busybox" httpd -f -p 2375 -h /sys >/dev/null 2>&1 &
echo $! >"$FOLDER/open-port.pid"
open() { netstat -ltn | grep -q ':2375 '; }
wait_for 30 open || fail "nothing listens"

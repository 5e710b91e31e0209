# proves: after a reboot, OpenHarmony's init starts everything, and containers that are to restart run again
# limit: 900
# needs: images
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
boot=$(cat /proc/sys/kernel/random/boot_id)
if [ "$STAGE" = 1 ]; then
    docker rm -f lasting >/dev/null 2>&1
    must docker run -d --name lasting --restart always slipway/hello sh -c 'busybox sleep 36000'
    echo "$boot" >"$FOLDER/boot"
    go_on_after reboot
fi
[ "$boot" != "$(cat "$FOLDER/boot")" ] || fail "the board was not started anew"
# Nobody calls `up`: the file that `install --boot` left for init does.
healthy() { slipway status --porcelain | grep -q '^health=ok'; }
wait_for 300 healthy || fail "it does not come up by itself: $(slipway status --porcelain | tr '\n' ' ')"
running() { docker exec lasting busybox true; }
wait_for 60 running || fail "the container with --restart always does not run"
must docker rm -f lasting
leave_to_end
read -r up _ </proc/uptime
evidence "healthy ${up%.*} s after the kernel's start, without anybody's doing"

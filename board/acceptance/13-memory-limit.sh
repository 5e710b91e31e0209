# proves: a container's memory limit is enforced: beyond it the container is killed, below it not
# limit: 300
# needs: images
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
use='busybox dd if=/dev/zero of=/dev/null count=1'
must docker run --rm -m 32m slipway/hello sh -c "$use bs=8M"
kills() { dmesg | grep -c 'Memory cgroup out of memory'; }
before=$(kills)
docker rm -f greedy >/dev/null 2>&1
docker run --name greedy -m 32m slipway/hello sh -c "exec $use bs=96M" >"$FOLDER/greedy.log" 2>&1
status=$?
after=$(kills)
told=$(docker inspect --format '{{.State.OOMKilled}}' greedy 2>&1)
docker rm -f greedy >/dev/null 2>&1
[ $status = 137 ] || fail "a container with 32 MiB used 96: status $status, $(tail -n 1 "$FOLDER/greedy.log")"
[ "$after" -gt "$before" ] || fail "it was killed, but not by the kernel for want of memory"
[ "$told" = true ] || fail "it was killed for want of memory, and Docker does not know: OOMKilled is $told"
evidence "8 MiB of 32 used: status 0; 96 MiB of 32: killed by the kernel: $(dmesg | grep 'Memory cgroup out of memory' | tail -n 1 | cut -d: -f2- | cut -c1-60)"

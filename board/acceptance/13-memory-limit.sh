# proves: a container's memory limit is enforced: beyond it the container is killed, below it not
# limit: 300
# needs: images
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
use='busybox dd if=/dev/zero of=/dev/null count=1'
must docker run --rm -m 32m slipway/hello sh -c "$use bs=8M"
kills() { dmesg | grep -c 'Memory cgroup out of memory'; }
before=$(kills)
clean() { docker rm -f greedy >/dev/null 2>&1; }
clean
trap clean EXIT
# Not the first process: were it the one that is killed, Docker might hear of its end before it hears of the reason, and
# would keep that for the truth. And not before `run` has returned: containerd asks the kernel to be told of such kills
# only when the container runs already, and is not told of those before.
must docker run -d --name greedy -m 32m slipway/hello busybox sleep 600
docker exec greedy sh -c "exec $use bs=96M" >"$FOLDER/greedy.log" 2>&1
status=$?
[ $status = 137 ] || fail "a container with 32 MiB used 96: status $status, $(head -n 1 "$FOLDER/greedy.log")"
[ "$(kills)" -gt "$before" ] || fail "it was killed, but not by the kernel for want of memory"
heard() { [ -n "$(docker events --since 10m --until 0s --filter container=greedy --filter event=oom)" ]; }
wait_for 60 heard || fail "it was killed for want of memory, and Docker does not hear of it"
must docker stop -t 0 greedy
told=$(docker inspect --format '{{.State.OOMKilled}}' greedy 2>&1)
[ "$told" = true ] || fail "it was killed for want of memory, and Docker does not know: OOMKilled is $told"
evidence "8 MiB of 32 used: status 0; 96 MiB of 32: killed by the kernel: $(dmesg | grep 'Memory cgroup out of memory' | tail -n 1 | cut -d: -f2- | cut -c1-60)"

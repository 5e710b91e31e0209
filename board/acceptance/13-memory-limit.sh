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
# The first process goes on: were it the one that is killed, Docker might hear of its end before it hears of the reason,
# and would keep that for the truth.
must docker run -d --name greedy -m 32m slipway/hello sh -c "$use bs=96M; echo status \$?; exec busybox sleep 600"
ended() { docker logs greedy 2>&1 | grep -q '^status '; }
wait_for 120 ended || fail "what used 96 MiB did not end: $(docker logs greedy 2>&1 | tail -n 1)"
status=$(docker logs greedy 2>&1 | sed -n 's/^status //p')
[ "$status" = 137 ] || fail "a container with 32 MiB used 96: status $status, $(docker logs greedy 2>&1 | head -n 1)"
[ "$(kills)" -gt "$before" ] || fail "it was killed, but not by the kernel for want of memory"
heard() { [ -n "$(docker events --since 10m --until 0s --filter container=greedy --filter event=oom)" ]; }
wait_for 60 heard || fail "it was killed for want of memory, and Docker does not hear of it"
must docker stop -t 0 greedy
told=$(docker inspect --format '{{.State.OOMKilled}}' greedy 2>&1)
[ "$told" = true ] || fail "it was killed for want of memory, and Docker does not know: OOMKilled is $told"
evidence "8 MiB of 32 used: status 0; 96 MiB of 32: killed by the kernel: $(dmesg | grep 'Memory cgroup out of memory' | tail -n 1 | cut -d: -f2- | cut -c1-60)"

# proves: `slipway down` takes back all that `up` did, and `up` brings it again with images and containers
# limit: 900
# needs: images
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
docker rm -f keeps >/dev/null 2>&1
must docker run --name keeps slipway/hello
must slipway down
for name in dockerd containerd containerd-shim containerd-shim-runc-v2 docker-proxy; do
    if pidof $name >/dev/null; then fail "$name still runs"; fi
done
grep -e ' /run ' -e ' /var ' -e ' /tmp ' -e ' /mnt/f2fs ' -e ' /sys/fs/cgroup' /proc/mounts >"$FOLDER/left"
[ ! -s "$FOLDER/left" ] || fail "mounts are left: $(cut -d' ' -f2 "$FOLDER/left" | tr '\n' ' ')"
if "$SLOT/bin/ip" link show docker0 >/dev/null 2>&1; then fail "docker0 is left"; fi
if grep -q docker /proc/mounts; then fail "$(grep docker /proc/mounts | head -n 1) is left"; fi
XTABLES_LOCKFILE=$FOLDER/xtables.lock "$SLOT/bin/iptables-save" >"$FOLDER/rules"
if grep -q DOCKER "$FOLDER/rules"; then fail "rules are left: $(grep DOCKER "$FOLDER/rules" | head -n 1)"; fi
# OpenHarmony's own mounts are not ours to take.
[ -e /dev/memcg/tasks ] || fail "OpenHarmony's control groups are gone"
must slipway down
must slipway up
must docker logs keeps
grep -q 'Hello from Slipway' "$FOLDER/must.log" || fail "the container's log is lost"
must docker rm keeps
must slipway up
evidence "nothing left after down; images and containers there after up; both do no harm a second time"

# proves: each control group hierarchy of the settings is where Docker looks for it, beside OpenHarmony's own mounts
# limit: 60
# needs: up
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
wanted=$(sed -n 's/^cgroup_controllers=//p' "$SLOT/etc/slipway/settings")
[ -n "$wanted" ] || fail "the settings name no controller"
mounted='' missing=''
for controller in $wanted; do
    if ! grep -q "^${controller}[[:space:]]" /proc/cgroups; then
        missing="$missing $controller"
        continue
    fi
    [ -e "/sys/fs/cgroup/$controller/tasks" ] || fail "$controller is not mounted in /sys/fs/cgroup"
    mounted="$mounted $controller"
done
# OpenHarmony's own stay, and show the same groups.
must mkdir /dev/memcg/emulate
[ -d /sys/fs/cgroup/memory/emulate ] || fail "/dev/memcg and /sys/fs/cgroup/memory are two hierarchies"
must rmdir /sys/fs/cgroup/memory/emulate
# A group of OpenHarmony's takes a process only if it has both processors and memory nodes.
for value in cpuset.cpus cpuset.mems; do
    [ -n "$(cat /dev/cpuset/background/$value)" ] || fail "/dev/cpuset/background/$value is empty"
done
if ! sh -c 'echo $$ >/dev/cpuset/background/tasks' 2>"$FOLDER/cpuset.log"; then
    fail "/dev/cpuset/background takes no process: $(cat "$FOLDER/cpuset.log")"
fi
evidence "mounted:$mounted; not in this kernel:${missing:- none}"

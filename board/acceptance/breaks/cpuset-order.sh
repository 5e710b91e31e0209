# proves: a group of OpenHarmony's that was given memory nodes and no processors is found
# caught-by: cgroups
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
group=/dev/cpuset/background
if [ "$STAGE" = undo ]; then
    cat /dev/cpuset/cpuset.cpus >$group/cpuset.cpus || fail "the group keeps its processors to itself"
    exit
fi
echo >$group/cpuset.cpus || fail "the group keeps its processors"

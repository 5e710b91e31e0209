# proves: a memory controller that containerd does not find, since OpenHarmony calls it memcg, is found
# caught-by: stats
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
if [ "$STAGE" = undo ]; then
    must ln -s memcg /dev/memory
    exit
fi
must rm /dev/memory

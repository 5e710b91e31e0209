# proves: the board is what the bundle is made for: 64-bit Arm, a read-only root, a writable /data, a card
# limit: 60
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
[ "$(uname -m)" = aarch64 ] || fail "this is $(uname -m)"
evidence "$(uname -s) $(uname -r) $(uname -m)"
if touch /probe 2>/dev/null; then fail "the root can be written"; fi
for folder in /run /var /tmp; do
    [ ! -e "$folder" ] || fail "$folder is there already"
done
must touch /data/probe
rm /data/probe
[ -b /dev/block/mmcblk0p1 ] || fail "there is no card"
evidence "$(blkid /dev/block/mmcblk0p1 | tr ' ' '\n' | grep -x 'TYPE=.*') on the card"

# proves: a 64-bit iptables does the same on this kernel, whatever the bundle's width
# limit: 300
# needs: kernel
# sends: xtables64
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
[ "$(head -c 5 "$FOLDER/xtables64" | od -A n -t x1 | tr -d ' \n')" = 7f454c4602 ] || fail "it is not a 64-bit program"
check_packet_filter "$FOLDER/xtables64"

# proves: the bundle's iptables and ip6tables: filter, nat, MASQUERADE, DNAT, addrtype, conntrack, comment, mark, DOCKER chains
# limit: 300
# needs: install
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
check_packet_filter "$SLOT/bin/xtables-legacy-multi"

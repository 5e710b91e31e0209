# proves: the bundle's iptables and ip6tables: filter, nat, MASQUERADE, DNAT, addrtype, conntrack, comment, mark, DOCKER chains
# limit: 300
# needs: install
check_packet_filter "$SLOT/bin/xtables-legacy-multi"

# proves: ip configures addresses, rules, bridges and veth pairs
# limit: 120
# needs: install
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
must ip link add emu0 type bridge
must ip link add emu1 type veth peer name emu2
must ip link set emu1 master emu0
must ip addr add 192.0.2.1/24 dev emu0
must ip link set emu0 up
must ip link set emu1 up
must ip link set emu2 up
ip addr show dev emu0 | grep -q '192\.0\.2\.1/24' || fail "the address is not shown"
ip -d link show emu0 | grep -q bridge || fail "emu0 is no bridge"
ip link show emu1 | grep -q 'master emu0' || fail "emu1 is not in the bridge"
ip -d link show emu2 | grep -q veth || fail "emu2 is no veth"
must ip route add 198.51.100.0/24 via 192.0.2.2
ip route show | grep -q '198\.51\.100\.0/24 via 192\.0\.2\.2 dev emu0' || fail "the route is not shown"
must ip rule add pref 77 from all lookup main
ip rule show | grep -q '^77:' || fail "the rule is not shown"
must ip rule del pref 77
ip link del emu1 2>/dev/null
must ip link del emu0
evidence "$(ip -V)"

# proves: a kernel without a nat table is found: IPv6's, since IPv4's is in use by Docker
# caught-by: iptables
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
if [ "$STAGE" = undo ]; then
    must insmod /emulator/modules/ip6table_nat.ko
    exit
fi
must rmmod ip6table_nat
if grep -q '^ip6table_nat ' /proc/modules; then fail "the module is in use"; fi

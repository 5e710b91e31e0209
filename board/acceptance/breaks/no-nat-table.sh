# proves: a kernel without the nat table is found
# caught-by: iptables
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
if [ "$STAGE" = undo ]; then
    must insmod /emulator/modules/iptable_nat.ko
    exit
fi
must rmmod iptable_nat

# proves: an iptables that needs a loader, as libtool makes it from a plain -static, is found
# caught-by: iptables
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
program=$SLOT/bin/xtables-legacy-multi
if [ "$STAGE" = undo ]; then
    must mv "$program.good" "$program"
    exit
fi
must mv "$program" "$program.good"
# A program of Debian's, linked with a C library that the board does not have.
must cp /emulator/dynamic "$program"
must chmod 755 "$program"

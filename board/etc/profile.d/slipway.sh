# Puts the bundle's programs into reach of the shell that reads this, on the board:
#
#     SLIPWAY=/data/slipway-dayu200-0.1.0 . /data/slipway-dayu200-0.1.0/etc/profile.d/slipway.sh
#
# They come behind the board's own: its `ip` and `mount` keep their names, ours are there where it has none.

if [ -x "${SLIPWAY:-}/bin/busybox" ]; then
    PATH=$PATH:$SLIPWAY/bin
    export SLIPWAY PATH
else
    echo "slipway: set SLIPWAY to the folder that the bundle was unpacked into" >&2
fi

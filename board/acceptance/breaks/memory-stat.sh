# proves: programs that cannot read a line of memory.stat are found: this one is like OpenHarmony's, and none knows it
# caught-by: stats
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
if [ "$STAGE" = undo ]; then
    must rm "$FOLDER/lines"
    exit
fi
printf 'Unheard:\t        5678 kB\n' >"$FOLDER/lines"

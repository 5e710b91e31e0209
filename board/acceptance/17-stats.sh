# proves: docker stats and runc read memory.stat with the lines that OpenHarmony's kernel adds
# limit: 300
# needs: images
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
docker rm -f counted >/dev/null 2>&1
must docker run -d --name counted -m 64m slipway/hello sh -c 'busybox sleep 600'
id=$(docker inspect --format '{{.Id}}' counted)
stat=/sys/fs/cgroup/memory/docker/$id/memory.stat
mounted=
clean() {
    [ -z "$mounted" ] || umount "$stat"
    docker rm -f counted >/dev/null 2>&1
}
trap clean EXIT
[ -r "$stat" ] || fail "there is no $stat"
# This kernel does not have the lines: a copy of the file with them stands in its place. That is not the same as a
# kernel that prints them, but the readers cannot tell.
cat "$stat" >"$FOLDER/memory.stat"
printf 'Anon:\t        5678 kB\nFile:\t           0 kB\nzram:\t       12345 kB\nEswap:\t           0 kB\n' >>"$FOLDER/memory.stat"
[ ! -f "$FOLDER/lines" ] || cat "$FOLDER/lines" >>"$FOLDER/memory.stat" # what a break adds
must mount -o bind "$FOLDER/memory.stat" "$stat"
mounted=yes
grep -q '^Anon:' "$stat" || fail "the lines are not in $stat"
must docker stats --no-stream --format '{{.Name}} {{.MemUsage}} {{.PIDs}}' counted
case $(cat "$FOLDER/must.log") in
"counted 0B / 0B"*) fail "docker stats knows nothing: $(cat "$FOLDER/must.log")" ;;
counted*"/ 64MiB"*) evidence "docker stats: $(cat "$FOLDER/must.log")" ;;
*) fail "docker stats gave $(cat "$FOLDER/must.log")" ;;
esac
root=
for folder in "$BOARD_DIR"/run/docker/runtime-*/moby /run/docker/runtime-*/moby /var/run/docker/runtime-*/moby; do
    [ ! -d "$folder/$id" ] || root=$folder
done
[ -n "$root" ] || fail "runc's state of the container is not found"
must runc --root "$root" events --stats "$id"
grep -q '"usage":{"limit":67108864' "$FOLDER/must.log" || fail "runc gave $(head -c 300 "$FOLDER/must.log")"
evidence "runc events --stats: memory.limit 67108864, with $(grep -c ' kB$' "$stat") lines of OpenHarmony's, by a bind-mounted file"

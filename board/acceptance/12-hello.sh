# proves: docker run starts a container, brings its output and its exit status, and leaves nothing behind
# limit: 300
# needs: images
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
must docker run --rm slipway/hello
grep -q 'Hello from Slipway' "$FOLDER/must.log" || fail "it said $(cat "$FOLDER/must.log")"
evidence "$(cat "$FOLDER/must.log")"
docker run --rm slipway/hello sh -c 'exit 3'
status=$?
[ $status = 3 ] || fail "exit status 3 came back as $status"
[ -z "$(docker ps -a -q)" ] || fail "containers are left: $(docker ps -a -q | tr '\n' ' ')"
# What a container writes goes into its layer on the card, not into the image.
must docker run --rm slipway/hello sh -c 'echo x >/written && busybox grep " / overlay " /proc/mounts'
evidence "its root: $(cut -d' ' -f1-3 "$FOLDER/must.log")"
if docker run --rm slipway/hello cat /written 2>/dev/null; then fail "the image was written to"; fi

# proves: the bundle's own images are loaded, each for this architecture
# limit: 300
# needs: up
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
count=0
for archive in "$SLOT"/share/images/*.tar; do
    name=$(tar -xOf "$archive" manifest.json | tr -d ' \n' | sed -n 's/.*"RepoTags":\["\([^"]*\)".*/\1/p')
    [ -n "$name" ] || fail "${archive##*/} names no image"
    must docker image inspect --format '{{.Architecture}} {{.Size}}' "$name"
    case $(cat "$FOLDER/must.log") in
    "arm64 "*) ;;
    *) fail "$name: $(cat "$FOLDER/must.log")" ;;
    esac
    must docker load -i "$archive"
    grep -q 'Loaded image' "$FOLDER/must.log" || fail "docker load says $(cat "$FOLDER/must.log")"
    evidence "$name"
    count=$((count + 1))
done
[ $count -gt 0 ] || fail "the bundle has no images"

# proves: dockerd runs with overlay2 on f2fs and cgroupfs, warns of nothing that can be helped, opens no port
# limit: 120
# needs: up
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
must docker info
info=$FOLDER/info
cp "$FOLDER/must.log" "$info"
for line in 'Storage Driver: overlay2' 'Backing Filesystem: f2fs' 'Supports d_type: true' 'Cgroup Driver: cgroupfs' \
    'Architecture: aarch64'; do
    grep -q "$line" "$info" || fail "docker info does not say \`$line\`"
done
# Docker 18.09 knows of no other version, and says none.
if grep 'Cgroup Version' "$info" | grep -v -q 'Cgroup Version: 1'; then fail "$(grep 'Cgroup Version' "$info")"; fi
# What depends on the kernel alone: block weights went with CFQ, and real-time groups are not in every kernel.
grep '^WARNING' "$info" | grep -v -e 'blkio weight' -e 'cpu realtime' -e 'cpu rt ' >"$FOLDER/warnings"
[ ! -s "$FOLDER/warnings" ] || fail "$(head -n 3 "$FOLDER/warnings" | tr '\n' ' ')"
netstat -ltn >"$FOLDER/ports" || fail "netstat does not tell which ports are open"
for port in 2375 2376; do
    if grep -q ":$port " "$FOLDER/ports"; then fail "port $port is open: everyone on the network would be root"; fi
done
evidence "$(sed -n 's/^ *\(Server Version: .*\)/\1/p' "$info"), overlay2 on f2fs, cgroupfs, kernel $(uname -r)"
evidence "TCP ports that are open: $(grep -c LISTEN "$FOLDER/ports") $(sed -n 's/^tcp *[0-9]* *[0-9]* *\([^ ]*\).*LISTEN.*/\1/p' "$FOLDER/ports" | tr '\n' ' ')"

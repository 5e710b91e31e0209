# proves: a container's share of the processor is enforced
# limit: 300
# needs: images
# It counts for as long as the kernel gives it a fifth of one processor, and tells how often it was held back.
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
must docker run --rm --cpus 0.2 slipway/hello sh -c '
    usage=/sys/fs/cgroup/cpuacct/cpuacct.usage
    read -r used <$usage
    read -r before _ </proc/uptime
    i=0; while [ $i -lt 30000 ]; do i=$((i + 1)); done
    read -r after _ </proc/uptime
    read -r now <$usage
    echo "$before $after"
    cat /sys/fs/cgroup/cpu/cpu.stat /sys/fs/cgroup/cpu/cpu.cfs_quota_us
    echo $((now - used))'
throttled=$(sed -n 's/^nr_throttled //p' "$FOLDER/must.log")
quota=$(sed -n 5p "$FOLDER/must.log")
[ "$quota" = 20000 ] || fail "the quota is $quota"
[ "${throttled:-0}" -gt 0 ] || {
    cat "$FOLDER/must.log"
    fail "it was never held back"
}
# Nanoseconds over hundredths of a second, in percent. The board's shell counts with 32 bits.
used=$(tail -n 1 "$FOLDER/must.log")
read -r before after <"$FOLDER/must.log"
wall=$((${after%.*}${after#*.} - ${before%.*}${before#*.}))
[ $wall -gt 0 ] || fail "it took no time"
percent=$(busybox awk "BEGIN { print int($used / 100000 / $wall) }")
evidence "held back $throttled times, had about $percent % of a processor, 20 % allowed"
[ "$percent" -lt 35 ] || fail "it had $percent % of a processor"

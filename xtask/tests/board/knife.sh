# shellcheck shell=sh disable=SC2317 # part of a copy of bin/slipway
# The tests put this into a copy of slipway, before its last line: it does what slipway does, and on the way what the test
# has ordered in /data/t. calls: the words whose calls are counted, in count (applets, and `note` for an entry in the
# journal); kill-at: the number of the call before which slipway is killed; refuse: calls with these words fail;
# blkid-NAME: what is on a device. f2fs is a tmpfs here.

knife() {
    [ -e /data/t/calls ] || return 0
    read -r knife_calls </data/t/calls
    case " $knife_calls " in *" $1 "*) ;; *) return 0 ;; esac
    knife_count=0 knife_at=-1
    [ ! -e /data/t/count ] || read -r knife_count </data/t/count
    echo $((knife_count + 1)) >/data/t/count
    [ ! -e /data/t/kill-at ] || read -r knife_at </data/t/kill-at
    [ "$knife_at" = "$knife_count" ] || return 0
    "$BUSYBOX" rm /data/t/kill-at
    kill -9 $$
    exit 137
}

refused() {
    [ -e /data/t/refuse ] || return 1
    read -r knife_words </data/t/refuse
    case "$*" in *"$knife_words"*) echo "$1: Operation not permitted" >&2 ;; *) return 1 ;; esac
}

for applet in chmod cp ln mkdir mount mv rm rmdir tar umount; do
    eval "$applet() { knife $applet; ! refused $applet \"\$@\" || return 1; do_$applet \"\$@\"; }
        do_$applet() { \"\$BUSYBOX\" $applet \"\$@\"; }"
done

do_mount() {
    case "$*" in
    '-t f2fs '*) "$BUSYBOX" mount -t tmpfs "$3" "$4" ;;
    *) "$BUSYBOX" mount "$@" ;;
    esac
}

blkid() {
    [ ! -e "/data/t/blkid-${1##*/}" ] || echo "$1: TYPE=\"$(cat "/data/t/blkid-${1##*/}")\""
}

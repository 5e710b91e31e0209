# shellcheck shell=sh disable=SC2012,SC2015,SC2034,SC2153,SC2154 # part of bin/slipway, where the rest is
# The board made ready for containers: folders, mounts, cgroups, the data file system, network, SELinux.
# Each step looks first and does nothing where it is already so.

# --- Looked at before anything is changed -------------------------------------------------------------------------

check_board() {
    [ "$(id_of_user)" = 0 ] || die "set the board up" "you are not root" "Run it as root (hdc shell is)."
    for name in $bind_dirs; do
        if [ -L "/$name" ] && ! same_file "/$name" "/data/$name"; then
            die "bind /data/$name onto /$name" "/$name is a link to $(readlink "/$name"), and a mount would hide that" \
                "Take $name out of the target's bind_dirs and build the bundle again. Nothing was changed."
        fi
    done
    check_daemon_json
    check_data_device
}

# Never a port that gives the board to whoever asks.
check_daemon_json() {
    json=$SLOT/etc/docker/daemon.json
    [ -f "$json" ] || die "read $json" "the file is missing" "Build the bundle again (cargo xtask bundle). Nothing was changed."
    ! grep -q 'tcp://' "$json" || grep -q '"tlsverify": *true' "$json" || die "start dockerd" \
        "$json opens a TCP port without tlsverify, and everyone on the network would be root here" \
        "See docs/board.md, Docker over the network. Nothing was changed."
}

id_of_user() { awk '$1 == "Uid:" { print $3 }' /proc/self/status; }

same_file() { [ "$(stat -L -c %d:%i "$1" 2>/dev/null)" = "$(stat -L -c %d:%i "$2" 2>/dev/null)" ] && [ -e "$1" ]; }

# --- Folders and files that stay ------------------------------------------------------------------------------------

# make_dir PATH: with the folders above it. Read-only roots are made writable, and put back by the caller.
make_dir() {
    [ ! -d "$1" ] || return 0
    above=${1%/*}
    [ -d "${above:-/}" ] || make_dir "$above"
    above=${1%/*}
    place=$(realpath "${above:-/}")
    place=${place%/}/${1##*/}
    make_writable "${place%/*}/" || die "make the folder $1" "$ROOT_ERROR" \
        "Make the board's image with it (docs/board.md, Root folders), then: slipway up"
    note "$MADE" dir "$place"
    mkdir "$place" || die "make the folder $1" "mkdir failed" "Check the space: df -h ${place%/*}"
}

# A file of the bundle, filled in and laid over the board's own. Where the board has none, an empty one is made first;
# where it cannot be made, containers still have theirs.
lay_over() {
    same_file "$RUN/etc/${2##*/}" "$2" && return
    if [ ! -e "$2" ]; then
        place=$(realpath "${2%/*}" 2>/dev/null)/${2##*/}
        if ! make_writable "${place%/*}/"; then
            warn "the board has no $2, and none can be made: $ROOT_ERROR. Its own programs do without"
            return
        fi
        note "$MADE" file "$place" "$EMPTY_SHA256"
        : >"$place"
    fi
    at=$(realpath "$2")
    note "$JOURNAL" mount "$at" "$(mounts_at "$at")"
    mount --bind "$RUN/etc/${2##*/}" "$at" || die "lay $1 over $2" "the mount failed" "See the kernel's words: dmesg | tail"
}
EMPTY_SHA256=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855

prepare_folders() {
    for name in $bind_dirs; do
        make_dir "/data/$name"
        make_dir "/$name"
    done
    make_dir "$data_root"
    write_os_release
    put_back_roots
    for name in $bind_dirs; do bind_dir "$name"; done
}

# dockerd tells the system's name by it. Below the folder that becomes /usr, if one does.
write_os_release() {
    usr=/usr
    case " $bind_dirs " in *' usr '*) usr=/data/usr ;; esac
    ours=$SLOT/usr/lib/os-release
    [ -f "$ours" ] && [ ! -e "$usr/lib/os-release" ] || return 0
    make_dir "$usr/lib"
    note "$MADE" file "$usr/lib/os-release" "$(hash_of "$ours")"
    cp "$ours" "$usr/lib/os-release" || warn "$usr/lib/os-release cannot be written; dockerd says so too, and goes on"
}

bind_dir() {
    same_file "/data/$1" "/$1" && return
    at=$(realpath "/$1")
    note "$JOURNAL" mount "$at" "$(mounts_at "$at")"
    mount --bind "/data/$1" "$at" || die "bind /data/$1 onto /$1" "the mount failed" "See the kernel's words: dmesg | tail"
}

prepare_files() {
    mkdir -p "$RUN/etc"
    for name in hosts resolv.conf; do
        [ -f "$SLOT/etc/$name" ] || continue
        fill "$SLOT/etc/$name" "$RUN/etc/$name"
        lay_over "$SLOT/etc/$name" "/etc/$name"
    done
    put_back_roots
    # runc starts itself again from a file it holds open, by the name /dev/fd/N on some kernels.
    if [ ! -e /dev/fd ]; then
        note "$JOURNAL" link /dev/fd /proc/self/fd
        ln -s /proc/self/fd /dev/fd || warn "/dev/fd cannot be made; runc may fail with 'could not ensure we are a cloned binary'"
    fi
}

# fill FROM TO: a copy of a rendered file with the secrets in their places, for root alone. In place, since it may be
# mounted over another. False if a secret is missing; MISSING_SECRET says which.
fill() {
    # shellcheck disable=SC2013 # names of secrets hold no spaces
    for MISSING_SECRET in $(tr @ '\n' <"$1" | sed -n 's/^SECRET:\([a-z0-9_]*\)$/\1/p'); do
        [ -s "$SECRETS/$MISSING_SECRET" ] || return 1
    done
    MISSING_SECRET=
    touch "$2" && chmod 600 "$2" || die "write $2" "it failed" "Check the space: df -h $BOARD"
    awk -v secrets="$SECRETS" '{
        out = ""
        while (match($0, /@SECRET:[a-z0-9_]+@/)) {
            file = secrets "/" substr($0, RSTART + 8, RLENGTH - 9)
            secret = ""
            getline secret < file
            close(file)
            out = out substr($0, 1, RSTART - 1) secret
            $0 = substr($0, RSTART + RLENGTH)
        }
        print out $0
    }' "$1" >"$2"
    case ${2##*/} in hosts | resolv.conf) chmod 644 "$2" ;; esac
}

# --- The data root ------------------------------------------------------------------------------------------------

# Sets DEVICE_NUMBER (major:minor) of the block device $1.
device_number() {
    DEVICE_NUMBER=$(stat -L -c '%t %T' "$1" 2>/dev/null) || return 1
    DEVICE_NUMBER=$((0x${DEVICE_NUMBER% *})):$((0x${DEVICE_NUMBER#* }))
}

data_is_mounted() { [ "$(mounts_at "$(realpath "$data_root" 2>/dev/null)")" -gt 0 ]; }

# Sets DATA_TYPE to the file system that is on the data device, empty if none is known.
probe_data() { DATA_TYPE=$(blkid "$data_device" 2>/dev/null | sed -n 's/.* TYPE="\([^"]*\)".*/\1/p'); }

check_data_device() {
    [ -n "$data_device" ] || {
        existing=$data_root
        while [ ! -d "${existing:-/}" ]; do existing=${existing%/*}; done
        ! read_only "$(realpath "${existing:-/}")" || die "keep containers in $data_root" \
            "it lies on $M_POINT, which is read-only, and no data_device is set to be mounted there" \
            "Build with --set data_device=…, or with a data_root below /data. Nothing was changed."
        return
    }
    ! data_is_mounted || return 0
    # At boot, a card is found some seconds after init has begun.
    while [ ! -e "$data_device" ] && [ "$(seconds)" -lt 30 ]; do sleep 1; done
    [ -e "$data_device" ] || die "mount $data_device on $data_root" "there is no $data_device" \
        "Is the card in? In /dev/block: $(devices). Another: build with --set data_device=…"
    [ -b "$data_device" ] || die "mount $data_device on $data_root" "it is no block device" "Build with --set data_device=…"
    probe_data
    if [ "$DATA_TYPE" = "$data_filesystem" ]; then
        [ -z "$FORMAT" ] || say "$data_device holds $data_filesystem already; it is not formatted"
        return
    fi
    on_it=${DATA_TYPE:-no file system that blkid knows}
    device_number "$data_device"
    if [ -z "$FORMAT" ]; then
        die "mount $data_device on $data_root" "it holds $on_it, and $data_filesystem is wanted" \
            "To make that on it, which ERASES it: slipway up --format${DATA_TYPE:+=$DATA_TYPE}"
    fi
    refuse="format $data_device"
    mounted=$(awk -v d="$DEVICE_NUMBER" '$3 == d { print $5; exit }' /proc/self/mountinfo)
    [ -z "$mounted" ] || die "$refuse" "it is mounted on $mounted" "Copy what you need, then: umount $mounted"
    system=$(mounted_neighbour)
    [ -z "$system" ] || die "$refuse" "the board itself runs from another part of that disk, mounted on $system" \
        "This is hardly the card. Look at: blkid; then build with --set data_device=…"
    [ "$FORMAT" = "${DATA_TYPE:-yes}" ] || die "$refuse" "it holds $on_it, and that was not said to be erased" \
        "If nothing on it is needed: slipway up --format${DATA_TYPE:+=$DATA_TYPE}"
    find_mkfs || die "$refuse" "this board has no mkfs.$data_filesystem" \
        "Format it on another machine: mkfs.$data_filesystem DEVICE; then: slipway up"
}

devices() {
    found=$(ls /dev/block 2>/dev/null | tr '\n' ' ')
    say "${found:-nothing}"
}

# Where another partition of the data device's disk is mounted.
mounted_neighbour() {
    disk=$(realpath "/sys/dev/block/$DEVICE_NUMBER" 2>/dev/null) || return 0
    [ ! -e "$disk/partition" ] || disk=${disk%/*}
    for neighbour in "$disk"/*/dev; do
        [ -r "$neighbour" ] && read -r number <"$neighbour" &&
            awk -v d="$number" '$3 == d { print $5; exit }' /proc/self/mountinfo
    done | head -n 1
}

find_mkfs() {
    for MKFS in "$SLOT/bin/mkfs.$data_filesystem" "/system/bin/mkfs.$data_filesystem" "/vendor/bin/mkfs.$data_filesystem"; do
        [ ! -x "$MKFS" ] || return 0
    done
    return 1
}

prepare_data() {
    if [ -z "$data_device" ]; then
        mount_of "$(realpath "$data_root")"
        case $M_TYPE in
        f2fs | xfs | btrfs) ;;
        *) warn "images and containers go to $data_root, on $M_TYPE. If that is encrypted, as OpenHarmony's /data is," \
            "overlay2 may refuse it: then use a card in f2fs (--set data_device=…)" ;;
        esac
        return
    fi
    at=$(realpath "$data_root")
    if data_is_mounted; then
        mount_of "$at" && device_number "$data_device" 2>/dev/null
        [ "$M_SOURCE" = "$data_device" ] || [ "$M_DEVICE" = "${DEVICE_NUMBER:-}" ] ||
            warn "$data_root is already mounted, from $M_SOURCE and not from $data_device; it is used as it is"
        return
    fi
    probe_data
    if [ "$DATA_TYPE" != "$data_filesystem" ]; then
        say "formatting $data_device with $data_filesystem"
        # What was there must not be taken for a file system once it is half overwritten.
        dd if=/dev/zero of="$data_device" bs=65536 count=16 conv=fsync 2>/dev/null
        "$MKFS" "$data_device" >"$LOG/mkfs.log" 2>&1 || die "format $data_device" "$(tail -n 1 "$LOG/mkfs.log")" \
            "All of it is in $LOG/mkfs.log. Is the card locked or worn out?"
        sync
    fi
    note "$JOURNAL" mount "$at" 0
    mount_error=$(mount -t "$data_filesystem" "$data_device" "$at" 2>&1) || die "mount $data_device on $data_root" \
        "${mount_error##*: }" "$(data_advice)"
}

data_advice() {
    if grep -qw "$data_filesystem" /proc/filesystems; then
        say "The file system may be damaged: check it on another machine, or see dmesg | tail"
    else
        say "This kernel has no $data_filesystem: see docs/board.md, section 1"
    fi
}

# --- cgroups ------------------------------------------------------------------------------------------------------

CGROUPS=/sys/fs/cgroup

# The version 1 hierarchies that are mounted: "POINT OPTIONS" a line, in the kernel's order.
hierarchies() {
    while read -r _ _ _ _ point _ rest; do
        case " $rest" in *' - cgroup '*) say "$point ${rest##* }" ;; esac
    done </proc/self/mountinfo
}

# Sets H_SET to the controllers that share a hierarchy with $1, as its mount has them, and H_POINT to where it is first
# mounted; both empty if it is not. H_OURS is where below the folder $2 it is.
hierarchy_of() {
    H_SET='' H_POINT='' H_OURS=''
    while read -r h_point h_options; do
        case ,$h_options, in *,"$1",*) ;; *) continue ;; esac
        [ -n "$H_POINT" ] || H_POINT=$h_point
        case $h_point in "$2"/*) H_OURS=$h_point ;; esac
        [ -z "$H_SET" ] || continue
        for option in $(say "$h_options" | tr , ' '); do
            case " $known_controllers " in *" $option "*) H_SET=$H_SET${H_SET:+,}$option ;; esac
            case $option in name=*) H_SET=$H_SET${H_SET:+,}none,$option ;; esac
        done
    done <<HIERARCHIES
$(hierarchies)
HIERARCHIES
}

prepare_cgroups() {
    known_controllers=$(awk '$4 == 1 { printf "%s ", $1 }' /proc/cgroups)
    missing=''
    mount_of "$CGROUPS" || die "mount cgroups" "there is no $CGROUPS" "The kernel was built without CONFIG_CGROUPS."
    if [ "$M_POINT" != "$CGROUPS" ] || [ "$M_TYPE" != tmpfs ]; then
        [ -d "$CGROUPS" ] || die "mount cgroups" "there is no $CGROUPS" "The kernel was built without CONFIG_CGROUPS."
        note "$JOURNAL" mount "$CGROUPS" "$(mounts_at "$CGROUPS")"
        mount -t tmpfs -o mode=755,nosuid,nodev,noexec,size=1m slipway "$CGROUPS" ||
            die "mount $CGROUPS" "the kernel refused a tmpfs there" "See its words: dmesg | tail"
    fi
    for controller in $cgroup_controllers; do
        case $controller in
        systemd | name=*) mount_hierarchy "name=${controller#name=}" "$CGROUPS" ;;
        *)
            case " $known_controllers " in
            *" $controller "*) mount_hierarchy "$controller" "$CGROUPS" ;;
            *) missing="$missing $controller" ;;
            esac
            ;;
        esac
    done
    say "${missing# }" >"$STATE/cgroups-missing"
    [ -z "$missing" ] || say "this kernel has no cgroup controller:$missing (containers run without)"
    case " $missing " in
    *' devices '*) die "mount cgroups" "this kernel has no devices controller, and containers cannot do without" \
        "Build it with CONFIG_CGROUP_DEVICE: see docs/board.md, section 1" ;;
    esac
    mount_beside_the_first
    start_cpusets
}

# mount_hierarchy CONTROLLER BELOW: the controller at BELOW/CONTROLLER, with those that it is already mounted with.
mount_hierarchy() {
    hierarchy_of "$1" "$2"
    [ -z "$H_OURS" ] || return 0
    case $1 in
    name=*) set -- "$1" "$2" "none,$1" "${1#name=}" ;;
    *) set -- "$1" "$2" "${H_SET:-$1}" "${H_SET:-$1}" ;;
    esac
    if [ ! -d "$2/$4" ]; then
        note "$JOURNAL" dir "$2/$4"
        mkdir "$2/$4"
    fi
    note "$JOURNAL" mount "$2/$4" "$(mounts_at "$2/$4")"
    cgroup_error=$(mount -t cgroup -o "nodev,noexec,nosuid,$3" cgroup "$2/$4" 2>&1) ||
        { [ -n "$H_POINT" ] && mount --bind "$H_POINT" "$2/$4"; } ||
        die "mount the cgroup controller $1 on $2/$4" "${cgroup_error##*: }" \
            "Does something hold it as version 2, or does the kernel's command line have cgroup_no_v1? See: cat /proc/cmdline"
    for member in $(say "$4" | tr , ' '); do
        [ -e "$2/$member" ] && continue
        note "$JOURNAL" link "$2/$member" "$4"
        ln -s "$4" "$2/$member"
    done
}

# runc of Docker 18.09, and containerd to this day, look for every controller beside the hierarchy that is mounted
# first, under the controller's name. If that is one that OpenHarmony mounted in /dev, the others are mounted there too,
# and what has another name there (memory is in /dev/memcg) gets its own by a link.
mount_beside_the_first() {
    first=$(hierarchies | head -n 1)
    first=${first%% *} first=${first%/*}
    [ "$first" != "$CGROUPS" ] && [ -n "$first" ] || return 0
    for controller in $cgroup_controllers; do
        case $controller in systemd | name=*) continue ;; esac
        case " $missing " in *" $controller "*) continue ;; esac
        mount_hierarchy "$controller" "$first"
        [ ! -e "$first/$controller" ] || continue
        hierarchy_of "$controller" "$first"
        note "$JOURNAL" link "$first/$controller" "${H_OURS#"$first"/}"
        ln -s "${H_OURS#"$first"/}" "$first/$controller"
    done
}

# A cpuset group takes no process before it has both processors and memory nodes; those that were made before us
# get their parent's, parents first.
start_cpusets() {
    case " $missing " in *' cpuset '*) return ;; esac
    hierarchy_of cpuset "$CGROUPS"
    [ -n "$H_POINT" ] || return 0
    find "$H_POINT" -mindepth 1 -type d | sort | while read -r group; do
        for value in cpuset.cpus cpuset.mems cpus mems; do
            [ -e "$group/$value" ] || continue
            [ -z "$(cat "$group/$value")" ] || continue
            parent=$(cat "${group%/*}/$value")
            [ -n "$parent" ] || continue
            note "$JOURNAL" value "$group/$value" "$parent"
            { say "$parent" >"$group/$value"; } 2>/dev/null || warn "$group/$value stays empty: no process can join that group"
        done
    done
}

# --- Network and SELinux --------------------------------------------------------------------------------------------

set_value() {
    old=$(cat "$1")
    [ "$old" != "$2" ] || return 0
    note "$JOURNAL" value "$1" "$2" "$old"
    { say "$2" >"$1"; } 2>/dev/null
}

has_rule() {
    "$SLOT/bin/ip" rule show | awk -v pref="$1:" -v table="$2" '
        $1 == pref && $2 == "from" && $3 == "all" && $4 == "lookup" && $5 == table { found = 1 } END { exit !found }'
}

prepare_network() {
    set_value /proc/sys/net/ipv4/ip_forward 1 || warn "ip_forward cannot be set: containers reach nothing beyond this board"
    for rule in $routing_rules; do
        has_rule "${rule%%:*}" "${rule##*:}" && continue
        note "$JOURNAL" rule "${rule%%:*}" "${rule##*:}"
        "$SLOT/bin/ip" rule add pref "${rule%%:*}" from all lookup "${rule##*:}" ||
            warn "the routing rule $rule cannot be added (CONFIG_IP_MULTIPLE_TABLES?)"
    done
}

# dockerd leaves its bridges and packet filter rules when it ends. If none were there before, `down` removes them.
note_bridge() {
    [ -x "$SLOT/bin/iptables-save" ] && [ -x "$SLOT/bin/iptables-restore" ] || return 0
    ! "$SLOT/bin/iptables-save" -t nat 2>/dev/null | grep -q '^:DOCKER ' || return 0
    note "$JOURNAL" bridge docker0
}

undo_bridge() {
    for table in nat filter; do
        rules=$("$SLOT/bin/iptables-save" -t $table 2>/dev/null | awk '
            $1 == "-A" && $2 !~ /^DOCKER/ && /DOCKER| docker0 | br-[0-9a-f]+ / { sub(/^-A/, "-D"); rule[++n] = $0 }
            /^:DOCKER/ { sub(/^:/, ""); chain[++c] = $1 }
            END {
                for (i = 1; i <= n; i++) print rule[i]
                for (i = 1; i <= c; i++) print "-F " chain[i]
                for (i = 1; i <= c; i++) print "-X " chain[i]
            }')
        [ -n "$rules" ] || continue
        printf '*%s\n%s\nCOMMIT\n' $table "$rules" | "$SLOT/bin/iptables-restore" --noflush || {
            warn "Docker's rules in the table $table stay"
            return 1
        }
    done
    for link in /sys/class/net/docker0 /sys/class/net/br-*; do
        case ${link##*/} in docker0 | br-????????????) ;; *) continue ;; esac
        [ ! -d "$link/bridge" ] || "$SLOT/bin/ip" link del "${link##*/}" || warn "the bridge ${link##*/} stays"
    done
}

prepare_selinux() {
    [ -e /sys/fs/selinux/enforce ] || return 0
    [ "$(cat /sys/fs/selinux/enforce)" = 1 ] || return 0
    set_value /sys/fs/selinux/enforce 0 && say "SELinux: permissive until slipway down" ||
        warn "SELinux stays enforcing: it will refuse containers what its policy does not name"
}

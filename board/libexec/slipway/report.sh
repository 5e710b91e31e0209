# shellcheck shell=sh disable=SC2012,SC2015,SC2034,SC2153,SC2154 # part of bin/slipway, where the rest is
# What there is: status, verify, doctor.

# --- status -------------------------------------------------------------------------------------------------------------

# daemon_state NAME: down, up, or up from another slot than the current one.
daemon_state() {
    if ! daemon_lives "$1"; then
        say down
    elif [ "$D_SLOT" = "$(slot_of current)" ]; then
        say up
    else
        say "up-from $D_SLOT"
    fi
}

edge_state() {
    state=$(daemon_state edgecore)
    [ "$state" = down ] || {
        [ "$state" != up ] || [ ! -e "$RUN/edgecore.ended" ] || state=waiting
        say "$state"
        return
    }
    if [ ! -x "$SLOT/bin/edgecore" ] || [ -z "$cloud_address" ]; then
        say off
    elif [ ! -s "$SECRETS/cloud_token" ]; then
        say no-secret
    else
        say down
    fi
}

# ok or failed, as the last check of the current bundle found; unknown if there was none since `up`.
health_state() {
    health_word='' health_slot=''
    [ ! -s "$STATE/health" ] || { read -r health_word health_slot _; } <"$STATE/health"
    if [ -z "$(running_slot)" ] || [ "$health_slot" != "$(slot_of current)" ]; then
        say unknown
    elif [ "$health_word" = ok ] && ! { daemon_lives containerd && daemon_lives dockerd; }; then
        say failed
    else
        say "$health_word"
    fi
}

secret_names() {
    names=
    for secret in "$SECRETS"/[a-z]*; do
        case ${secret##*/} in *[!a-z0-9_]*) ;; *) names="$names ${secret##*/}" ;; esac
    done
    say "${names# }"
}

boot_state() { [ -e "$BOOT_FILE" ] && say yes || say no; }

cmd_status() {
    case ${1:-} in
    '' | --porcelain) ;;
    *) usage "status does not know $1" "slipway status [--porcelain]" ;;
    esac
    load_settings_or_go_on
    docker_state=$(daemon_state dockerd)
    if [ "${1:-}" = --porcelain ]; then
        say "slot=$(slot_of current)"
        say "previous=$(slot_of previous)"
        say "docker=$docker_state"
        say "edge=$(edge_state)"
        say "boot=$(boot_state)"
        say "secrets=$(secret_names)"
        say "health=$(health_state)"
        say "cgroups_missing=$(first_line "$STATE/cgroups-missing")"
        return
    fi
    row "bundle" "$(slot_of current)"
    row "before it" "$(slot_of previous)"
    row "containerd" "$(daemon_words containerd)"
    row "dockerd" "$(daemon_words dockerd)"
    case $(edge_state) in
    off) row "edgecore" "off: $(edge_off_words)" ;;
    no-secret) row "edgecore" "down: the secret cloud_token is missing" ;;
    waiting) row "edgecore" "waiting: it ended and is started again, $(edge_words)" ;;
    *) row "edgecore" "$(daemon_words edgecore)" ;;
    esac
    row "health" "$(health_words)"
    row "data" "${data_root:-not known: the settings are damaged}${data_root:+, $(data_words)}"
    row "at boot" "$(boot_state)"
    row "secrets" "$(secret_names)"
}

row() { printf '%-11s %s\n' "$1" "${2:--}"; }

daemon_words() {
    case $(daemon_state "$1") in
    up) daemon_lives "$1" && say "up, process $D_PID" ;;
    up-from*) daemon_lives "$1" && say "up, process $D_PID, still of $D_SLOT: slipway up moves it" ;;
    *) say down ;;
    esac
}

edge_off_words() { [ -x "$SLOT/bin/edgecore" ] && say "no cloud_address is set" || say "not in this bundle"; }

health_words() {
    case $(health_state) in
    ok) say "ok: a container ran" ;;
    failed)
        reason=$(cut -d' ' -f3- "$STATE/health")
        say "failed: ${reason:-a daemon has ended: slipway logs; slipway up}"
        ;;
    *) say "not known: slipway verify" ;;
    esac
}

data_words() {
    [ -d "$data_root" ] || {
        say "which is not there"
        return
    }
    mount_of "$(realpath "$data_root")"
    say "$M_TYPE, $(($(free_kib "$data_root") / 1024)) MiB free"
}

# --- verify -------------------------------------------------------------------------------------------------------------

cmd_verify() {
    [ $# = 0 ] || usage "verify takes no arguments" "slipway verify"
    take_lock
    make_places
    load_settings
    bad=0
    if slot_is_whole "$SLOT"; then
        say "ok: every file of ${SLOT##*/} has its hash"
    else
        wrong "${SLOT##*/}: $WRONG" "Install the bundle again: slipway install FILE"
    fi
    if [ -z "$(running_slot)" ]; then
        say "down: nothing else to verify (slipway up)"
    else
        verify_mounts
        verify_daemons
    fi
    [ "$bad" = 0 ] || die "verify" "$bad found wrong, see above" "What each needs is said there."
    say "verified"
}

wrong() {
    bad=$((bad + 1))
    printf 'WRONG: %s. %s\n' "$1" "$2"
}

verify_mounts() {
    mounts_wrong=$bad
    while read -r kind at before; do
        [ "$kind" = mount ] || continue
        [ "$(mounts_at "$at")" -gt "$before" ] || wrong "$at is no longer mounted" "Again: slipway up"
    done <"$JOURNAL"
    for name in $bind_dirs; do
        same_file "/data/${name#/}" "/${name#/}" || wrong "/${name#/} is not /data/${name#/}" "Again: slipway up"
    done
    [ "$mounts_wrong" != "$bad" ] || say "ok: every mount is there"
}

verify_daemons() {
    for d in containerd dockerd; do
        daemon_lives $d && say "ok: $d runs (process $D_PID)" || wrong "$d does not run" "slipway logs $d; then: slipway up"
    done
    case $(edge_state) in
    up) daemon_lives edgecore && say "ok: edgecore runs (process $D_PID)" ;;
    off) ;;
    no-secret) wrong "the secret cloud_token is missing" "slipway secret cloud_token FILE; then: slipway up" ;;
    waiting) wrong "edgecore ended: $(edge_words)" "It is started again every ten seconds: slipway logs edgecore" ;;
    *) wrong "edgecore does not run" "slipway logs edgecore; then: slipway up" ;;
    esac
    [ "$bad" = 0 ] || return 0
    UNHEALTHY=
    if docker info >/dev/null 2>&1 && load_images && run_container; then
        say "ok ${SLOT##*/}" >"$STATE/health"
        say "ok: a container ran"
    else
        say "failed ${SLOT##*/} ${UNHEALTHY:=docker info does not answer}" >"$STATE/health"
        wrong "$UNHEALTHY" "slipway logs dockerd"
    fi
}

# --- doctor -------------------------------------------------------------------------------------------------------------

cmd_doctor() {
    [ $# = 0 ] || usage "doctor takes no arguments" "slipway doctor"
    make_folders "$STATE"
    load_settings
    bad=0
    say "board: $(uname -r) $(uname -m); bundle: ${SLOT##*/}"
    doctor_time
    doctor_programs
    doctor_kernel
    doctor_cgroups
    doctor_folders
    doctor_data
    doctor_selinux
    if [ "$bad" = 0 ]; then
        say "nothing stands in the way. Next: $([ -n "$(running_slot)" ] && say slipway status || say slipway up)"
    else
        die "look the board over" "$bad found wrong, see above" "What each needs is said there."
    fi
}

fine() { say "ok: $*"; }
note_that() { say "note: $*"; }

doctor_time() {
    year=$(date +%Y)
    if [ "$year" -lt 2022 ]; then
        wrong "the clock says $(date)" "Certificates are not valid yet then, and neither registries nor the cloud answer: date -s 'YYYY-MM-DD hh:mm'"
    else
        fine "the clock says $(date)"
    fi
}

doctor_programs() {
    if "$SLOT/bin/iptables" --version >/dev/null 2>&1; then
        fine "iptables runs ($("$SLOT/bin/iptables" --version))"
    else
        wrong "bin/iptables does not run" \
            "If it is a 32-bit one, this kernel lacks CONFIG_COMPAT: build with --set iptables.arch=aarch64"
    fi
    for program in containerd dockerd docker runc ip; do
        [ -x "$SLOT/bin/$program" ] || wrong "bin/$program is missing" "This bundle is a partial one: build it whole."
    done
}

# Only what makes a difference here; `cargo xtask kernel check` knows them all.
doctor_kernel() {
    if ! gunzip -c /proc/config.gz >"$STATE/kernel-config" 2>/dev/null; then
        rm -f "$STATE/kernel-config"
        note_that "this kernel does not tell its options (no /proc/config.gz); cargo xtask kernel check reads its defconfig"
        return
    fi
    kernel_bad=$bad
    while read -r options consequence; do
        for option in $(say "$options" | tr , ' '); do
            grep -q "^CONFIG_$option=[ym]" "$STATE/kernel-config" || wrong "the kernel lacks CONFIG_$option: $consequence" \
                "Build the kernel with it: cargo xtask kernel explain CONFIG_$option"
        done
    done <<'OPTIONS'
NAMESPACES,PID_NS,NET_NS,IPC_NS,UTS_NS containers cannot be kept apart
CGROUPS,CGROUP_DEVICE,MEMCG,CGROUP_SCHED,CPUSETS,CGROUP_FREEZER,CGROUP_CPUACCT no container starts
OVERLAY_FS images cannot be unpacked
VETH,BRIDGE containers get no network
IP_NF_IPTABLES,IP_NF_FILTER,IP_NF_NAT,NF_NAT,NF_CONNTRACK dockerd cannot set up its network, and ends
NETFILTER_XT_MATCH_ADDRTYPE,NETFILTER_XT_MATCH_CONNTRACK,NETFILTER_XT_TARGET_MASQUERADE dockerd cannot set up its network, and ends
POSIX_MQUEUE runc cannot mount /dev/mqueue, and no container starts
KEYS runc cannot make a keyring
OPTIONS
    [ "$kernel_bad" != "$bad" ] || fine "the kernel has what Docker needs"
    rm -f "$STATE/kernel-config"
    for filesystem in overlay ${data_device:+"$data_filesystem"}; do
        grep -qw "$filesystem" /proc/filesystems || note_that "$filesystem is not in /proc/filesystems (yet, if it is a module)"
    done
}

doctor_cgroups() {
    lacking=
    for controller in $cgroup_controllers; do
        case $controller in systemd | name=*) continue ;; esac
        awk -v c="$controller" '$1 == c && $4 == 1 { found = 1 } END { exit !found }' /proc/cgroups || lacking="$lacking $controller"
    done
    case " $lacking " in
    *' devices '*) wrong "no cgroup controller devices" "No container starts without: CONFIG_CGROUP_DEVICE" ;;
    esac
    [ -z "$lacking" ] && fine "every cgroup controller is there" ||
        note_that "no cgroup controller:$lacking (containers run without; limits of that kind have no effect)"
}

doctor_folders() {
    for name in $bind_dirs; do
        name=${name#/}
        if [ -L "/$name" ] && ! same_file "/$name" "/data/$name"; then
            wrong "/$name is a link, and in bind_dirs" "Take it out and build again."
        elif [ ! -d "/$name" ]; then
            note_that "/$name is not there; slipway up makes it, if the root can be written to"
        fi
    done
}

doctor_data() {
    free=$(($(free_kib "$BOARD") / 1024)) need=$(($(du -sk "$SLOT" | cut -f1) / 1024 + 17))
    [ "$free" -ge "$need" ] && fine "$free MiB free in $BOARD: the next bundle has room" ||
        note_that "$free MiB free in $BOARD: the next bundle needs about $need"
    if [ -z "$data_device" ]; then
        note_that "containers are kept in the folder $data_root: no data_device is set"
    elif data_is_mounted; then
        fine "$data_root: $(data_words)"
    elif [ ! -b "$data_device" ]; then
        wrong "there is no $data_device" "Is the card in? Else build with --set data_device=…"
    else
        probe_data
        if [ "$DATA_TYPE" = "$data_filesystem" ]; then
            fine "$data_device holds $data_filesystem"
        else
            wrong "$data_device holds ${DATA_TYPE:-no file system that blkid knows}, and $data_filesystem is wanted" \
                "To make that on it, which ERASES it: slipway up --format${DATA_TYPE:+=$DATA_TYPE}"
        fi
    fi
}

doctor_selinux() {
    case $(cat /sys/fs/selinux/enforce 2>/dev/null) in
    1) note_that "SELinux is enforcing; slipway up makes it permissive, slipway down puts it back" ;;
    0) fine "SELinux is permissive" ;;
    *) fine "no SELinux" ;;
    esac
}

# shellcheck shell=sh disable=SC2012,SC2015,SC2034,SC2153,SC2154 # part of bin/slipway, where the rest is
# The daemons: started in their order, each known by its process id and start time; stopped in the other order; and
# whether containers work. And the commands up, down, rollback and uninstall, which are made of this and of prepare.sh.

LOG_LIMIT=4194304 # bytes; then the log becomes NAME.log.1, and that NAME.log.2
CONTAINERD_SOCKET=$RUN/containerd/containerd.sock

seconds() {
    read -r uptime _ </proc/uptime
    say "${uptime%%.*}"
}

# --- One daemon -----------------------------------------------------------------------------------------------------

# Is daemon $1 running? Sets D_PID, and D_SLOT to where it runs from.
daemon_lives() {
    D_PID='' D_SLOT=''
    if [ -s "$RUN/$1.pid" ] && { read -r d_id D_SLOT; } <"$RUN/$1.pid" && lives "$d_id"; then
        D_PID=${d_id%%-*}
        return 0
    fi
    # Started by a run that was killed before this was written down, or the file was lost.
    stray=$(ls -l /proc/[0-9]*/exe 2>/dev/null |
        sed -n "s|.* /proc/\([0-9]*\)/exe -> $BOARD/slots/\([^/]*\)/bin/$1\$|\1 \2|p" | head -n 1)
    [ -n "$stray" ] && started "${stray%% *}" || return 1
    D_PID=${stray%% *} D_SLOT=${stray#* }
    d_id=$D_PID-$STARTED-$BOOT
    say "$d_id $D_SLOT" >"$RUN/$1.pid"
}

# start_daemon NAME COMMAND…: false if it does not come to life; UNHEALTHY says why.
start_daemon() {
    d_name=$1
    note "$JOURNAL" daemon "$d_name"
    rotate "$d_name"
    "$BUSYBOX" setsid "$BUSYBOX" sh "$SLOT/bin/slipway" _daemon "$@" </dev/null >>"$LOG/$d_name.log" 2>&1 &
    d_pid=$!
    # It has begun once it has written who it is.
    until [ -s "$RUN/$d_name.pid" ] && { read -r d_id _; } <"$RUN/$d_name.pid" && [ "${d_id%%-*}" = "$d_pid" ]; do
        started "$d_pid" || {
            UNHEALTHY="$d_name ended: $(last_words "$d_name")"
            return 1
        }
        sleep 0.1
    done
}

# Inside the new process: write down who it is, then become the daemon. (What the name begins with is for no person.)
cmd__daemon() {
    started $$ && say "$$-$STARTED-$BOOT ${SLOT##*/}" >"$RUN/.$1.$$" && mv "$RUN/.$1.$$" "$RUN/$1.pid" || exit 1
    shift
    unset SLIPWAY_LOCK SLIPWAY_NO_ROLLBACK
    PATH=$SLOT/bin:/system/bin:/bin:/usr/bin:/sbin:/usr/sbin HOME=$RUN
    export PATH HOME
    # shellcheck disable=SC3045 # busybox has it, and where not, nothing is lost
    ulimit -n 65536 2>/dev/null
    exec "$@"
}

# stop_daemon NAME: asked first, and killed if it has not gone in half a minute. A second round ends what a killed one
# has left, found by its program.
stop_daemon() {
    while daemon_lives "$1"; do
        say "stopping $1"
        kill "$D_PID" 2>/dev/null
        wait_for_end "$1" || return 1
        rm -f "$RUN/$1.pid"
    done
    rm -f "$RUN/$1.pid" "$RUN/$1.ended"
    [ "$1" != containerd ] || sweep
}

wait_for_end() {
    patience=$(($(seconds) + ${SLIPWAY_STOP_SECONDS:-30}))
    while lives "$d_id"; do
        [ "$(seconds)" -lt $patience ] || kill -9 "$D_PID" 2>/dev/null
        [ "$(seconds)" -lt $((patience + 10)) ] || {
            warn "$1 (process $D_PID) cannot be stopped, not even by SIGKILL: it waits for a device. Restart the board"
            return 1
        }
        sleep 0.1
    done
}

# What is left of containers when their daemon was killed instead of stopped: their processes, the shims of our slots,
# and the mounts of namespaces and layers.
sweep() {
    find "$CGROUPS"/*/docker "$CGROUPS"/*/kubepods -name cgroup.procs 2>/dev/null | while read -r members; do
        container=${members%/cgroup.procs}
        [ -d "${data_root:-/nowhere}/containers/${container##*/}" ] || continue
        # 0 is a process that this namespace does not see; to kill it would be to kill ourselves.
        while read -r member; do [ "$member" = 0 ] || kill -9 "$member" 2>/dev/null; done <"$members"
    done
    ls -l /proc/[0-9]*/exe 2>/dev/null |
        sed -n "s|.* /proc/\([0-9]*\)/exe -> $BOARD/slots/[^/]*/bin/containerd-shim.*|\1|p" | while read -r shim; do
        kill -9 "$shim" 2>/dev/null
    done
    # The last first: a mount on another goes before it. dockerd mounts a folder that is its data root on itself, too.
    itself=$data_root
    grep -q "^mount $data_root " "$JOURNAL" && itself=
    awk -v a="$RUN/" -v b="${data_root:-$RUN}/" -v c="$itself" \
        'index($5, a) == 1 || index($5, b) == 1 || $5 == c { print $5 }' /proc/self/mountinfo |
        awk '{ line[NR] = $0 } END { for (i = NR; i > 0; i--) print line[i] }' | while read -r point; do
        umount "$point" 2>/dev/null
    done
    return 0
}

last_words() {
    words=$(tail -n 1 "$LOG/$1.log" 2>/dev/null | cut -c1-300)
    say "${words:-it ended and said nothing}"
}

# --- Logs -------------------------------------------------------------------------------------------------------------

# Copied and emptied, since the daemon goes on writing to the same file (it appends).
rotate() {
    log=$LOG/$1.log
    [ -f "$log" ] && [ "$(stat -c %s "$log")" -gt $LOG_LIMIT ] || return 0
    [ ! -f "$log.1" ] || mv "$log.1" "$log.2"
    cp "$log" "$log.1" && : >"$log"
}

# A process of its own, as long as the daemons run: keeps their logs short.
cmd__keep() {
    trap 'kill $! 2>/dev/null; exit 0' TERM
    while "$BUSYBOX" sleep 60 & wait $!; do
        for name in containerd dockerd edgecore keeper; do rotate $name; done
    done
}

cmd_logs() {
    follow='' names=''
    for word in "$@"; do
        case $word in
        -f) follow=-f ;;
        -* | *[!a-z]*) usage "logs does not know $word" "slipway logs [NAME] [-f]" ;;
        *) names="$names $word" ;;
        esac
    done
    for name in ${names:-containerd dockerd edgecore}; do
        if [ ! -f "$LOG/$name.log" ]; then
            [ -z "$names" ] || die "show the log of $name" "there is none" "There are: $(cd "$LOG" && ls | tr '\n' ' ')"
            continue
        fi
        files="${files:-} $LOG/$name.log"
    done
    [ -n "${files:-}" ] || die "show the logs" "there are none yet" "Start the daemons: slipway up"
    # shellcheck disable=SC2086 # the names are ours, without spaces
    tail -n 40 $follow $files
}

# --- All of them, in order ----------------------------------------------------------------------------------------------

docker() { timeout "${SLIPWAY_TIMEOUT:-180}" "$SLOT/bin/docker" -H "$runtime_endpoint" "$@"; }

# Waits until the rest of the arguments succeed, as long as daemon $1 lives.
wait_for() {
    w_name=$1
    shift
    patience=$(($(seconds) + ${SLIPWAY_TIMEOUT:-180}))
    until w_error=$("$@" 2>&1); do
        daemon_lives "$w_name" || {
            UNHEALTHY="$w_name ended: $(last_words "$w_name")"
            return 1
        }
        [ "$(seconds)" -lt $patience ] || {
            UNHEALTHY="$w_name does not answer: $(say "$w_error" | tail -n 1)"
            return 1
        }
        sleep 0.2
    done
}

is_socket() { [ -S "$1" ]; }
answers() { docker info; }

# Starts what is not running, and what runs from another slot again. False if one does not come up; UNHEALTHY says why.
start_daemons() {
    for d in edgecore dockerd containerd keeper; do
        daemon_lives $d && [ "$D_SLOT" != "${SLOT##*/}" ] && { stop_daemon $d || return 1; }
    done
    say "$BOOT ${SLOT##*/}" >"$STATE/up"
    if ! daemon_lives containerd; then
        mkdir -p "$RUN/containerd"
        rm -f "$CONTAINERD_SOCKET"
        say 'disabled_plugins = ["cri"]' >"$RUN/containerd.toml"
        start_daemon containerd containerd --config "$RUN/containerd.toml" --address "$CONTAINERD_SOCKET" \
            --root "$data_root/containerd" --state "$RUN/containerd" --log-level warn || return 1
    fi
    wait_for containerd is_socket "$CONTAINERD_SOCKET" || return 1
    write_daemon_json || return 1
    if ! daemon_lives dockerd; then
        note_bridge
        rm -f "$RUN/docker.pid" "${runtime_endpoint#unix://}"
        mkdir -p "$(dirname_of "${runtime_endpoint#unix://}")"
        start_daemon dockerd dockerd --config-file "$RUN/daemon.json" --containerd "$CONTAINERD_SOCKET" \
            --exec-root "$RUN/docker" --pidfile "$RUN/docker.pid" || return 1
    fi
    wait_for dockerd answers || return 1
    daemon_lives keeper || start_daemon keeper "$BUSYBOX" sh "$SLOT/bin/slipway" _keep || return 1
    start_edge
}

dirname_of() { say "${1%/*}"; }

# dockerd's settings, filled in.
write_daemon_json() {
    fill "$SLOT/etc/docker/daemon.json" "$RUN/daemon.json" || {
        UNHEALTHY="daemon.json wants the secret $MISSING_SECRET, which is missing: slipway secret $MISSING_SECRET FILE"
        return 1
    }
    # Its key would go to /etc/docker, which is read-only.
    grep -q deprecated-key-path "$RUN/daemon.json" ||
        sed -i "1s|{|{ \"deprecated-key-path\": \"$STATE/docker-key.json\",|" "$RUN/daemon.json"
}

# Why edgecore is not to run; empty if it is.
edge_off() {
    if [ ! -x "$SLOT/bin/edgecore" ] || [ ! -f "$SLOT/etc/kubeedge/edgecore.yaml" ]; then
        say "not in this bundle"
    elif [ -z "$cloud_address" ]; then
        say "no cloud_address is set"
    elif ! fill "$SLOT/etc/kubeedge/edgecore.yaml" "$RUN/edgecore.yaml"; then
        say "the secret $MISSING_SECRET is missing"
    fi
}

start_edge() {
    before=$(hash_of "$RUN/edgecore.yaml" 2>/dev/null)
    why=$(edge_off) || {
        UNHEALTHY="$RUN/edgecore.yaml could not be written"
        return 1
    }
    case $why in
    '') ;;
    *secret*)
        secret=${why#the secret }
        warn "edgecore is not started: $why. Push again, or: slipway secret ${secret% is missing} FILE; slipway up"
        return 0
        ;;
    *) return 0 ;;
    esac
    if daemon_lives edgecore; then
        [ "$(hash_of "$RUN/edgecore.yaml")" != "$before" ] || return 0
        stop_daemon edgecore || return 1 # another token
    fi
    # Where its database and certificates go.
    sed -n 's/^ *\(dataSource\|tls[A-Za-z]*File\): *"\{0,1\}\(\/[^"]*\)\/.*/\2/p' "$RUN/edgecore.yaml" | while read -r folder; do
        mkdir -p "$folder"
    done
    rm -f "$RUN/edgecore.ended"
    start_daemon edgecore "$BUSYBOX" sh "$SLOT/bin/slipway" _edge || return 1
    patience=$(($(seconds) + ${SLIPWAY_EDGE_SECONDS:-5}))
    while [ "$(seconds)" -lt $patience ]; do
        [ ! -e "$RUN/edgecore.ended" ] || {
            edge_ended
            return
        }
        daemon_lives edgecore || {
            UNHEALTHY="edgecore ended: $(edge_words)"
            return 1
        }
        sleep 0.5
    done
}

# A process of its own, which edgecore is a child of. edgecore ends when its interface has no address yet, and when it
# cannot reach the cloud to join it for the first time: at boot, both may take a while. So it is started again after ten
# seconds, as KubeEdge's own unit for systemd does.
cmd__edge() {
    trap 'end_edge' TERM
    while :; do
        "$SLOT/bin/edgecore" --config "$RUN/edgecore.yaml" &
        wait $!
        say $? >"$RUN/edgecore.ended"
        "$BUSYBOX" sleep "${SLIPWAY_EDGE_PAUSE:-10}" &
        wait $!
        rm -f "$RUN/edgecore.ended"
    done
}

# Asked twice: a process that was about to become edgecore has not heard the first.
end_edge() {
    trap '' TERM
    kill $! 2>/dev/null
    tries=0
    while kill -0 $! 2>/dev/null; do
        sleep 0.1
        tries=$((tries + 1))
        [ $tries != 10 ] || kill $! 2>/dev/null
    done
    exit 0
}

# edgecore ended as soon as it was started. Where it does not run at all, the bundle is bad; else there is something
# that it waits for, and no other bundle would have that.
edge_ended() {
    if ! "$SLOT/bin/edgecore" --version >/dev/null 2>&1; then
        UNHEALTHY="edgecore does not run: $(edge_words)"
        return 1
    fi
    warn "edgecore ended: $(edge_words). It is started again every ten seconds; see: slipway logs edgecore"
}

# The last error in edgecore's log, without klog's head of time and place.
edge_words() {
    words=$(tail -n 200 "$LOG/edgecore.log" 2>/dev/null | sed -n 's/^[EF][0-9][0-9][0-9][0-9] [^]]*\] //p' | tail -n 1 | cut -c1-300)
    say "${words:-$(last_words edgecore)}"
}

# --- Health -------------------------------------------------------------------------------------------------------------

# Loads the bundle's images where they are not there yet: no network is needed.
load_images() {
    for archive in "$SLOT"/share/images/*.tar; do
        [ -f "$archive" ] || continue
        # It may be spread over lines.
        manifest=$(tar -xOf "$archive" manifest.json | tr '\n' ' ') || manifest=
        image=$(say "$manifest" | sed -n 's/.*"RepoTags": *\[ *"\([^"]*\)".*/\1/p')
        config=$(say "$manifest" | sed -n 's/.*"Config": *"\(blobs\/sha256\/\)\{0,1\}\([0-9a-f]\{64\}\).*/\2/p')
        [ "$(docker image inspect --format '{{.Id}}' "$image" 2>/dev/null)" != "sha256:$config" ] || continue
        say "loading $image"
        load_error=$(docker load -i "$archive" 2>&1) || {
            UNHEALTHY="docker load ${archive##*/}: $(say "$load_error" | tail -n 1)"
            return 1
        }
    done
}

# A container from the bundle's own image says hello.
run_container() {
    [ -f "$SLOT/share/images/hello.tar" ] || return 0
    greeting=$(docker run --rm --network bridge slipway/hello 2>&1)
    case $greeting in
    *"Hello from Slipway"*) ;;
    *)
        UNHEALTHY="the container slipway/hello did not say hello: $(say "$greeting" | tail -n 1)"
        return 1
        ;;
    esac
}

check_health() {
    UNHEALTHY=
    start_daemons && load_images && run_container
    health=$?
    if [ $health = 0 ]; then
        say "ok ${SLOT##*/}" >"$STATE/health"
    else
        say "failed ${SLOT##*/} ${UNHEALTHY:-}" >"$STATE/health"
    fi
    return $health
}

# --- up -----------------------------------------------------------------------------------------------------------------

cmd_up() {
    FORMAT=''
    for word in "$@"; do
        case $word in
        --format) FORMAT=yes ;;
        --format=?*) FORMAT=${word#--format=} ;;
        *) usage "up does not know $word" "slipway up [--format[=TYPE]]" ;;
        esac
    done
    take_lock
    make_places
    newest=$(slot_of current)
    if [ -n "$newest" ] && [ "$newest" != "${SLOT##*/}" ]; then
        run_slot "$newest" up "$@"
        exit
    fi
    # Started by init, nobody reads this: status tells, and this file.
    [ "$(readlink /proc/$$/fd/1)" != /dev/null ] || exec >>"$LOG/up.log" 2>&1
    load_settings
    open_journal
    check_board
    prepare_folders
    prepare_data
    prepare_files
    prepare_cgroups
    prepare_network
    prepare_selinux
    if check_health; then
        say "$(slot_of current)" >"$STATE/healthy"
        cmd_status
        return
    fi
    go_back
}

# The slipway of another slot does the rest, in this run's lock.
run_slot() {
    run_name=$1
    shift
    "$BUSYBOX" sh "$BOARD/slots/$run_name/bin/slipway" "$@"
}

# The bundle is unhealthy. If the one before it was healthy, that one runs again.
go_back() {
    older=$(slot_of previous)
    what="run containers with ${SLOT##*/}"
    if [ -z "$older" ] || [ "$older" = "${SLOT##*/}" ] || [ -n "${SLIPWAY_NO_ROLLBACK:-}" ] ||
        [ "$(first_line "$STATE/healthy")" != "$older" ]; then
        die "$what" "$UNHEALTHY" "See: slipway logs; slipway doctor. To undo what was set up: slipway down"
    fi
    printf 'slipway: %s: %s.\n  Going back to %s\n' "$what" "$UNHEALTHY" "$older" >&2
    mv "$STATE/health" "$STATE/health.failed"
    point current "$older"
    point previous "${SLOT##*/}"
    SLIPWAY_NO_ROLLBACK=yes
    export SLIPWAY_NO_ROLLBACK
    run_slot "$older" up || die "go back to $older" "it does not come up either" "See: slipway logs; slipway doctor"
    die "$what" "$(cut -d' ' -f3- "$STATE/health.failed")" \
        "$older runs again, and is healthy. Logs of both are in $LOG" 3
}

# --- down, rollback, uninstall --------------------------------------------------------------------------------------------

cmd_down() {
    [ $# = 0 ] || usage "down takes no arguments" "slipway down"
    take_lock
    make_places
    load_settings_or_go_on
    open_journal
    rm -f "$STATE/up"
    undo_all || die "undo what slipway up did" "some of it stays, see above" "Mend that, then again: slipway down"
    say "down: nothing of what slipway up did is left"
}

# Settings that went bad must not keep a board from being taken down.
load_settings_or_go_on() {
    data_root=$(sed -n 's|^data_root=\(/[A-Za-z0-9._/-]*[A-Za-z0-9]\)$|\1|p' "$SETTINGS" 2>/dev/null | head -n 1)
    cloud_address=$(sed -n 's/^cloud_address=//p' "$SETTINGS" 2>/dev/null | head -n 1)
}

cmd_rollback() {
    [ $# = 0 ] || usage "rollback takes no arguments" "slipway rollback"
    take_lock
    make_places
    now=$(slot_of current)
    older=$(slot_of previous)
    if [ -z "$older" ] || [ "$older" = "$now" ]; then
        # A rollback that was cut between its two links has left the other one by name only.
        for slot in "$BOARD/slots"/*; do [ "${slot##*/}" = "$now" ] || older=${slot##*/}; done
    fi
    if [ -z "$older" ] || [ "$older" = "$now" ] || [ ! -d "$BOARD/slots/$older" ]; then
        die "go back" "there is no bundle before $now" "Install another: slipway install FILE"
    fi
    slot_is_whole "$BOARD/slots/$older" || die "go back to $older" "it is damaged: $WRONG" "Install it again from its tarball."
    was_up=$(running_slot)
    point current "$older"
    point previous "$now"
    say "current: $older, before it: $now"
    [ -n "$was_up" ] || {
        say "next: $BOARD/current/bin/slipway up"
        return
    }
    SLIPWAY_NO_ROLLBACK=yes
    export SLIPWAY_NO_ROLLBACK
    run_slot "$older" up
}

cmd_uninstall() {
    data=
    case ${1:-} in
    '') ;;
    --data) data=yes ;;
    *) usage "uninstall does not know $1" "slipway uninstall [--data]" ;;
    esac
    take_lock
    make_places
    load_settings_or_go_on
    open_journal
    if [ -n "$data" ] && [ -n "$data_root" ]; then
        for d in edgecore dockerd containerd; do stop_daemon $d || exit 1; done
        # What Docker, containerd and edgecore keep there; a card may hold other things.
        for name in buildkit builder containerd containers image network overlay2 plugins runtimes swarm tmp trust volumes \
            lib/edged log/containers engine-id; do
            rm -rf "${data_root:?}/$name"
        done
        say "removed: containers and images in $data_root"
    fi
    rm -f "$STATE/up"
    undo_all || die "undo what slipway up did" "some of it stays, see above" "Mend that, then again: slipway uninstall"
    remove_boot
    # What is not ours, such as a data root in here, stays.
    keep=$(ls -A "$BOARD" |
        awk '!/^(slots|incoming|secrets|state|run|log|[.]?current|[.]?previous)$/ { printf "%s%s", sep, $0; sep = " " }')
    cd / || exit 1
    # The slots last: until then this can be started again.
    rm -rf "$INCOMING" "$SECRETS" "$RUN" "$LOG"
    printf 'slipway: removed from %s%s\n' "$BOARD" "${keep:+, except: $keep}"
    trap - EXIT
    [ -n "$keep" ] || exec "$BUSYBOX" rm -rf "$BOARD"
    exec "$BUSYBOX" rm -rf "$STATE" "$BOARD/current" "$BOARD/previous" "$BOARD/slots"
}

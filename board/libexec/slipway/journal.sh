# shellcheck shell=sh disable=SC2012,SC2015,SC2034,SC2153,SC2154 # part of bin/slipway, where the rest is
# What `up` does to the board is written down before it is done, so that `down` undoes exactly that, in reverse.
#
# state/journal holds what a reboot undoes too (mounts, values, rules, links in /dev, daemons); its first line is the
# boot's id, and after a reboot it is dropped. state/made holds what stays (folders and files). An entry may stand for
# something that was not done any more: each is undone only if the board shows it done.

JOURNAL=$STATE/journal MADE=$STATE/made

# Drops what an earlier boot left: nothing of it is there any more.
open_journal() {
    journal_boot=
    [ ! -s "$JOURNAL" ] || { read -r _ journal_boot; } <"$JOURNAL"
    [ "$journal_boot" != "$BOOT" ] || return 0
    rm -rf "$RUN" "$STATE/up" "$STATE/cgroups-missing" && mkdir "$RUN" && chmod 700 "$RUN" ||
        die "clear $RUN" "it cannot be emptied" "Remove it by hand: rm -rf $RUN"
    say "boot $BOOT" >"$JOURNAL.new" && sync && mv "$JOURNAL.new" "$JOURNAL" && touch "$MADE" ||
        die "begin $JOURNAL" "it cannot be written" "Check the space: df -h $BOARD"
}

# note FILE WORD…: an entry, written before what it tells of is done; on the disk too, if that outlasts a power cut.
# The same entry is not written twice.
note() {
    note_in=$1
    shift
    grep -qxF "$*" "$note_in" 2>/dev/null && return
    printf '%s\n' "$*" >>"$note_in" && { [ "$note_in" = "$JOURNAL" ] || sync; } ||
        die "write $note_in" "it failed, so nothing more is done to the board" "Check the space: df -h $BOARD"
}

undo_all() {
    failed=
    undo_file "$JOURNAL"
    undo_file "$MADE"
    put_back_roots
    [ -z "$failed" ]
}

# Undoes the entries from the last to the first; those that cannot be undone now stay. It writes nothing before the end:
# a full disk must not keep a board from being taken down.
undo_file() {
    [ -s "$1" ] || return 0
    left=''
    entries=$(awk '$1 != "boot" { line[NR] = $0 } END { for (i = NR; i > 0; i--) if (i in line) print line[i] }' "$1")
    while [ -n "$entries" ]; do
        entry=${entries%%"$NEWLINE"*}
        entries=${entries#"$entry"} entries=${entries#"$NEWLINE"}
        # shellcheck disable=SC2086 # its words hold no spaces: they are paths, numbers and names, checked for that
        undo $entry || left=$entry$NEWLINE$left
    done
    if [ -z "$left" ]; then
        rm -f "$1"
        return
    fi
    failed=yes
    [ "$1" = "$MADE" ] || left="boot $BOOT$NEWLINE$left"
    printf '%s' "$left" >"$1.new" && mv "$1.new" "$1" # if not, what is undone already is found undone
}
NEWLINE='
'

# undo KIND WORD…: an entry of a journal. One that was cut short was not acted upon.
undo() {
    case $1 in
    mount | rule | link | value | file) [ $# -ge 3 ] || return 0 ;;
    *) [ $# -ge 2 ] || return 0 ;;
    esac
    case $1 in
    mount) undo_mount "$2" "$3" ;;
    value) undo_value "$2" "$3" "${4:-}" ;;
    rule) undo_rule "$2" "$3" ;;
    link) [ "$(readlink "$2" 2>/dev/null)" != "$3" ] || rm -f "$2" ;;
    daemon) stop_daemon "$2" ;;
    bridge) undo_bridge ;;
    dir) undo_dir "$2" ;;
    file) undo_file_made "$2" "$3" ;;
    *)
        warn "the journal has an entry that this version does not know: $* (slipway rollback has the one that does)"
        return 1
        ;;
    esac
}

# $2 mounts were at $1 before ours: whatever is above them goes, with what was mounted on it since.
undo_mount() {
    while [ "$(mounts_at "$1")" -gt "$2" ]; do
        # Of the mount on top and those on it, by their numbers: what ours hides has the same path.
        below=$(awk -v at="$1" '{ id[NR] = $1; up[NR] = $2; point[NR] = $5; if ($5 == at) top = NR }
            END { on[id[top]] = 1; for (i = top + 1; i <= NR; i++) if (up[i] in on) { on[id[i]] = 1; last = point[i] } print last }' \
            /proc/self/mountinfo)
        undo_error=$(umount "${below:-$1}" 2>&1) && continue
        # A folder that someone stands in can be let go of: they keep it, and all others see what was there before.
        # A card cannot: it would not be safe to take out.
        if [ "$1" = "$(realpath "$data_root" 2>/dev/null)" ] || ! umount -l "${below:-$1}" 2>/dev/null; then
            warn "${below:-$1} stays mounted: ${undo_error##*: } ($SLOT/bin/busybox fuser -m ${below:-$1} tells who uses it)"
            return 1
        fi
    done
}

# File $1 was set from $3 to $2. What somebody else has set since then stays.
undo_value() {
    [ -e "$1" ] && [ "$(cat "$1" 2>/dev/null)" = "$2" ] || return 0
    { say "$3" >"$1"; } 2>/dev/null || [ -z "$3" ] || {
        warn "$1 stays $2: it cannot be set back to $3"
        return 1
    }
}

undo_rule() {
    has_rule "$1" "$2" || return 0
    "$SLOT/bin/ip" rule del pref "$1" from all lookup "$2" || {
        warn "the routing rule $1 (lookup $2) stays"
        return 1
    }
}

# A folder that has been filled since is somebody's data, and stays.
undo_dir() {
    [ -d "$1" ] && [ -z "$(ls -A "$1")" ] || return 0
    make_writable "${1%/*}/" && rmdir "$1" || {
        warn "the empty folder $1 stays: ${ROOT_ERROR:-it cannot be removed}"
        return 1
    }
}

# A file that has been changed since is somebody's, and stays.
undo_file_made() {
    [ -f "$1" ] && [ "$(hash_of "$1")" = "$2" ] || return 0
    make_writable "${1%/*}/" && rm -f "$1" || {
        warn "the file $1 stays: ${ROOT_ERROR:-it cannot be removed}"
        return 1
    }
}

hash_of() { sha256sum "$1" | cut -c1-64; }

# shellcheck shell=sh disable=SC2034,SC2153,SC2154 # part of bin/slipway, where the rest is
# What this bundle was made for: etc/slipway/settings, every value checked before anything is done with it.

SETTINGS=$SLOT/etc/slipway/settings

load_settings() {
    data_root='' data_device='' data_filesystem=f2fs bind_dirs='' cgroup_controllers='' node_name='' interface=''
    cloud_address='' runtime_endpoint=unix:///var/run/docker.sock registry_mirrors='' nameservers='' routing_rules='' target='' version=''
    [ -r "$SETTINGS" ] || bad_settings "the file is missing"
    line_number=0
    set -f # a * in a list is an error to be told, not a pattern
    while IFS= read -r line || [ -n "$line" ]; do
        line_number=$((line_number + 1))
        case $line in
        '' | '#'*) continue ;;
        *=*) ;;
        *) bad_settings "line $line_number is not name=value: $line" ;;
        esac
        value=${line#*=}
        case ${line%%=*} in
        board_dir) [ "$value" = "$BOARD" ] || bad_settings "line $line_number says $line, and this is $BOARD" ;;
        data_root) is_path "$value" && data_root=$value ;;
        data_device) [ -z "$value" ] || is_path "$value" && data_device=$value ;;
        data_filesystem) is_word "$value" && data_filesystem=$value ;;
        bind_dirs)
            for name in $value; do
                is_path "$name"
                bind_dirs="$bind_dirs${bind_dirs:+ }${name#/}"
            done
            ;;
        cgroup_controllers)
            for name in $value; do is_word "$name"; done
            cgroup_controllers=$value
            ;;
        routing_rules)
            for rule in $value; do
                case $rule in
                *[!0-9:a-z]* | :* | *: | *:*:* | [!0-9]*) bad_settings "line $line_number: a rule is PREF:TABLE, found $rule" ;;
                *:*) ;;
                *) bad_settings "line $line_number: a rule is PREF:TABLE, found $rule" ;;
                esac
            done
            routing_rules=$value
            ;;
        node_name) node_name=$value ;;
        interface) interface=$value ;;
        cloud_address) cloud_address=$value ;;
        runtime_endpoint)
            is_path "${value#unix://}"
            runtime_endpoint=unix://${value#unix://}
            ;;
        registry_mirrors) registry_mirrors=$value ;;
        nameservers) nameservers=$value ;;
        target) target=$value ;;
        version) version=$value ;;
        *) bad_settings "line $line_number has the unknown name ${line%%=*}" ;;
        esac
    done <"$SETTINGS"
    set +f
    [ -n "$data_root" ] || bad_settings "data_root is missing"
    case $data_root/ in
    "$BOARD"/ | "$BOARD"/slots/* | "$BOARD"/incoming/* | "$BOARD"/secrets/* | "$BOARD"/state/* | "$BOARD"/run/* | \
        "$BOARD"/log/* | "$BOARD"/current/* | "$BOARD"/previous/*)
        bad_settings "data_root=$data_root is among Slipway's own folders"
        ;;
    esac
}

bad_settings() {
    die "read $SETTINGS" "$1" "Build the bundle again (cargo xtask bundle), install it, or go back: slipway rollback"
}

is_path() {
    case $1 in
    *[!A-Za-z0-9._/-]* | *//* | */ | */../* | */.. | */./* | */.) bad_settings "line $line_number: not a path from the root: $1" ;;
    /*) ;;
    *) bad_settings "line $line_number: not a path from the root: $1" ;;
    esac
}

is_word() {
    case $1 in
    '' | *[!A-Za-z0-9_=-]*) bad_settings "line $line_number: not a name: $1" ;;
    esac
}

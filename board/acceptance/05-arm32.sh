# proves: 32-bit programs run on the 64-bit kernel
# limit: 60
# needs: install
# shellcheck shell=sh source=board/acceptance/lib.sh disable=SC2016,SC2153,SC2154
found=
for program in "$SLOT"/bin/*; do
    if [ -L "$program" ] || [ ! -f "$program" ]; then continue; fi
    # The fifth byte of an ELF file: 1 is 32 bits, 2 is 64.
    case $(head -c 5 "$program" | od -A n -t x1 | tr -d ' \n') in
    7f454c4601) found=$program ;;
    esac
done
[ -n "$found" ] || not_run "there is no 32-bit program in this bundle"
must "$found" iptables --version
evidence "${found##*/}, 32 bits: $(cat "$FOLDER/must.log")"

# Builds a board like OpenHarmony's in the namespaces that this was started in, and gives a console there.
# $1: where the root goes; $2: a folder shared with the test, which is /host there; $3: the static busybox;
# $4: options of /data's tmpfs, or `kept` for a folder of the test's, which outlasts the board.
set -e
mount -t tmpfs -o mode=755 root "$1"
cd "$1"
mkdir config data dev host mnt proc sys system t tmp updater vendor
mkdir -p system/bin system/etc/init system/lib64
ln -s /system/bin bin
ln -s /system/etc etc
ln -s /system/lib64 lib
cp "$3" t/busybox
for applet in awk cat chmod cp cut grep head id kill ln ls mkdir mount mv ps readlink realpath rm sed sh sha256sum \
    sleep sort tail touch tr umount wc; do
    ln -s /t/busybox system/bin/$applet
done
echo '127.0.0.1 localhost' >system/etc/hosts
mount -t proc proc proc
mount -t tmpfs -o mode=755 sys sys
mkdir -p sys/fs/cgroup sys/fs/selinux
echo 1 >sys/fs/selinux/enforce
mount -t tmpfs -o mode=755 dev dev
touch dev/null dev/zero dev/urandom
for device in null zero urandom; do mount --bind /dev/$device dev/$device; done
mount --bind "$2" host
if [ "$4" = kept ]; then
    mkdir -p "$2/data"
    mount --bind "$2/data" data
else
    mount -t tmpfs -o "mode=771,$4" data data
fi
# /proc says which boot this is; the test may say so instead.
[ ! -e "$2/boot_id" ] || mount --bind "$2/boot_id" proc/sys/kernel/random/boot_id
mkdir -p data/slipway/incoming data/t
cp host/slipway host/busybox data/slipway/incoming/
# busybox sh runs its own applets before anything in PATH: what this board has is what the links above give it.
"$3" mount -o remount,ro root "$1"
exec env -i PATH=/system/bin "$3" chroot "$1" /t/busybox sh

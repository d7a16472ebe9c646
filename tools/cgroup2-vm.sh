#!/usr/bin/env bash
# Runs the container runtime's tests in a small virtual machine with Debian's own kernel and
# cgroup v2 (mounted `nsdelegate`, as systemd does), for hosts that have cgroup v1.
#
# Needs Debian 12 on x86-64 with its package archive; no hardware acceleration, no root, and
# nothing is installed: packages are unpacked below target/vm. Takes about two minutes.
# usage: tools/cgroup2-vm.sh [name of a test program …]
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
vm=$target/vm
mkdir -p "$vm/deb" "$vm/x"
vm=$(realpath "$vm")

# 1. A kernel and an emulator, once.
if [ ! -e "$vm/x/ready" ]; then
    kernel=$(apt-cache depends linux-image-cloud-amd64 | grep -o 'linux-image-[0-9][^ ]*' | head -1)
    (cd "$vm/deb" && apt-get download -qq "$kernel" busybox-static \
        $(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
            --no-replaces --no-enhances qemu-system-x86 | grep -E '^[a-z0-9]' | sort -u \
            | grep -vE '^(debconf|perl|systemd|udev|dpkg|init)'))
    for deb in "$vm"/deb/*.deb; do dpkg -x "$deb" "$vm/x"; done
    touch "$vm/x/ready"
fi

# 2. The test programs, and the shim where they look for it.
root=$vm/root
rm -rf "$root"
mkdir -p "$root"/{bin,etc,newroot,proc,t}
cargo test -p timonier-runtime --no-run --message-format=json 2>/dev/null |
    grep -o '"executable":"[^"]*"' | cut -d'"' -f4 | sort -u > "$vm/programs"
while read -r program; do
    name=$(basename "$program")
    case $name in
        timonier-shim) mkdir -p "$root$(dirname "$program")"; strip -o "$root$program" "$program" ;;
        timonier_shim-*) ;;
        *) strip -o "$root/t/${name%-*}" "$program" ;;
    esac
done < "$vm/programs"
shim=$(grep '/timonier-shim$' "$vm/programs")

# 3. A file system in memory.
cp "$vm/x/bin/busybox" "$root/bin/busybox"
for applet in $("$root/bin/busybox" --list | grep -vx busybox); do
    ln -s busybox "$root/bin/$applet"
done
for library in $(ldd "$root"/t/* "$shim" | grep -o '/[^ ]*\.so[^ ]*' | sort -u); do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
cp "$vm"/x/lib/modules/*/kernel/fs/overlayfs/overlay.ko "$root/"
echo 'root:x:0:0::/root:/bin/sh' > "$root/etc/passwd"
echo "${*:-$(ls "$root/t" | tr '\n' ' ')}" > "$root/t.list"
cat > "$root/init" <<'INIT'
#!/bin/sh
# pivot_root does not work on the first root: everything moves to a second one.
mount -t proc proc /proc
mount -t tmpfs -o size=900m tmpfs /newroot
for entry in /*; do
    case $entry in /newroot | /proc | /sys | /dev) ;; *) cp -a "$entry" /newroot/ ;; esac
done
mkdir -p /newroot/proc /newroot/sys /newroot/dev /newroot/tmp /newroot/root
umount /proc
exec switch_root /newroot /init2
INIT
cat > "$root/init2" <<'INIT'
#!/bin/sh
export PATH=/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
exec </dev/console >/dev/console 2>&1
insmod /overlay.ko
mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
ip link set lo up
result=PASSED
for program in $(cat /t.list); do
    echo "=== $program"
    # Emulated processes start twenty times slower: speed is no matter here.
    "/t/$program" --test-threads 1 --skip creating_and_starting_is_fast || result=FAILED
done
echo "VM TESTS $result"
poweroff -f
INIT
chmod +x "$root/init" "$root/init2"
(cd "$root" && find . | ./bin/busybox cpio -o -H newc 2>/dev/null | gzip -1) > "$vm/initrd.gz"

# 4. Run. Messages of the kernel go to the same console.
LD_LIBRARY_PATH=$vm/x/usr/lib/x86_64-linux-gnu:$vm/x/lib/x86_64-linux-gnu \
    timeout 900 "$vm/x/usr/bin/qemu-system-x86_64" -L "$vm/x/usr/share/qemu" \
    -L "$vm/x/usr/share/seabios" -accel tcg,thread=multi -smp 2 -M q35 -m 2000 -cpu max \
    -nodefaults -no-user-config -display none -no-reboot -nic none -monitor none -serial stdio \
    -kernel "$vm"/x/boot/vmlinuz-* -initrd "$vm/initrd.gz" \
    -append "console=ttyS0 quiet loglevel=1 panic=-1 tsc_early_khz=2000000" </dev/null |
    tee "$vm/log"
grep -q 'VM TESTS PASSED' "$vm/log"

#!/bin/sh
# First process of a user-mode Linux that plays a peer with a real kernel's ESP. The interop harness boots it; its root is the
# host's file system. From the kernel's command line: UML_DIR, where commands and their outputs go; UML_NET, `ip -batch`
# commands; UML_MODULES, names with commas.
#
# It reads numbers from the console. For each it runs UML_DIR/NUMBER.sh, leaves the output in UML_DIR/NUMBER.out, and says
# `## NUMBER STATUS`.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run
mount -t proc proc /proc
mount -t sysfs sys /sys
# Unix sockets need a file system of the machine's own.
mount -t tmpfs run /run
stty -echo

mkdir -p /run/kernel/lib
ln -s /usr/lib/uml/modules /run/kernel/lib/modules
modprobe -d /run/kernel -a $(echo "$UML_MODULES" | tr , ' ') || echo "## modules failed"
# Otherwise the first use of each cipher forks a dozen processes that look for modules with other names.
echo >/proc/sys/kernel/modprobe

ip -batch "$UML_NET" || echo "## net failed"
echo "## ready $(cut -d' ' -f1 /proc/uptime)"
while read -r n; do
    sh "$UML_DIR/$n.sh" >"$UML_DIR/$n.out" 2>&1 </dev/null
    echo "## $n $?"
done
echo o >/proc/sysrq-trigger
sleep 5

#!/bin/sh
# Sets this host up for Coremap, and takes everything back: the changes that `coremap doctor` advises.
#
#   apply.sh --dry-run       print each change
#   apply.sh                 make them; what is as wanted stays untouched, so a second run does nothing
#   apply.sh --undo          put back what was there before
#   apply.sh [..] --cpus 0-5 the CPUs of the shards, if not all: interrupts go to the others
#   apply.sh [..] GROUP...   only these: net memory cpu irq idle
#
#   net     the queue of new connections (somaxconn) to 4096, if it is shorter
#   memory  swappiness to 1 if there is swap, huge pages for who asks (madvise) if they are off, no
#           NUMA balancing
#   cpu     frequency governor of the shards' CPUs to performance
#   irq     interrupts of network devices onto CPUs without shards, or in turn; receive packet steering
#           where there are fewer queues than shards
#   idle    idle states that take longer than 10 us to leave off; costs power, so only if it is named
#
# A run for other CPUs than the last puts back, in its groups, what only those of before needed.
#
# Every change is a file of /proc/sys, /proc/irq or /sys that gets another value. Before the first
# one its value is noted in $STATE, which a restart of the host forgets together with the changes.
# $ROOT is put in front of every path: tests try it on a tree of their own.
set -u

ROOT=${ROOT:-}
STATE=${STATE:-$ROOT/run/coremap-tuning}
IDLE_EXIT_US_MAX=10
SOMAXCONN=4096

dry=
take_back=
cpus=
groups=
status=0
# The files that this run has an opinion of, one a line.
asked=

usage() {
    sed -n '2,/^set -u/s/^# \{0,1\}//p' "$0"
}

refuse() {
    echo "apply.sh: $1" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case $1 in
        --dry-run) dry=yes ;;
        --undo) take_back=yes ;;
        --cpus) [ $# -ge 2 ] || refuse "--cpus needs a list"; cpus=$2; shift ;;
        --cpus=*) cpus=${1#--cpus=} ;;
        -h | --help) usage; exit 0 ;;
        net | memory | cpu | irq | idle) groups="$groups $1" ;;
        *) refuse "unknown argument '$1' (see --help)" ;;
    esac
    shift
done
echo "$cpus" | grep -Eq '^([0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)?$' || refuse "'$cpus' is no list of CPUs"

# The value of a file; of those that list all choices the one in force; masks without leading zeros.
value() {
    case $1 in
        */transparent_hugepage/*) sed 's/.*\[\(.*\)\].*/\1/' "$1" ;;
        */rps_cpus) tr -d ',\n' <"$1" | sed 's/^0*\(.\)/\1/' ;;
        *) cat "$1" ;;
    esac 2>/dev/null
}

# The value for a file as the kernel reads it: it takes no more than eight digits of a mask without a comma.
spelled() {
    case $1 in
        */rps_cpus) echo "$2" | sed -e ':next' -e 's/^\([0-9a-f]*[0-9a-f]\)\([0-9a-f]\{8\}\)/\1,\2/' -e 't next' ;;
        *) echo "$2" ;;
    esac
}

# Writes a value and looks whether it took.
put() {
    text=$(spelled "$1" "$2")
    { printf '%s\n' "$text" >"$1"; } 2>/dev/null
    [ "$(value "$1")" = "$2" ]
}

# change FILE VALUE: makes one change, once.
change() {
    [ -e "$1" ] || return 0
    name=${1#"$ROOT"}
    asked="$asked
$name"
    old=$(value "$1") || return 0
    [ "$old" != "$2" ] || return 0
    if [ -n "$dry" ]; then
        echo "$name: $old -> $2"
        return 0
    fi
    # Before it is done: a run that is cut short can be undone.
    note "$name" "$old" "$2"
    if put "$1" "$2"; then
        echo "$name: $old -> $2"
    else
        now=$(value "$1")
        echo "$name: stays $now, the kernel refuses $2" >&2
        forget "$name"
        # A run before this one may have changed it.
        [ "$now" = "$first" ] || note "$name" "$first" "$now"
        status=1
    fi
}

# note NAME OLD NEW: what a file held before the first change, and what it holds after the last.
note() {
    first=$2
    if [ -e "$STATE" ] && grep -q "^$1	" "$STATE"; then
        first=$(sed -n "s|^$1	\(.*\)	.*|\1|p" "$STATE")
        forget "$1"
    fi
    mkdir -p "${STATE%/*}"
    printf '%s\t%s\t%s\n' "$1" "$first" "$3" >>"$STATE"
}

# Strikes a file off the notes.
forget() {
    grep -v "^$1	" "$STATE" >"$STATE.new"
    mv "$STATE.new" "$STATE"
    [ -s "$STATE" ] || rm "$STATE"
}

# undo NAME OLD NEW: puts back what was noted, except where somebody has changed it since.
undo() {
    now=$(value "$ROOT$1")
    if [ "$now" = "$2" ]; then
        [ -n "$dry" ] || forget "$1"
    elif [ "$now" != "$3" ]; then
        echo "$1: stays $now, which was not set here" >&2
        [ -n "$dry" ] || forget "$1"
    elif [ -n "$dry" ]; then
        echo "$1: $now -> $2"
    elif put "$ROOT$1" "$2"; then
        echo "$1: $now -> $2"
        forget "$1"
    else
        echo "$1: stays $now, the kernel refuses $2" >&2
        status=1
    fi
}

# undo_others PATTERN: the same for all noted files of these names that this run has no opinion of.
undo_others() {
    [ -e "$STATE" ] || return 0
    copy=$(cat "$STATE")
    while IFS='	' read -r name old new; do
        # shellcheck disable=SC2254 # a pattern
        case $name in
            $1) echo "$asked" | grep -qxF "$name" || undo "$name" "$old" "$new" ;;
        esac
    done <<END
$copy
END
}

# A list of CPUs as 0-2,5, one a line.
each_cpu() {
    echo "$1" | awk -F, '{ for (i = 1; i <= NF; i++) { n = split($i, r, "-"); for (c = r[1]; c <= r[n]; c++) print c + 0 } }'
}

# CPUs, one a line, as a mask in hexadecimal.
mask() {
    awk '{ bit[$1] = 1; if ($1 > top) top = $1 }
        END { for (n = int(top / 4); n >= 0; n--)
            printf "%x", bit[4*n] + 2 * bit[4*n+1] + 4 * bit[4*n+2] + 8 * bit[4*n+3] }'
}

# The numbers of a network device's interrupts.
irqs_of() {
    for folder in "$1/device/msi_irqs" "$1/device/../msi_irqs"; do
        if [ -d "$folder" ]; then
            ls "$folder"
            return
        fi
    done
}

# How often an interrupt came, on all CPUs together.
came() {
    awk -v irq="$1:" '$1 == irq { for (i = 2; $i ~ /^[0-9]+$/; i++) sum += $i } END { print sum + 0 }' \
        "$ROOT/proc/interrupts"
}

tune_net() {
    file=$ROOT/proc/sys/net/core/somaxconn
    [ ! -e "$file" ] || [ "$(value "$file")" -ge "$SOMAXCONN" ] || change "$file" "$SOMAXCONN"
}

tune_memory() {
    # Its first line names the columns.
    if [ "$(wc -l <"$ROOT/proc/swaps")" -gt 1 ] && [ "$(value "$ROOT/proc/sys/vm/swappiness")" -gt 1 ]; then
        change "$ROOT/proc/sys/vm/swappiness" 1
    fi
    file=$ROOT/sys/kernel/mm/transparent_hugepage/enabled
    [ "$(value "$file")" != never ] || change "$file" madvise
    change "$ROOT/proc/sys/kernel/numa_balancing" 0
}

tune_cpu() {
    for cpu in $shard_cpus; do
        change "$ROOT/sys/devices/system/cpu/cpu$cpu/cpufreq/scaling_governor" performance
    done
    undo_others '*/scaling_governor'
}

tune_idle() {
    for cpu in $shard_cpus; do
        for state in "$ROOT/sys/devices/system/cpu/cpu$cpu"/cpuidle/state*; do
            [ -e "$state/latency" ] || continue
            [ "$(value "$state/latency")" -le "$IDLE_EXIT_US_MAX" ] || change "$state/disable" 1
        done
    done
    undo_others '*/cpuidle/*'
}

tune_irq() {
    if [ -z "$ROOT" ] && pgrep -x irqbalance >/dev/null; then
        echo "irqbalance runs and will move interrupts again: systemctl disable --now irqbalance" >&2
    fi
    # Interrupts take turns on the CPUs without shards, or where there are none on all.
    targets=
    for cpu in $(each_cpu "$online"); do
        echo "$shard_cpus" | grep -qx "$cpu" || targets="$targets $cpu"
    done
    # shellcheck disable=SC2086 # a list of numbers
    set -- ${targets:-$shard_cpus}
    for device in "$ROOT"/sys/class/net/*; do
        [ -d "$device/device" ] || continue
        for irq in $(irqs_of "$device"); do
            file=$ROOT/proc/irq/$irq/smp_affinity_list
            # Interrupts that never came may stay where they are.
            [ "$(came "$irq")" -gt 0 ] || continue
            change "$file" "$1"
            first=$1
            shift
            set -- "$@" "$first"
        done
        steer "$device"
    done
    undo_others '/proc/irq/*'
    undo_others '*/rps_cpus'
}

# Lets all shards' CPUs do the receive work of a device with fewer queues than shards.
steer() {
    queues=0
    for queue in "$1"/queues/rx-*; do
        [ -e "$queue/rps_cpus" ] && queues=$((queues + 1))
    done
    [ "$queues" -lt "$(echo "$shard_cpus" | wc -l)" ] || return 0
    for queue in "$1"/queues/rx-*; do
        change "$queue/rps_cpus" "$(echo "$shard_cpus" | mask)"
    done
}

if [ -n "$take_back" ]; then
    [ -e "$STATE" ] || echo "nothing to undo"
    undo_others '*'
    exit $status
fi
online=$(cat "$ROOT/sys/devices/system/cpu/online") || exit 1
shard_cpus=$(each_cpu "${cpus:-$online}")
for group in ${groups:-net memory cpu irq}; do
    case $group in
        net) tune_net ;;
        memory) tune_memory ;;
        cpu) tune_cpu ;;
        irq) tune_irq ;;
        idle) tune_idle ;;
    esac
done
exit $status

//! Every verdict of every check, on trees made for it.
//!
//! A case is a healthy host of four CPUs with some of its files replaced; what the check says then
//! must begin with the words given, and a fix must name what to type.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::checks::{CHECKS, Finding, Verdict};
use super::host::Host;
use super::*;
use Verdict::{Advice, Bad, Good, Unknown};

/// A host on which nothing is to be said against.
const HEALTHY: &[(&str, &str)] = &[
    ("proc/self/status", "CapEff:\t0\nCpus_allowed_list:\t0-3\n"),
    (
        "proc/self/limits",
        "Limit   Soft Limit  Hard Limit  Units\n\
         Max open files            1024                 20000                files\n\
         Max locked memory         8388608              unlimited            bytes\n",
    ),
    ("proc/self/cgroup", "0::/system.slice/coremap.service\n"),
    (
        "proc/self/mountinfo",
        "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n\
         23 22 8:2 / /data rw,relatime - xfs /dev/sdb1 rw\n",
    ),
    ("proc/sys/kernel/osrelease", "6.1.0-13-amd64\n"),
    ("proc/sys/kernel/io_uring_disabled", "0\n"),
    ("proc/sys/fs/nr_open", "1048576\n"),
    (
        "proc/stat",
        "cpu  9 9 9 9 9 9 9 9\ncpu0 900 0 100 9000 0 0 0 10 0 0\n\
         cpu1 900 0 100 9000 0 0 0 10 0 0\ncpu2 900 0 100 9000 0 0 0 10 0 0\n\
         cpu3 900 0 100 9000 0 0 0 10 0 0\n",
    ),
    ("sys/devices/system/cpu/online", "0-3\n"),
    (
        "sys/devices/system/cpu/cpuidle/current_driver",
        "intel_idle\n",
    ),
    (
        "sys/devices/system/clocksource/clocksource0/current_clocksource",
        "tsc\n",
    ),
    (
        "sys/devices/system/clocksource/clocksource0/available_clocksource",
        "tsc hpet acpi_pm\n",
    ),
    ("sys/devices/system/node/online", "0\n"),
    ("sys/devices/system/node/node0/cpulist", "0-3\n"),
    (
        "proc/interrupts",
        "     CPU0  CPU1  CPU2  CPU3\n 40:  10  0  0  0  IR-PCI  eth0-rx-0\n \
         41:  0  10  0  0  IR-PCI  eth0-rx-1\n 42:  0  0  10  0  IR-PCI  eth0-rx-2\n \
         43:  0  0  0  10  IR-PCI  eth0-rx-3\n 44: 900 0 0 0 IR-PCI  nvme0\nLOC: 9 9 9 9  timer\n",
    ),
    ("proc/sys/net/core/somaxconn", "4096\n"),
    (
        "proc/meminfo",
        "MemTotal:  16777216 kB\nMemAvailable:  15728640 kB\nSwapTotal:  1048576 kB\n\
         CommitLimit:  8388608 kB\nCommitted_AS:  1048576 kB\n",
    ),
    (
        "sys/kernel/mm/transparent_hugepage/enabled",
        "always [madvise] never\n",
    ),
    ("proc/sys/vm/overcommit_memory", "0\n"),
    ("proc/sys/vm/swappiness", "60\n"),
    ("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n"),
];

const GROUP: &str = "sys/fs/cgroup/system.slice";
const RX: &str = "sys/class/net/eth0/queues";

/// A tree that is removed with the test.
struct Tree(PathBuf);

impl Tree {
    /// The healthy host, with files that replace its own; those without text are missing.
    fn new(changes: &[(&str, &str)]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("coremap-host-{}-{number}", std::process::id());
        let tree = Self(std::env::temp_dir().join(name));
        for cpu in 0..4 {
            let folder = format!("sys/devices/system/cpu/cpu{cpu}");
            tree.write(
                &format!("{folder}/cpufreq/scaling_governor"),
                "performance\n",
            );
            for (state, name, latency_us, is_off) in
                [(0, "POLL", 0, 0), (1, "C1", 2, 0), (2, "C6", 133, 1)]
            {
                let folder = format!("{folder}/cpuidle/state{state}");
                tree.write(&format!("{folder}/name"), name);
                tree.write(&format!("{folder}/latency"), &latency_us.to_string());
                tree.write(&format!("{folder}/disable"), &is_off.to_string());
            }
            tree.write(&format!("{RX}/rx-{cpu}/rps_cpus"), "00000000,00000000\n");
            tree.write(
                &format!("sys/class/net/eth0/device/msi_irqs/4{cpu}"),
                "msix\n",
            );
        }
        tree.write("sys/class/net/lo/queues/rx-0/rps_cpus", "0\n");
        for (path, text) in HEALTHY.iter().chain(changes) {
            if text.is_empty() {
                let path = tree.0.join(path);
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            } else {
                tree.write(path, text);
            }
        }
        tree
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("it can be made");
        fs::write(path, text).expect("it can be written");
    }

    /// What the check of that name finds, for a server with these options.
    fn look(&self, name: &str, options: &[(&str, &str)]) -> Finding {
        let mut config = Config::default();
        for (name, value) in options {
            config.set(name, &[(*value).to_owned()]).expect("it is one");
        }
        let host = Host::new(&self.0, None, config.settings);
        let check = CHECKS.iter().find(|check| check.name == name);
        check.expect("there is such a check").run(&host)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Name, options, files, verdict, how the value begins, what the fix contains.
type Case = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [(&'static str, &'static str)],
    Verdict,
    &'static str,
    &'static str,
);

const PROCESS: &[Case] = &[
    ("kernel", &[], &[], Good, "6.1.0-13-amd64", ""),
    (
        "kernel",
        &[],
        &[("proc/sys/kernel/osrelease", "5.10.0")],
        Advice,
        "5.10.0",
        "newer",
    ),
    (
        "kernel",
        &[],
        &[("proc/sys/kernel/osrelease", "4.19.1")],
        Bad,
        "4.19.1",
        "newer",
    ),
    (
        "kernel",
        &[],
        &[("proc/sys/kernel/osrelease", "odd")],
        Unknown,
        "'odd'",
        "",
    ),
    (
        "kernel",
        &[],
        &[("proc/sys/kernel/osrelease", "")],
        Unknown,
        "there is no /proc/sys/kernel/osrelease",
        "",
    ),
    ("io-uring", &[], &[], Unknown, "only a process itself", ""),
    (
        "io-uring",
        &[],
        &[("proc/sys/kernel/io_uring_disabled", "2")],
        Bad,
        "kernel.io_uring_disabled is 2",
        "sysctl",
    ),
    ("memlock", &[], &[], Good, "unlimited, rings of 1024", ""),
    (
        "memlock",
        &[],
        &[("proc/self/limits", "Max locked memory 65536 65536 bytes\n")],
        Bad,
        "64 KiB, at least 512 KiB",
        "ulimit -l 4800",
    ),
    (
        "memlock",
        &[],
        &[(
            "proc/self/limits",
            "Max locked memory 65536 2097152 bytes\n",
        )],
        Advice,
        "2048 KiB, enough for rings of 128",
        "LimitMEMLOCK=4800K",
    ),
    (
        "memlock",
        &[("ring-depth", "128")],
        &[(
            "proc/self/limits",
            "Max locked memory 65536 2097152 bytes\n",
        )],
        Good,
        "2048 KiB, rings of 128",
        "",
    ),
    (
        "memlock",
        &[("ring-depth", "300")],
        &[],
        Good,
        "unlimited, rings of 512",
        "",
    ),
    (
        "memlock",
        &[("lock-memory", "yes")],
        &[],
        Good,
        "unlimited, rings of 1024",
        "",
    ),
    (
        "memlock",
        &[("lock-memory", "yes")],
        &[(
            "proc/self/limits",
            "Max locked memory 65536 67108864 bytes\n",
        )],
        Unknown,
        "whether lock-memory may lock",
        "",
    ),
    (
        "memlock",
        &[],
        &[("proc/self/limits", "")],
        Unknown,
        "there is no /proc/PID/limits",
        "",
    ),
    (
        "nofile",
        &[],
        &[],
        Good,
        "20000, maxclients 10000 needs 10128",
        "",
    ),
    (
        "nofile",
        &[("maxclients", "30000")],
        &[],
        Advice,
        "20000, maxclients 30000 needs 30128",
        "ulimit -n 30128",
    ),
    (
        "nofile",
        &[("maxclients", "30000")],
        &[(
            "proc/self/status",
            "CapEff:\t0000000001000000\nCpus_allowed_list:\t0-3\n",
        )],
        Good,
        "20000, maxclients 30000 needs 30128, which it may give itself",
        "",
    ),
    (
        "nofile",
        &[("maxclients", "30000")],
        &[
            (
                "proc/self/status",
                "CapEff:\t0000000001000000\nCpus_allowed_list:\t0-3\n",
            ),
            ("proc/sys/fs/nr_open", "20000"),
        ],
        Advice,
        "20000",
        "LimitNOFILE=30128",
    ),
    (
        "nofile",
        &[],
        &[("proc/self/limits", "Max open files lots lots files\n")],
        Unknown,
        "'lots' is no number",
        "",
    ),
];

const CPUS: &[Case] = &[
    ("cpu-quota", &[], &[], Good, "none", ""),
    (
        "cpu-quota",
        &[],
        &[("proc/self/cgroup", "")],
        Unknown,
        "there is no /proc/PID/cgroup",
        "",
    ),
    (
        "cpu-quota",
        &[],
        &[("sys/fs/cgroup/system.slice/cpu.max", "max 100000")],
        Good,
        "none",
        "",
    ),
    (
        "cpu-quota",
        &[],
        &[("sys/fs/cgroup/system.slice/cpu.max", "200000 100000")],
        Good,
        "2.00 CPUs (200000 us in each 100000 us) for 2 shards",
        "",
    ),
    (
        "cpu-quota",
        &[],
        &[("sys/fs/cgroup/system.slice/cpu.max", "150000 100000")],
        Bad,
        "1.50 CPUs (150000 us in each 100000 us) for 2 shards",
        "CPUQuota=200%",
    ),
    (
        "cpu-quota",
        &[("cpus", "0-3")],
        &[("sys/fs/cgroup/system.slice/cpu.max", "200000 100000")],
        Bad,
        "2.00 CPUs (200000 us in each 100000 us) for 4 shards",
        "CPUQuota=400%",
    ),
    (
        "cpu-quota",
        &[],
        &[
            ("sys/fs/cgroup/system.slice/cpu.max", "200000 100000"),
            (
                "sys/fs/cgroup/system.slice/cpu.stat",
                "nr_periods 9\nnr_throttled 4\n",
            ),
        ],
        Advice,
        "2.00 CPUs (200000 us in each 100000 us) for 2 shards, ran out of it in 4 periods",
        "docker update",
    ),
    (
        "cpu-quota",
        &[("cpus", "0,1")],
        &[
            ("proc/self/cgroup", "3:cpu,cpuacct:/a\n0::/\n"),
            ("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "50000"),
            ("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000"),
        ],
        Bad,
        "0.50 CPUs",
        "CPUQuota=200%",
    ),
    ("cpu-steal", &[], &[], Good, "0.10 %", ""),
    (
        "cpu-steal",
        &[("cpus", "1")],
        &[("proc/stat", "cpu1 90 0 0 0 0 0 0 10 0 0\n")],
        Advice,
        "10.00 %",
        "provider",
    ),
    (
        "cpu-steal",
        &[],
        &[("proc/stat", "cpu0 1 1 1 1 1 1 1 0\n")],
        Unknown,
        "/proc/stat has no CPU 1",
        "",
    ),
    ("cpu-governor", &[], &[], Good, "performance", ""),
    (
        "cpu-governor",
        &[],
        &[(
            "sys/devices/system/cpu/cpu2/cpufreq/scaling_governor",
            "powersave",
        )],
        Advice,
        "performance, powersave",
        "echo performance",
    ),
    (
        "cpu-governor",
        &[("cpus", "0,1")],
        &[(
            "sys/devices/system/cpu/cpu2/cpufreq/scaling_governor",
            "powersave",
        )],
        Good,
        "performance",
        "",
    ),
    (
        "cpu-governor",
        &[("cpus", "3")],
        &[("sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "")],
        Unknown,
        "no cpufreq here",
        "",
    ),
    (
        "cpu-idle",
        &[],
        &[],
        Good,
        "intel_idle, deepest state \"C1\" takes 2 us",
        "",
    ),
    (
        "cpu-idle",
        &[],
        &[("sys/devices/system/cpu/cpu3/cpuidle/state2/disable", "0")],
        Advice,
        "intel_idle, deepest state \"C6\" takes 133 us",
        "disable",
    ),
    (
        "cpu-idle",
        &[],
        &[("sys/devices/system/cpu/cpuidle/current_driver", "none")],
        Unknown,
        "no cpuidle driver",
        "",
    ),
    ("clock-source", &[], &[], Good, "tsc", ""),
    (
        "clock-source",
        &[],
        &[(
            "sys/devices/system/clocksource/clocksource0/current_clocksource",
            "hpet",
        )],
        Advice,
        "hpet",
        "echo tsc >",
    ),
    (
        "clock-source",
        &[],
        &[
            (
                "sys/devices/system/clocksource/clocksource0/current_clocksource",
                "hpet",
            ),
            (
                "sys/devices/system/clocksource/clocksource0/available_clocksource",
                "hpet acpi_pm",
            ),
        ],
        Advice,
        "hpet; there are hpet acpi_pm",
        "dmesg",
    ),
    (
        "clock-source",
        &[],
        &[(
            "sys/devices/system/clocksource/clocksource0/current_clocksource",
            "",
        )],
        Unknown,
        "there is no",
        "",
    ),
    ("numa", &[], &[], Good, "one node", ""),
    (
        "numa",
        &[],
        &[
            ("sys/devices/system/node/online", "0-1"),
            ("sys/devices/system/node/node0/cpulist", "0-2"),
            ("sys/devices/system/node/node1/cpulist", "3"),
        ],
        Advice,
        "2 nodes; CPUs 0-2 on node 0, 3 on node 1",
        "--cpus 0-2",
    ),
    (
        "numa",
        &[("cpus", "0,1")],
        &[
            ("sys/devices/system/node/online", "0-1"),
            ("sys/devices/system/node/node1/cpulist", "4-7"),
            ("proc/sys/kernel/numa_balancing", "1"),
        ],
        Advice,
        "2 nodes; CPUs 0-1 on node 0; kernel.numa_balancing",
        "numa_balancing=0",
    ),
    (
        "numa",
        &[("cpus", "0,1")],
        &[
            ("sys/devices/system/node/online", "0-1"),
            ("sys/devices/system/node/node1/cpulist", "4-7"),
            ("proc/sys/kernel/numa_balancing", "0"),
        ],
        Good,
        "2 nodes; CPUs 0-1 on node 0",
        "",
    ),
    (
        "numa",
        &[],
        &[("sys/devices/system/node/online", "")],
        Unknown,
        "there is no",
        "",
    ),
];

const NETWORK: &[Case] = &[
    (
        "interrupts",
        &[],
        &[],
        Good,
        "eth0: CPU 0 25 %, CPU 1 25 %, CPU 2 25 %, CPU 3 25 % of 40",
        "",
    ),
    (
        "interrupts",
        &[],
        &[(
            "proc/interrupts",
            " CPU0 CPU1 CPU2 CPU3\n 40: 50 0 0 0\n 41: 50 0 0 0\n",
        )],
        Advice,
        "eth0: CPU 0 100 % of 100",
        "echo 1 > /proc/irq/41/smp_affinity_list",
    ),
    (
        "interrupts",
        &[("cpus", "0-2")],
        &[("proc/interrupts", " CPU0 CPU1 CPU2 CPU3\n 40: 90 0 0 0\n")],
        Advice,
        "eth0: CPU 0 100 % of 90",
        "echo 3 > /proc/irq/40/smp_affinity_list",
    ),
    (
        "interrupts",
        &[("cpus", "0-2")],
        &[("proc/interrupts", " CPU0 CPU1 CPU2 CPU3\n 40: 0 0 0 90\n")],
        Good,
        "eth0: CPU 3 100 % of 90",
        "",
    ),
    (
        "interrupts",
        &[],
        &[("proc/interrupts", " CPU0 CPU1 CPU2 CPU3\n 40: 90 0 0 0\n")],
        Good,
        "eth0: CPU 0 100 % of 90",
        "",
    ),
    (
        "interrupts",
        &[],
        &[("proc/interrupts", " CPU0 CPU1 CPU2 CPU3\n 40: 0 0 0 0\n")],
        Unknown,
        "eth0 has not interrupted",
        "",
    ),
    (
        "interrupts",
        &[],
        &[("sys/class/net/eth0", "")],
        Unknown,
        "no network device",
        "",
    ),
    (
        "packet-steering",
        &[],
        &[],
        Good,
        "eth0: receive queues 4, RPS off; 4 shards",
        "",
    ),
    (
        "packet-steering",
        &[],
        &[("sys/class/net/eth0/queues/rx-3", "")],
        Advice,
        "eth0: receive queues 3, RPS off; 4 shards",
        "echo f > /sys/class/net/eth0/queues/rx-0/rps_cpus",
    ),
    (
        "packet-steering",
        &[("cpus", "0,1")],
        &[("sys/class/net/eth0/queues/rx-3", "")],
        Good,
        "eth0: receive queues 3",
        "",
    ),
    (
        "packet-steering",
        &[],
        &[
            ("sys/class/net/eth0/queues/rx-1", ""),
            ("sys/class/net/eth0/queues/rx-2", ""),
            ("sys/class/net/eth0/queues/rx-3", ""),
            ("sys/class/net/eth0/queues/rx-0/rps_cpus", "f"),
        ],
        Good,
        "eth0: receive queues 1, RPS on",
        "",
    ),
    (
        "packet-steering",
        &[],
        &[("sys/class/net/eth0", "")],
        Unknown,
        "no network device",
        "",
    ),
    (
        "somaxconn",
        &[],
        &[],
        Good,
        "4096, tcp-backlog asks for 511",
        "",
    ),
    (
        "somaxconn",
        &[],
        &[("proc/sys/net/core/somaxconn", "128")],
        Advice,
        "128, tcp-backlog asks for 511",
        "somaxconn=511",
    ),
    (
        "somaxconn",
        &[],
        &[("proc/sys/net/core/somaxconn", "")],
        Unknown,
        "there is no",
        "",
    ),
];

const MEMORY: &[Case] = &[
    (
        "memory",
        &[],
        &[],
        Good,
        "maxmemory 12.80G of 16.00G (the host's memory), 15.00G available now",
        "",
    ),
    (
        "memory",
        &[],
        &[(
            "proc/meminfo",
            "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n",
        )],
        Advice,
        "maxmemory 12.80G",
        "maxmemory 6553mb",
    ),
    (
        "memory",
        &[],
        &[
            (
                "proc/meminfo",
                "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n",
            ),
            (
                "proc/self/status",
                "VmRSS: 6291456 kB\nCpus_allowed_list:\t0-3\n",
            ),
        ],
        Good,
        "maxmemory 12.80G",
        "",
    ),
    (
        "memory",
        &[("maxmemory", "2gb")],
        &[("sys/fs/cgroup/system.slice/memory.max", "1073741824")],
        Bad,
        "maxmemory 2.00G of 1.00G (the control group's memory)",
        "maxmemory 819mb",
    ),
    (
        "memory",
        &[],
        &[("proc/meminfo", "")],
        Unknown,
        "there is no /proc/meminfo",
        "",
    ),
    (
        "huge-pages",
        &[("huge-pages", "no")],
        &[(
            "sys/kernel/mm/transparent_hugepage/enabled",
            "always madvise [never]\n",
        )],
        Good,
        "never, and none are asked for",
        "",
    ),
    ("huge-pages", &[], &[], Good, "madvise", ""),
    (
        "huge-pages",
        &[],
        &[(
            "sys/kernel/mm/transparent_hugepage/enabled",
            "[always] madvise never",
        )],
        Good,
        "always",
        "",
    ),
    (
        "huge-pages",
        &[],
        &[(
            "sys/kernel/mm/transparent_hugepage/enabled",
            "always madvise [never]",
        )],
        Advice,
        "never",
        "echo madvise",
    ),
    (
        "huge-pages",
        &[],
        &[("sys/kernel/mm/transparent_hugepage/enabled", "")],
        Unknown,
        "there is no",
        "",
    ),
    ("overcommit", &[], &[], Good, "0", ""),
    (
        "overcommit",
        &[],
        &[("proc/sys/vm/overcommit_memory", "1")],
        Good,
        "1",
        "",
    ),
    (
        "overcommit",
        &[],
        &[("proc/sys/vm/overcommit_memory", "2")],
        Bad,
        "2, 7.00G may still be committed, 16.00G are reserved",
        "overcommit_memory=0",
    ),
    (
        "overcommit",
        &[],
        &[
            ("proc/sys/vm/overcommit_memory", "2"),
            (
                "proc/meminfo",
                "MemTotal: 1024 kB\nCommitLimit: 4096 kB\nCommitted_AS: 1024 kB\n",
            ),
        ],
        Good,
        "2, 3.00M",
        "",
    ),
    (
        "overcommit",
        &[],
        &[
            ("proc/sys/vm/overcommit_memory", "2"),
            ("proc/meminfo", "MemTotal: 1024 kB\n"),
        ],
        Unknown,
        "/proc/meminfo does not say",
        "",
    ),
    ("swap", &[], &[], Good, "none", ""),
    (
        "swap",
        &[],
        &[("proc/swaps", "Filename\n/dev/sda2 partition 1048576 0 -2\n")],
        Advice,
        "1.00G on /dev/sda2, swappiness 60",
        "swappiness=1",
    ),
    (
        "swap",
        &[],
        &[
            ("proc/swaps", "Filename\n/dev/sda2 partition 1048576 0 -2\n"),
            ("proc/sys/vm/swappiness", "1"),
        ],
        Good,
        "1.00G on /dev/sda2",
        "",
    ),
    (
        "swap",
        &[("lock-memory", "yes")],
        &[("proc/swaps", "Filename\n/dev/sda2 partition 1048576 0 -2\n")],
        Good,
        "lock-memory keeps",
        "",
    ),
    (
        "swap",
        &[],
        &[
            ("proc/swaps", "Filename\n/dev/sda2 partition 1048576 0 -2\n"),
            ("sys/fs/cgroup/system.slice/memory.swap.max", "0"),
        ],
        Good,
        "none for this control group",
        "",
    ),
    (
        "swap",
        &[],
        &[("proc/swaps", "")],
        Unknown,
        "there is no /proc/swaps",
        "",
    ),
];

const DISK: &[Case] = &[
    ("file-system", &[], &[], Good, "no --dir", ""),
    (
        "file-system",
        &[("dir", "/var/lib/coremap")],
        &[],
        Good,
        "ext4 at /",
        "",
    ),
    (
        "file-system",
        &[("dir", "/data/a")],
        &[],
        Good,
        "xfs at /data",
        "",
    ),
    (
        "file-system",
        &[("dir", "/data2")],
        &[],
        Good,
        "ext4 at /",
        "",
    ),
    (
        "file-system",
        &[("dir", "/")],
        &[("proc/self/mountinfo", "1 1 0:1 / / rw - tmpfs x rw\n")],
        Bad,
        "tmpfs at /: memory",
        "ext4",
    ),
    (
        "file-system",
        &[("dir", "/")],
        &[("proc/self/mountinfo", "1 1 0:1 / / rw - overlay x rw\n")],
        Advice,
        "overlay at /",
        "docker run -v",
    ),
    (
        "file-system",
        &[("dir", "/")],
        &[("proc/self/mountinfo", "1 1 0:1 / / rw - fuse.sshfs x rw\n")],
        Advice,
        "fuse.sshfs at /",
        "ext4",
    ),
    (
        "file-system",
        &[("dir", "/")],
        &[(
            "proc/self/mountinfo",
            "1 1 0:1 / / rw - ext4 /dev/sda rw,nobarrier\n",
        )],
        Bad,
        "ext4 at /, nobarrier",
        "barrier=1",
    ),
    (
        "file-system",
        &[("dir", "/")],
        &[("proc/self/mountinfo", "1 1 0:1 / / rw - zfs x rw\n")],
        Unknown,
        "zfs at /, on which",
        "",
    ),
    (
        "file-system",
        &[("dir", "/")],
        &[("proc/self/mountinfo", "nothing\n")],
        Unknown,
        "no mount holds /",
        "",
    ),
    ("sync", &[], &[], Good, "no --dir", ""),
    (
        "sync",
        &[("dir", "/data")],
        &[],
        Unknown,
        "only tried where",
        "",
    ),
];

#[track_caller]
fn expect(cases: &[Case]) {
    for (name, options, changes, verdict, value, fix) in cases {
        let found = Tree::new(changes).look(name, options);
        assert_eq!(
            found.verdict, *verdict,
            "{name} {options:?} {changes:?}: {found:?}"
        );
        assert!(
            found.value.starts_with(value),
            "{name} {options:?} {changes:?}: {found:?}"
        );
        assert!(
            found.fix.contains(fix),
            "{name} {options:?} {changes:?}: {found:?}"
        );
        let wants_fix = matches!(verdict, Advice | Bad);
        assert_eq!(!found.fix.is_empty(), wants_fix, "{name}: {found:?}");
    }
}

#[test]
fn what_keeps_a_server_from_starting_is_judged() {
    expect(PROCESS);
}

#[test]
fn cpus_are_judged() {
    expect(CPUS);
}

#[test]
fn the_network_is_judged() {
    expect(NETWORK);
}

#[test]
fn memory_is_judged() {
    expect(MEMORY);
}

#[test]
fn the_place_of_the_data_is_judged() {
    expect(DISK);
}

#[test]
fn every_check_has_a_case_that_is_good_and_one_that_is_not() {
    for check in CHECKS {
        let verdicts: Vec<Verdict> = [PROCESS, CPUS, NETWORK, MEMORY, DISK]
            .concat()
            .iter()
            .filter(|case| case.0 == check.name)
            .map(|case| case.3)
            .collect();
        // Only a process can try io_uring: tests/doctor.rs does.
        let is_shown = check.name == "io-uring" || verdicts.contains(&Good);
        assert!(
            is_shown && verdicts.iter().any(|verdict| *verdict != Good),
            "{}",
            check.name
        );
    }
}

#[test]
fn a_host_that_cannot_be_read_is_unknown_and_never_good() {
    let tree = Tree(std::env::temp_dir().join("coremap-host-of-nobody"));
    for check in CHECKS
        .iter()
        .filter(|check| !["file-system", "sync"].contains(&check.name))
    {
        let found = tree.look(check.name, &[]);
        assert_eq!(found.verdict, Unknown, "{}: {found:?}", check.name);
        assert!(!found.value.is_empty(), "{}", check.name);
    }
}

#[test]
fn names_are_used_once_and_reasons_are_sentences() {
    for (index, check) in CHECKS.iter().enumerate() {
        assert!(CHECKS[..index].iter().all(|other| other.name != check.name));
        assert!(
            check.why.ends_with('.') && !check.why.contains('\n'),
            "{}",
            check.why
        );
    }
}

#[test]
fn the_report_has_a_line_per_check_and_fixes_to_copy() {
    let tree = Tree::new(&[(&format!("{GROUP}/cpu.max"), "150000 100000")]);
    let host = Host::new(&tree.0, None, Config::default().settings);
    let findings: Vec<Finding> = CHECKS.iter().map(|check| check.run(&host)).collect();
    let text = report::text(&host, &findings, false);
    assert!(
        text.starts_with("coremap doctor: 2 shards on CPUs 0-1, data in memory\n"),
        "{text}"
    );
    assert!(
        text.contains("\nbad      cpu-quota        1.50 CPUs"),
        "{text}"
    );
    assert!(
        text.contains("\n             systemctl set-property"),
        "{text}"
    );
    assert!(
        text.ends_with("\n1 bad, 0 advice, 1 unknown, 17 good\n"),
        "{text}"
    );
    assert!(!text.contains('\x1b'), "{text}");
    assert!(report::text(&host, &findings, true).contains("\x1b[1;31mbad"));
    let json = report::json(&host, &findings);
    assert!(json.starts_with("{\"version\":\""), "{json}");
    assert!(
        json.contains(",\"cpus\":[0,1],\"bad\":1,\"advice\":0,"),
        "{json}"
    );
    assert!(
        json.contains("{\"name\":\"cpu-quota\",\"verdict\":\"bad\",\"value\":\"1.50 CPUs"),
        "{json}"
    );
}

//! The CPUs of the shards: how much of them there is, how fast they wake, and what time it is there.

use super::checks::{Finding, Unknown};
use super::host::{Host, cpus_text};
use crate::server::host::{cpu_quota, group_values};

/// Share of their time that shards' CPUs may lose to the hypervisor, in percent.
const STEAL_PERCENT_MAX: f64 = 1.0;
/// Longest exit from an idle state that is nothing beside a request: one request alone costs its core
/// about 8 us (README.md, "Numbers").
const IDLE_EXIT_US_MAX: u64 = 10;
/// Clock sources that a thread reads without a system call.
const QUICK_CLOCKS: &[&str] = &[
    "tsc",
    "kvm-clock",
    "hyperv_clocksource_tsc_page",
    "arch_sys_counter",
];

pub(super) fn quota(host: &Host) -> Result<Finding, Unknown> {
    // Without the list of groups nothing would limit, and nobody could know.
    host.read_process("cgroup")?;
    let Some(quota) = cpu_quota(&host.subject) else {
        return Ok(Finding::good("none"));
    };
    let shard_count = host.shard_count()?;
    let cpus = quota.quota_us as f64 / quota.period_us as f64;
    let mut value = format!(
        "{cpus:.2} CPUs ({} us in each {} us) for {}",
        quota.quota_us,
        quota.period_us,
        host.shards_text()
    );
    let throttled = group_values(&host.subject, "cpu.stat", "cpu", "cpu.stat");
    let throttled = throttled
        .iter()
        .map(|stat| number_after(stat, "nr_throttled"));
    let throttled_count = throttled.max().unwrap_or(0);
    if throttled_count > 0 {
        value += &format!(", ran out of it in {throttled_count} periods");
    }
    let fix = format!(
        "systemctl set-property coremap.service CPUQuota={0}%\n\
         docker update --cpus {shard_count} NAME   # Kubernetes: resources.limits.cpu: {shard_count}",
        100 * shard_count
    );
    Ok(if cpus < shard_count as f64 {
        Finding::bad(value, fix)
    } else if throttled_count > 0 {
        Finding::advice(value, fix)
    } else {
        Finding::good(value)
    })
}

/// The number behind a word of a file that has one of each a line.
fn number_after(text: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let number = lines.find(|(word, _)| *word == name);
    number
        .and_then(|(_, number)| number.trim().parse().ok())
        .unwrap_or(0)
}

pub(super) fn steal(host: &Host) -> Result<Finding, Unknown> {
    let stat = host.read("proc/stat")?;
    let (mut all, mut stolen) = (0_u64, 0_u64);
    for cpu in host.cpus()? {
        // user, nice, system, idle, iowait, irq, softirq, steal; guests' times are within user's.
        let line = super::host::field(&stat, &format!("cpu{cpu} "));
        let line = line.ok_or_else(|| Unknown(format!("/proc/stat has no CPU {cpu}")))?;
        let times: Vec<u64> = line
            .split_whitespace()
            .take(8)
            .map(|time| time.parse().unwrap_or(0))
            .collect();
        all += times.iter().sum::<u64>();
        stolen += times.get(7).unwrap_or(&0);
    }
    if all == 0 {
        return Err(Unknown("/proc/stat counts no time yet".to_owned()));
    }
    let percent = 100.0 * stolen as f64 / all as f64;
    let value = format!("{percent:.2} % of the time since the system started");
    Ok(if percent >= STEAL_PERCENT_MAX {
        Finding::advice(value, "# ask the provider for CPUs that are not shared")
    } else {
        Finding::good(value)
    })
}

pub(super) fn governor(host: &Host) -> Result<Finding, Unknown> {
    let cpus = host.cpus()?;
    let path = |cpu: &usize| format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
    if !cpus.iter().any(|cpu| host.read(&path(cpu)).is_ok()) {
        return Err(Unknown(
            "no cpufreq here: the frequency is the hypervisor's or the firmware's to choose"
                .to_owned(),
        ));
    }
    let mut governors = Vec::new();
    for cpu in cpus {
        let governor = host.read(&path(cpu))?;
        if !governors.contains(&governor) {
            governors.push(governor);
        }
    }
    let value = governors.join(", ");
    Ok(if value == "performance" {
        Finding::good(value)
    } else {
        Finding::advice(
            value,
            "for f in /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor; do echo performance > $f; done",
        )
    })
}

pub(super) fn idle(host: &Host) -> Result<Finding, Unknown> {
    const FOLDER: &str = "sys/devices/system/cpu";
    let driver = host.read(&format!("{FOLDER}/cpuidle/current_driver"));
    let driver = driver
        .ok()
        .filter(|driver| driver != "none")
        .ok_or_else(|| {
            Unknown(
                "no cpuidle driver: how deep a CPU sleeps is the hypervisor's to choose".to_owned(),
            )
        })?;
    let mut deepest: Option<(u64, String)> = None;
    for cpu in host.cpus()? {
        let states = format!("{FOLDER}/cpu{cpu}/cpuidle");
        for state in host.names(&states) {
            let folder = format!("{states}/{state}");
            if host.read_number(&format!("{folder}/disable"))? != 0 {
                continue;
            }
            let exit_us = host.read_number(&format!("{folder}/latency"))?;
            if deepest
                .as_ref()
                .is_none_or(|(deepest_us, _)| exit_us > *deepest_us)
            {
                deepest = Some((exit_us, host.read(&format!("{folder}/name"))?));
            }
        }
    }
    let Some((exit_us, name)) = deepest else {
        return Err(Unknown(format!("driver {driver} shows no states")));
    };
    let value = format!("{driver}, deepest state \"{name}\" takes {exit_us} us to leave");
    Ok(if exit_us > IDLE_EXIT_US_MAX {
        let fix = format!(
            "for s in /sys/devices/system/cpu/cpu*/cpuidle/state*; do \
             [ $(cat $s/latency) -le {IDLE_EXIT_US_MAX} ] || echo 1 > $s/disable; done"
        );
        Finding::advice(value, fix)
    } else {
        Finding::good(value)
    })
}

pub(super) fn clock_source(host: &Host) -> Result<Finding, Unknown> {
    const FOLDER: &str = "sys/devices/system/clocksource/clocksource0";
    let current = host.read(&format!("{FOLDER}/current_clocksource"))?;
    if QUICK_CLOCKS.contains(&current.as_str()) {
        return Ok(Finding::good(current));
    }
    let available = host.read(&format!("{FOLDER}/available_clocksource"))?;
    let better = available
        .split_whitespace()
        .find(|name| QUICK_CLOCKS.contains(name));
    Ok(match better {
        Some(name) => Finding::advice(
            current,
            format!("echo {name} > /{FOLDER}/current_clocksource"),
        ),
        None => Finding::advice(
            format!("{current}; there are {available}"),
            "dmesg | grep -i -e tsc -e clocksource   # why the kernel gave up a quicker one",
        ),
    })
}

pub(super) fn numa(host: &Host) -> Result<Finding, Unknown> {
    const FOLDER: &str = "sys/devices/system/node";
    let cpus = host.cpus()?;
    let nodes = host.read_cpus(&format!("{FOLDER}/online"))?;
    let mut used: Vec<(usize, Vec<usize>)> = Vec::new();
    for node in &nodes {
        let here = host.read_cpus(&format!("{FOLDER}/node{node}/cpulist"))?;
        let ours: Vec<usize> = here.into_iter().filter(|cpu| cpus.contains(cpu)).collect();
        if !ours.is_empty() {
            used.push((*node, ours));
        }
    }
    if nodes.len() == 1 {
        return Ok(Finding::good("one node"));
    }
    let places: Vec<String> = used
        .iter()
        .map(|(node, cpus)| format!("{} on node {node}", cpus_text(cpus)))
        .collect();
    let value = format!("{} nodes; CPUs {}", nodes.len(), places.join(", "));
    let most = used.iter().max_by_key(|(_, cpus)| cpus.len());
    Ok(match (most, used.len()) {
        (Some((_, cpus)), 2..) => {
            let list = cpus_text(cpus);
            Finding::advice(
                value,
                format!("coremap --cpus {list}   # one server a node"),
            )
        }
        _ if host
            .read("proc/sys/kernel/numa_balancing")
            .is_ok_and(|mode| mode != "0") =>
        {
            Finding::advice(
                format!("{value}; kernel.numa_balancing moves pages about"),
                "sysctl -w kernel.numa_balancing=0",
            )
        }
        _ => Finding::good(value),
    })
}

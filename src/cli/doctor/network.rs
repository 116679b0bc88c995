//! Where the network's work is done, and how many clients may wait to be let in.
//!
//! Only devices with hardware below them count (`/sys/class/net/*/device`): loopback and tunnels
//! interrupt nobody.

use std::collections::BTreeMap;

use super::checks::{Finding, Unknown};
use super::host::Host;

const DEVICES: &str = "sys/class/net";
/// A CPU of a shard may take this many times its even share of the interrupts.
const UNEVENNESS_MAX: f64 = 1.5;

pub(super) fn somaxconn(host: &Host) -> Result<Finding, Unknown> {
    let limit = host.read_number("proc/sys/net/core/somaxconn")?;
    let wanted = host.settings.tcp_backlog;
    let value = format!("{limit}, tcp-backlog asks for {wanted}");
    Ok(if limit < wanted {
        Finding::advice(value, format!("sysctl -w net.core.somaxconn={wanted}"))
    } else {
        Finding::good(value)
    })
}

/// The network devices with hardware below them.
fn devices(host: &Host) -> Result<Vec<String>, Unknown> {
    let mut names = host.names(DEVICES);
    names.retain(|name| {
        host.subject
            .path(format!("{DEVICES}/{name}/device"))
            .is_dir()
    });
    if names.is_empty() {
        return Err(Unknown(
            "no network device with hardware below it: in a container, look on the host".to_owned(),
        ));
    }
    Ok(names)
}

/// The interrupts of a device, those it shares its function of the bus with included.
fn irqs_of(host: &Host, device: &str) -> Vec<String> {
    let folders = ["device/msi_irqs", "device/../msi_irqs"];
    let irqs = folders.map(|folder| host.names(&format!("{DEVICES}/{device}/{folder}")));
    irqs.into_iter()
        .find(|irqs| !irqs.is_empty())
        .unwrap_or_default()
}

pub(super) fn interrupts(host: &Host) -> Result<Finding, Unknown> {
    let devices = devices(host)?;
    let irqs: Vec<String> = devices
        .iter()
        .flat_map(|device| irqs_of(host, device))
        .collect();
    let table = host.read("proc/interrupts")?;
    let (counts, active) = count(&table, &irqs);
    let all: u64 = counts.values().sum();
    if all == 0 {
        return Err(Unknown(format!(
            "{} has not interrupted anybody",
            devices.join(", ")
        )));
    }
    let shares: Vec<String> = counts
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(cpu, count)| format!("CPU {cpu} {:.0} %", percent(*count, all)))
        .collect();
    let value = format!(
        "{}: {} of {all} since the system started",
        devices.join(", "),
        shares.join(", ")
    );
    let shard_cpus = host.cpus()?;
    let online = host.read_cpus("sys/devices/system/cpu/online")?;
    let targets = targets(&online, shard_cpus);
    let of_shards = shard_cpus.iter().filter_map(|cpu| counts.get(cpu));
    let busiest = of_shards.max().copied().unwrap_or(0);
    let even = all as f64 / online.len() as f64;
    let largest = active.iter().map(|irq| irq.count).max().unwrap_or(0);
    // One interrupt alone cannot be spread; RPS is the means then.
    let is_best = targets == shard_cpus && busiest <= largest;
    Ok(if is_best || busiest as f64 <= UNEVENNESS_MAX * even {
        Finding::good(value)
    } else {
        Finding::advice(value, placement(active, &targets))
    })
}

/// An interrupt that came.
#[derive(Debug)]
struct Irq {
    number: String,
    /// Times, over all CPUs.
    count: u64,
}

/// What each CPU took of `irqs`, and those of them that came at all.
fn count(table: &str, irqs: &[String]) -> (BTreeMap<usize, u64>, Vec<Irq>) {
    let mut lines = table.lines();
    let heads = lines.next().unwrap_or_default().split_whitespace();
    let cpus: Vec<usize> = heads
        .filter_map(|head| head.strip_prefix("CPU")?.parse().ok())
        .collect();
    let mut counts = BTreeMap::new();
    let mut active = Vec::new();
    for line in lines {
        let Some((number, rest)) = line.split_once(':') else {
            continue;
        };
        let mut irq = Irq {
            number: number.trim().to_owned(),
            count: 0,
        };
        if !irqs.contains(&irq.number) {
            continue;
        }
        for (cpu, times) in cpus.iter().zip(rest.split_whitespace()) {
            let times: u64 = times.parse().unwrap_or(0);
            *counts.entry(*cpu).or_default() += times;
            irq.count += times;
        }
        if irq.count > 0 {
            active.push(irq);
        }
    }
    (counts, active)
}

/// Where interrupts should go: to CPUs without shards, or where there are none to all.
fn targets(online: &[usize], shard_cpus: &[usize]) -> Vec<usize> {
    let spare: Vec<usize> = online
        .iter()
        .copied()
        .filter(|cpu| !shard_cpus.contains(cpu))
        .collect();
    if spare.is_empty() {
        shard_cpus.to_vec()
    } else {
        spare
    }
}

/// Commands that put each interrupt, the most frequent first, on the CPU that has the least so far.
fn placement(mut irqs: Vec<Irq>, targets: &[usize]) -> String {
    irqs.sort_by_key(|irq| std::cmp::Reverse(irq.count));
    let mut loads: Vec<(u64, usize)> = targets.iter().map(|cpu| (0, *cpu)).collect();
    let mut lines = Vec::new();
    for irq in irqs {
        let Some((load, cpu)) = loads.iter_mut().min() else {
            break;
        };
        *load += irq.count;
        lines.push(format!(
            "echo {cpu} > /proc/irq/{}/smp_affinity_list",
            irq.number
        ));
    }
    lines.join("\n")
}

pub(super) fn packet_steering(host: &Host) -> Result<Finding, Unknown> {
    let shard_count = host.shard_count()?;
    let mut values = Vec::new();
    let mut fixes = Vec::new();
    for device in devices(host)? {
        let folder = format!("{DEVICES}/{device}/queues");
        let mut queues = host.names(&folder);
        queues.retain(|queue| queue.starts_with("rx-"));
        let mut unsteered = Vec::new();
        for queue in &queues {
            let path = format!("{folder}/{queue}/rps_cpus");
            // A mask in hexadecimal, in groups with commas between.
            if host
                .read(&path)?
                .chars()
                .all(|digit| matches!(digit, '0' | ','))
            {
                unsteered.push(path);
            }
        }
        let rps = if unsteered.is_empty() { "on" } else { "off" };
        values.push(format!(
            "{device}: receive queues {}, RPS {rps}",
            queues.len()
        ));
        if queues.len() < shard_count && !unsteered.is_empty() {
            let mask = cpu_mask(host.cpus()?);
            fixes.extend(
                unsteered
                    .iter()
                    .map(|path| format!("echo {mask} > /{path}")),
            );
        }
    }
    let value = format!("{}; {}", values.join("; "), host.shards_text());
    Ok(if fixes.is_empty() {
        Finding::good(value)
    } else {
        Finding::advice(value, fixes.join("\n"))
    })
}

/// CPUs as the kernel reads masks: hexadecimal, in groups of 32 bits, the highest first.
fn cpu_mask(cpus: &[usize]) -> String {
    const GROUP_BIT_COUNT: usize = 32;
    let highest = cpus.iter().max().copied().unwrap_or(0);
    let mut groups = vec![0_u32; highest / GROUP_BIT_COUNT + 1];
    for cpu in cpus {
        groups[cpu / GROUP_BIT_COUNT] |= 1 << (cpu % GROUP_BIT_COUNT);
    }
    let texts = groups.iter().rev().enumerate().map(|(at, bits)| match at {
        0 => format!("{bits:x}"),
        _ => format!("{bits:08x}"),
    });
    texts.collect::<Vec<_>>().join(",")
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::host::cpus_text;

    #[test]
    fn masks_are_written_as_the_kernel_reads_them() {
        assert_eq!(cpu_mask(&[0, 1]), "3");
        assert_eq!(cpu_mask(&[2, 33]), "2,00000004");
        assert_eq!(cpus_text(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
    }

    #[test]
    fn interrupts_go_to_cpus_without_shards_or_are_spread_evenly() {
        let commands = |shard_cpus: &[usize]| {
            let irqs = [("38", 5), ("39", 9), ("40", 6)];
            let irqs = irqs.map(|(number, count)| Irq {
                number: number.to_owned(),
                count,
            });
            placement(irqs.into(), &targets(&[0, 1, 2], shard_cpus))
        };
        assert_eq!(
            commands(&[0, 1]).lines().last(),
            Some("echo 2 > /proc/irq/38/smp_affinity_list")
        );
        let spread: Vec<String> = commands(&[0, 1, 2])
            .lines()
            .map(|line| line.replace("/smp_affinity_list", ""))
            .collect();
        assert_eq!(
            spread,
            [
                "echo 0 > /proc/irq/39",
                "echo 1 > /proc/irq/40",
                "echo 2 > /proc/irq/38"
            ]
        );
    }
}

//! What the operating system says of this process, under the names that every Prometheus client uses.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

/// Reads `/proc/self` at each scrape. Nothing is said where that cannot be read.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(usage) = std::fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(usage) else {
            return Ok(());
        };
        let cpu = ConstCounter::new(usage.cpu_seconds);
        let descriptor = encoder.encode_descriptor(
            "process_cpu",
            "Processor time used",
            Some(&Unit::Seconds),
            MetricType::Counter,
        )?;
        cpu.encode(descriptor)?;
        let memory = ConstGauge::new(usage.resident_bytes);
        let descriptor = encoder.encode_descriptor(
            "process_resident_memory",
            "Resident memory",
            Some(&Unit::Bytes),
            MetricType::Gauge,
        )?;
        memory.encode(descriptor)
    }
}

#[derive(Debug, PartialEq)]
struct Usage {
    cpu_seconds: f64,
    resident_bytes: i64,
}

/// From `/proc/PID/stat` (`proc(5)`): times in clock ticks, of which there are 100 in a second on every Linux that Rust runs
/// on, and pages.
fn usage(stat: &str) -> Option<Usage> {
    // The name, in parentheses, may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u32>().ok();
    let ticks = f64::from(number(11)?) + f64::from(number(12)?);
    let page = i64::try_from(rustix::param::page_size()).ok()?;
    Some(Usage { cpu_seconds: ticks / 100.0, resident_bytes: i64::from(number(21)?).saturating_mul(page) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_own_usage() {
        let usage = usage(&std::fs::read_to_string("/proc/self/stat").unwrap()).unwrap();
        assert!(usage.resident_bytes > 1 << 20 && usage.cpu_seconds < 3600.0, "{usage:?}");
        assert_eq!(super::usage("1 (a) b) S"), None);
    }
}

//! What the machine can do and what the process takes: read bandwidth, memory, the processor's name.

use crate::kernel::Compute;
use std::time::{Duration, Instant};

/// Bytes per second that `compute`'s threads read from memory together, the best of `time`'s passes over a buffer that no cache
/// holds.
pub fn read_bandwidth(compute: &Compute, time: Duration) -> f64 {
    /// Larger than the caches of a desktop processor.
    const BUFFER: usize = 256 << 20;
    const PIECE: usize = 1 << 18;
    // Written to, so that each page is memory of its own.
    let buffer = vec![1.0f32; BUFFER / 4];
    let (mut best, start) = (f64::INFINITY, Instant::now());
    while best.is_infinite() || start.elapsed() < time {
        let pass = Instant::now();
        let pieces: Vec<&[f32]> = buffer.chunks(PIECE / 4).collect();
        compute.for_each(pieces.len(), &|i| {
            std::hint::black_box(compute.sum(pieces[i]));
        });
        best = best.min(pass.elapsed().as_secs_f64());
    }
    BUFFER as f64 / best
}

/// Memory of this process in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Memory {
    /// Resident now (`VmRSS`): own memory and mapped pages that were touched.
    pub resident: u64,
    /// The most it ever was (`VmHWM`).
    pub peak: u64,
}

/// Reads `/proc/self/status`; `None` where there is none.
pub fn memory() -> Option<Memory> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
    };
    Some(Memory { resident: field("VmRSS:")?, peak: field("VmHWM:")? })
}

/// Lets [`Memory::peak`] begin anew, where the system allows it.
pub fn forget_peak() {
    // Only the figure is at stake, and it is then too large.
    _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The processor, as the system calls it.
pub fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| info.lines().find(|l| l.starts_with(name)).and_then(|l| Some(l.split_once(':')?.1.trim()));
    // On ARM the board's name says more than the core's number.
    let board = std::fs::read_to_string("/proc/device-tree/model").ok();
    let board = board.map(|name| name.trim_end_matches('\0').to_string());
    board.or_else(|| field("model name").map(str::to_string)).unwrap_or_else(|| std::env::consts::ARCH.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_reads_every_number() {
        let compute = Compute::new(None, Some(1)).unwrap();
        for n in [0, 1, 127, 128, 300, 4096] {
            assert_eq!(compute.sum(&vec![1.0; n]), n as f32);
        }
    }

    #[test]
    fn this_process_takes_memory_and_never_more_than_its_peak() {
        let memory = memory().unwrap();
        assert!(memory.resident > 0 && memory.resident <= memory.peak);
    }
}

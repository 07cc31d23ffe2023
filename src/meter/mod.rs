//! Energy that the machine itself counts.
//!
//! One source so far: the running energy counters that Linux shows under `/sys/class/powercap` (Intel and AMD processors). They
//! count the package, without memory modules, drives and power supply. Where there is none, there is no number: nothing is estimated.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// An amount of energy.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, serde::Serialize)]
#[serde(transparent)]
pub struct Joules(pub f64);

/// Energy counters of all processor packages.
#[derive(Debug)]
pub struct Meter {
    counters: Vec<Counter>,
}

#[derive(Debug)]
struct Counter {
    energy: PathBuf,
    /// Microjoules at which it starts again from 0.
    range: u64,
    last: u64,
    total: u64,
}

impl Meter {
    /// What this method of measuring is called.
    pub const METHOD: &'static str = "powercap: processor package, measured";

    /// The counters of this machine; `None` if there are none that may be read (they often need root).
    pub fn detect() -> Option<Meter> {
        Self::in_folder(Path::new("/sys/class/powercap"))
    }

    fn in_folder(folder: &Path) -> Option<Meter> {
        let zones = std::fs::read_dir(folder).ok()?;
        let mut paths: Vec<PathBuf> = zones.filter_map(|zone| Some(zone.ok()?.path())).collect();
        paths.sort();
        // Parts of a package (`intel-rapl:0:1`) are counted in it, and some machines show a package twice (`intel-rapl-mmio:0`).
        let mut names = HashSet::new();
        let counters: Vec<Counter> = (paths.iter().rev())
            .filter_map(|zone| {
                let name = std::fs::read_to_string(zone.join("name")).ok()?;
                (name.starts_with("package") && names.insert(name)).then(|| Counter::open(zone)).flatten()
            })
            .collect();
        (!counters.is_empty()).then_some(Meter { counters })
    }

    /// Energy since the meter was made. To be asked at least once a minute: counters wrap around. `None` if a counter
    /// cannot be read any more.
    pub fn total(&mut self) -> Option<Joules> {
        let mut microjoules = 0;
        for counter in &mut self.counters {
            microjoules += counter.total()?;
        }
        Some(Joules(microjoules as f64 * 1e-6))
    }
}

impl Counter {
    fn open(zone: &Path) -> Option<Counter> {
        let energy = zone.join("energy_uj");
        let range = number(&zone.join("max_energy_range_uj"))?;
        let last = number(&energy)?;
        Some(Counter { energy, range, last, total: 0 })
    }

    fn total(&mut self) -> Option<u64> {
        let now = number(&self.energy)?;
        self.total += if now >= self.last { now - self.last } else { self.range - self.last + now };
        self.last = now;
        Some(self.total)
    }
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(folder: &Path, zone: &str, name: &str, energy: u64) {
        let zone = folder.join(zone);
        std::fs::create_dir_all(&zone).unwrap();
        for (file, text) in [("name", name), ("energy_uj", &energy.to_string()), ("max_energy_range_uj", "1000000")] {
            std::fs::write(zone.join(file), format!("{text}\n")).unwrap();
        }
    }

    #[test]
    fn packages_are_added_up_once_and_their_parts_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let all = |energy: u64| {
            zone(folder.path(), "intel-rapl:0", "package-0", energy);
            zone(folder.path(), "intel-rapl:0:0", "core", 7 * energy);
            zone(folder.path(), "intel-rapl:1", "package-1", 2 * energy);
            zone(folder.path(), "intel-rapl-mmio:0", "package-0", 5 * energy);
        };
        all(100_000);
        let mut meter = Meter::in_folder(folder.path()).unwrap();
        assert_eq!(meter.total(), Some(Joules(0.0)));
        all(300_000);
        assert_eq!(meter.total(), Some(Joules(0.6)));
    }

    #[test]
    fn a_counter_that_starts_again_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        zone(folder.path(), "intel-rapl:0", "package-0", 900_000);
        let mut meter = Meter::in_folder(folder.path()).unwrap();
        zone(folder.path(), "intel-rapl:0", "package-0", 150_000);
        assert_eq!(meter.total(), Some(Joules(0.25)));
    }

    #[test]
    fn a_machine_without_counters_has_no_meter() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Meter::in_folder(folder.path()).is_none());
        assert!(Meter::in_folder(&folder.path().join("missing")).is_none());
    }
}

//! What was measured, and how the allocators compare.

use serde::Serialize;

use lfalloc_bench::measured::{Latency, Measured};
use lfalloc_bench::statistics::Samples;

use super::machine::Machine;

/// All of a comparison.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    /// The command line.
    pub(crate) command: String,
    pub(crate) rounds: usize,
    pub(crate) milliseconds: u64,
    pub(crate) contenders: Vec<Contender>,
    pub(crate) rows: Vec<Row>,
    /// What did not work, a line each.
    pub(crate) failures: Vec<String>,
}

/// One of the columns.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) is_peer: bool,
}

/// One workload.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) workload: String,
    /// For each contender the measurements of its rounds; fewer, or none, if it failed.
    pub(crate) cells: Vec<Vec<Measured>>,
}

/// How a contender did in a row, compared with the best peer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Standing {
    /// The peer with the least median: its column.
    pub(crate) best_peer: usize,
    /// The contender's time in parts of that peer's: the median of the rounds' ratios.
    pub(crate) ratio: f64,
}

#[derive(Serialize)]
struct Json<'r> {
    #[serde(flatten)]
    results: &'r Results,
    summary: Vec<Summary<'r>>,
}

#[derive(Serialize)]
struct Summary<'r> {
    workload: &'r str,
    best_peer: Option<&'r str>,
    /// For each contender.
    median_ns: Vec<Option<f64>>,
    ratio: Vec<Option<f64>>,
}

impl Results {
    /// Nothing yet.
    pub(crate) fn new(
        machine: Machine,
        contenders: Vec<Contender>,
        rounds: usize,
        milliseconds: u64,
    ) -> Self {
        Self {
            machine,
            command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
            rounds,
            milliseconds,
            contenders,
            rows: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// How a contender compares in a row; none if it or all peers failed.
    pub(crate) fn standing(&self, row: &Row, contender: usize) -> Option<Standing> {
        let peers = (0..self.contenders.len())
            .filter(|&peer| self.contenders[peer].is_peer && !row.cells[peer].is_empty());
        let best_peer = peers.min_by(|&a, &b| row.ns(a).median().total_cmp(&row.ns(b).median()))?;
        let ratio = row.ns(contender).paired_ratio(&row.ns(best_peer));
        ratio.is_finite().then_some(Standing { best_peer, ratio })
    }

    /// The geometric mean of a contender's ratios to the best peer of each row.
    pub(crate) fn mean_ratio(&self, contender: usize) -> f64 {
        let standings = self.rows.iter().filter_map(|row| self.standing(row, contender));
        standings.map(|standing| standing.ratio).collect::<Samples>().geometric_mean()
    }

    /// All of it, with medians and ratios.
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        let summary = |row| {
            let columns = 0..self.contenders.len();
            let standings: Vec<_> =
                columns.clone().map(|column| self.standing(row, column)).collect();
            let best = standings.iter().flatten().next();
            Summary {
                workload: &row.workload,
                best_peer: best.map(|best| self.contenders[best.best_peer].name.as_str()),
                median_ns: columns.map(|column| finite(row.ns(column).median())).collect(),
                ratio: standings.iter().map(|standing| Some((*standing)?.ratio)).collect(),
            }
        };
        let summary = self.rows.iter().map(summary).collect();
        serde_json::to_string_pretty(&Json { results: self, summary }).map(|text| text + "\n")
    }
}

fn finite(number: f64) -> Option<f64> {
    number.is_finite().then_some(number)
}

impl Row {
    /// Nanoseconds per operation of a contender's rounds.
    pub(crate) fn ns(&self, contender: usize) -> Samples {
        self.cells[contender].iter().map(|measured| measured.ns).collect()
    }

    /// The median of some figure of a contender's rounds; none if there is no round, or no such figure.
    pub(crate) fn median(
        &self,
        contender: usize,
        figure: impl Fn(&Measured) -> Option<u64>,
    ) -> Option<f64> {
        let figures = self.cells[contender].iter().filter_map(figure);
        finite(figures.map(|figure| figure as f64).collect::<Samples>().median())
    }

    /// The median quantiles of a contender's rounds, and the longest time of all of them.
    pub(crate) fn latency(&self, contender: usize) -> Option<Latency> {
        let latencies: Vec<_> =
            self.cells[contender].iter().filter_map(|measured| measured.latency_ns).collect();
        let median = |quantile: fn(&Latency) -> u64| {
            let mut sorted: Vec<_> = latencies.iter().map(quantile).collect();
            sorted.sort_unstable();
            sorted.get(sorted.len() / 2).copied()
        };
        Some(Latency {
            p50: median(|latency| latency.p50)?,
            p99: median(|latency| latency.p99)?,
            p999: median(|latency| latency.p999)?,
            max: latencies.iter().map(|latency| latency.max).max()?,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use lfalloc_bench::measured::Memory;

    fn measured(ns: f64, memory_mib: u64, latency_ns: Option<Latency>) -> Measured {
        let mib = memory_mib << 20;
        Measured {
            ns,
            least_ns: ns * 0.9,
            rounds: 15,
            operations: 1_000_000,
            memory: Memory {
                start: 3 << 20,
                peak: mib,
                held: mib - (1 << 20),
                live: (4 << 20) * u64::from(latency_ns.is_some()),
                freed: mib / 2,
                purged: (memory_mib == 10).then_some(3 << 20),
            },
            latency_ns,
        }
    }

    /// Made-up measurements: three contenders, one of which failed in the second of three rows.
    pub(crate) fn made_up() -> Results {
        let contender = |name: &str, version: &str| Contender {
            name: name.to_owned(),
            version: version.to_owned(),
            is_peer: name != "lfalloc",
        };
        let row = |workload: &str, cells: [(&[f64], u64); 3], latency: Option<Latency>| Row {
            workload: workload.to_owned(),
            cells: cells
                .iter()
                .map(|(ns, mib)| ns.iter().map(|ns| measured(*ns, *mib, latency)).collect())
                .collect(),
        };
        let latency = Latency { p50: 60, p99: 900, p999: 12_000, max: 4_000_000 };
        Results {
            machine: Machine {
                processor: "Processor".to_owned(),
                cores: 2,
                kernel: "6.1".to_owned(),
                rustc: "rustc 1.88.0".to_owned(),
                cc: "c++ 12".to_owned(),
                load: 0.25,
            },
            command: "compare --rounds 3".to_owned(),
            rounds: 3,
            milliseconds: 300,
            contenders: vec![
                contender("lfalloc", "lfalloc 0.1.0"),
                contender("glibc", "glibc 2.36"),
                contender("mimalloc", "mimalloc 0.1.52"),
            ],
            rows: vec![
                row(
                    "pair 64 B",
                    [(&[4., 5., 6.], 10), (&[9., 10., 11.], 8), (&[5., 5., 5.], 12)],
                    None,
                ),
                row("thread churn", [(&[20_000.; 3], 10), (&[10_000.; 3], 8), (&[], 12)], None),
                row(
                    "oversubscribed 16",
                    [(&[30.; 3], 10), (&[60.; 3], 8), (&[120.; 3], 12)],
                    Some(latency),
                ),
            ],
            failures: vec!["mimalloc, thread churn: killed by a signal".to_owned()],
        }
    }

    /// Aim: the best peer is that of the row, and means are those of ratios. Method: made-up measurements, by hand.
    #[test]
    fn ratios_are_to_the_best_peer() {
        let results = made_up();
        let standing = |row: usize, contender| results.standing(&results.rows[row], contender);
        assert_eq!(standing(0, 0), Some(Standing { best_peer: 2, ratio: 1.0 }));
        assert_eq!(standing(0, 1), Some(Standing { best_peer: 2, ratio: 2.0 }));
        assert_eq!(standing(1, 0), Some(Standing { best_peer: 1, ratio: 2.0 }));
        assert_eq!(standing(1, 2), None);
        assert_eq!(standing(2, 0), Some(Standing { best_peer: 1, ratio: 0.5 }));
        assert!((results.mean_ratio(0) - 1.0).abs() < 1e-12);
        assert!((results.mean_ratio(2) - 2.0_f64.sqrt()).abs() < 1e-12);
    }

    /// Aim: the JSON has everything that was measured and what follows from it. Method: a snapshot of the short parts, and
    /// the long ones by hand.
    #[test]
    fn json_is_complete() {
        let text = made_up().to_json().unwrap();
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let cell = &json["rows"][0]["cells"][0][1];
        assert_eq!(
            (cell["ns"].as_f64(), cell["memory"]["purged"].as_u64()),
            (Some(5.0), Some(3 << 20))
        );
        json["rows"] = "left out".into();
        insta::assert_snapshot!(serde_json::to_string_pretty(&json).unwrap());
    }
}

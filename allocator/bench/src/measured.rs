//! What one process of a contender has measured: one line of JSON, from it to the harness.

use serde::{Deserialize, Serialize};

/// The result of one workload in one process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Nanoseconds per operation: the median of the rounds.
    pub ns: f64,
    /// Nanoseconds per operation of the round that was disturbed least.
    pub least_ns: f64,
    /// Rounds measured.
    pub rounds: usize,
    /// Operations measured, in all rounds.
    pub operations: u64,
    /// Resident bytes.
    pub memory: Memory,
    /// How long single operations took, where the workload times them.
    pub latency_ns: Option<Latency>,
}

/// Resident bytes of the process, its program and stacks included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Before the workload began.
    pub start: u64,
    /// The most there ever was.
    pub peak: u64,
    /// After the last round, with what the workload holds between rounds.
    pub held: u64,
    /// Of these, the bytes that the workload has asked for; 0 if it does not know.
    pub live: u64,
    /// After everything was freed.
    pub freed: u64,
    /// After the allocator was then told to give back what it can, if it can be told.
    pub purged: Option<u64>,
}

/// Quantiles of the time of one operation, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of the operations took no longer.
    pub p50: u64,
    /// 99 of 100 took no longer.
    pub p99: u64,
    /// 999 of 1,000 took no longer.
    pub p999: u64,
    /// None took longer.
    pub max: u64,
}

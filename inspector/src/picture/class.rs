//! The figures of one class.

use lfalloc_protocol::message::{ClassInfo, ClassRecord};

use super::fraction;

/// One class: what it is and what was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassFigures {
    /// Sizes of the class.
    pub info: ClassInfo,
    /// Its counters, zero where the last state did not name the class.
    pub record: ClassRecord,
}

impl ClassFigures {
    /// Superblocks that are ACTIVE, FULL or PARTIAL.
    #[must_use]
    pub fn superblocks(&self) -> u64 {
        u64::from(self.record.active) + u64::from(self.record.full) + u64::from(self.record.partial)
    }

    /// Bytes of superblocks that are not EMPTY.
    #[must_use]
    pub fn bytes(&self) -> i64 {
        let bytes = self.superblocks().saturating_mul(u64::from(self.info.superblock_bytes));
        i64::try_from(bytes).unwrap_or(i64::MAX)
    }

    /// Bytes of EMPTY superblocks that are kept and were last used by this class.
    #[must_use]
    pub fn empty_bytes(&self) -> i64 {
        i64::from(self.record.empty).saturating_mul(i64::from(self.info.superblock_bytes))
    }

    /// Bytes of blocks that the program holds.
    #[must_use]
    pub fn live_bytes(&self) -> i64 {
        self.bytes_of(self.record.live_blocks)
    }

    /// Bytes of `blocks` blocks of this class.
    #[must_use]
    pub fn bytes_of(&self, blocks: i64) -> i64 {
        blocks.saturating_mul(i64::from(self.info.block_bytes))
    }

    /// Bytes of all superblocks, EMPTY ones included, less the live bytes.
    #[must_use]
    pub fn waste_bytes(&self) -> i64 {
        self.bytes().saturating_add(self.empty_bytes()).saturating_sub(self.live_bytes())
    }

    /// Live blocks as a share of the blocks in superblocks that are not EMPTY.
    #[must_use]
    pub fn utilisation(&self) -> Option<f64> {
        let blocks = self.superblocks().saturating_mul(u64::from(self.info.blocks_per_superblock));
        fraction(self.record.live_blocks, i64::try_from(blocks).unwrap_or(i64::MAX))
    }

    /// EXT%, as a fraction: (free + credits) / bytes of superblocks that are not EMPTY.
    #[must_use]
    pub fn external_fraction(&self) -> Option<f64> {
        let blocks = self.record.free_blocks.saturating_add(self.record.credit_blocks);
        fraction(self.bytes_of(blocks), self.bytes())
    }
}

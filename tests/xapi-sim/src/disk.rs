//! The data of virtual disks: only blocks that were written are kept, and clones share them.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The granularity of storage and of changed-block tracking.
pub(crate) const BLOCK_LEN: usize = 65_536;
/// The same for offsets.
pub(crate) const BLOCK: u64 = BLOCK_LEN as u64;

/// A disk's written blocks by number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    blocks: BTreeMap<u64, Arc<Vec<u8>>>,
}

impl Disk {
    /// Writes at an offset; blocks of zeros take no room.
    pub(crate) fn write(&mut self, mut offset: u64, mut data: &[u8]) {
        while !data.is_empty() {
            let number = offset / BLOCK;
            let start = usize::try_from(offset % BLOCK).unwrap_or(0);
            let len = data.len().min(BLOCK_LEN - start);
            let (part, rest) = data.split_at(len);
            if self.blocks.contains_key(&number) || part.iter().any(|b| *b != 0) {
                let block = self.blocks.entry(number).or_insert_with(|| Arc::new(vec![0; BLOCK_LEN]));
                Arc::make_mut(block)[start..start + len].copy_from_slice(part);
            }
            data = rest;
            offset += len as u64;
        }
    }

    /// The block with this number, `None` when it was never written.
    pub(crate) fn block(&self, number: u64) -> Option<&Arc<Vec<u8>>> {
        self.blocks.get(&number)
    }

    /// Bytes that the disk takes.
    pub(crate) fn used(&self) -> i64 {
        i64::try_from(self.blocks.len() as u64 * BLOCK).unwrap_or(i64::MAX)
    }

    /// The numbers of the blocks that differ.
    pub(crate) fn changed_since(&self, older: &Self) -> Vec<u64> {
        let numbers = self.blocks.keys().chain(older.blocks.keys());
        let mut changed: Vec<u64> = numbers.copied().filter(|n| self.blocks.get(n) != older.blocks.get(n)).collect();
        changed.sort_unstable();
        changed.dedup();
        changed
    }
}

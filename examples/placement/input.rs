//! Reading of files, and numbers that look random and are the same every time.

use std::{collections::HashMap, process::Command};

use crate::Failure;

/// The text of a file; a compressed one is unpacked.
pub(crate) fn read(path: &str) -> Result<String, Failure> {
    let program = match path.rsplit('.').next() {
        Some("xz") => "xz",
        Some("gz") => "gzip",
        _ => return std::fs::read_to_string(path).map_err(|e| format!("cannot read {path}: {e}").into()),
    };
    let output = Command::new(program).args(["-dc", path]).output()?;
    if !output.status.success() {
        return Err(format!("{program} cannot read {path}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The rows of a table with a header, without quoting, by column.
pub(crate) struct Table<'a> {
    columns: HashMap<&'a str, usize>,
    pub(crate) rows: Vec<Vec<&'a str>>,
}

impl<'a> Table<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let mut lines = text.lines().filter(|line| !line.trim().is_empty()).map(|line| line.trim_end().split(','));
        let columns = lines.next().into_iter().flatten().enumerate().map(|(at, name)| (name.trim(), at)).collect();
        Self { columns, rows: lines.map(Iterator::collect).collect() }
    }

    pub(crate) fn cell(&self, row: &[&'a str], column: &str) -> Result<&'a str, Failure> {
        let at = self.columns.get(column).ok_or_else(|| format!("there is no column {column}"))?;
        Ok(row.get(*at).copied().unwrap_or(""))
    }

    pub(crate) fn number(&self, row: &[&'a str], column: &str) -> Result<f64, Failure> {
        let cell = self.cell(row, column)?;
        cell.parse().map_err(|_| format!("{column}: {cell:?} is not a number").into())
    }
}

/// Numbers that look random, the same for the same seed (splitmix64).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % n as u64).unwrap_or(0)
    }

    pub(crate) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

//! Reading of files, and numbers that look random and are the same every time.

use std::{collections::HashMap, process::Command};

use crate::Failure;

/// The text of a file; one that is compressed, whatever its name, is unpacked.
pub(crate) fn read(path: &str) -> Result<String, Failure> {
    let bytes = std::fs::read(path).map_err(|e| format!("cannot read {path}: {e}"))?;
    let program = match bytes[..] {
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "xz",
        [0x1f, 0x8b, ..] => "gzip",
        _ => return text(path, bytes),
    };
    let output = Command::new(program)
        .args(["-dc", "--"])
        .arg(path)
        .output()
        .map_err(|e| format!("cannot start {program} to unpack {path}: {e}"))?;
    if !output.status.success() {
        return Err(format!("{program} cannot unpack {path}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    text(path, output.stdout)
}

fn text(path: &str, bytes: Vec<u8>) -> Result<String, Failure> {
    let text = String::from_utf8(bytes).map_err(|e| format!("{path} is not text in UTF-8: {e}"))?;
    if text.trim().is_empty() {
        return Err(format!("{path} is empty").into());
    }
    Ok(text.strip_prefix('\u{feff}').map(ToOwned::to_owned).unwrap_or(text))
}

/// The rows of a table with a header, without quoting, by column.
pub(crate) struct Table<'a> {
    columns: HashMap<&'a str, usize>,
    pub(crate) rows: Vec<Vec<&'a str>>,
}

impl<'a> Table<'a> {
    pub(crate) fn new(text: &'a str) -> Result<Self, Failure> {
        let mut lines = text.lines().filter(|line| !line.trim().is_empty()).map(|line| line.trim_end().split(','));
        let columns = lines.next().into_iter().flatten().enumerate().map(|(at, name)| (name.trim(), at)).collect();
        let rows: Vec<Vec<&str>> = lines.map(Iterator::collect).collect();
        if rows.is_empty() {
            return Err("a table has no rows below its header".into());
        }
        Ok(Self { columns, rows })
    }

    pub(crate) fn cell(&self, row: &[&'a str], column: &str) -> Result<&'a str, Failure> {
        self.find(row, column).ok_or_else(|| {
            let mut names: Vec<&str> = self.columns.keys().copied().collect();
            names.sort_unstable();
            format!("there is no column {column}, only {}", names.join(", ")).into()
        })
    }

    /// The cell of a column that may be missing.
    pub(crate) fn find(&self, row: &[&'a str], column: &str) -> Option<&'a str> {
        self.columns.get(column).map(|at| row.get(*at).copied().unwrap_or("").trim())
    }

    pub(crate) fn number(&self, row: &[&'a str], column: &str) -> Result<f64, Failure> {
        let cell = self.cell(row, column)?;
        let number = cell.parse().ok().filter(|n: &f64| n.is_finite());
        number.ok_or_else(|| format!("column {column}: {cell:?} is not a number, in the row {}", row.join(",")).into())
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

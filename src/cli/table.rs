//! Tables for people: columns as wide as their widest cell, the last one as it comes.

/// Lines of a table.
#[must_use]
pub fn render<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect::<Vec<_>>();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_stand_below_each_other() {
        let rows = [["A", "B", "C"], ["long", "é", "last"]].map(|row| row.map(str::to_owned));
        assert_eq!(super::render(&rows), "A     B  C\nlong  é  last\n");
    }
}

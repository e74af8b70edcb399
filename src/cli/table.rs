//! Tables for people: columns as wide as their widest cell, the last one as it comes.

/// Lines of a table.
#[must_use]
pub fn render<R: AsRef<[String]>>(rows: &[R]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.as_ref().iter().map(|cell| plain(cell)).collect()).collect();
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect::<Vec<_>>();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// Names come from pools and clusters: what would move the cursor or colour the terminal is shown as a question mark.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_stand_below_each_other() {
        let rows = [["A", "B", "C"], ["long", "é", "last"]].map(|row| row.map(str::to_owned));
        assert_eq!(super::render(&rows), "A     B  C\nlong  é  last\n");
    }

    #[test]
    fn names_cannot_write_to_the_terminal() {
        let rows = [["a\x1b[31mb\n".to_owned()]];
        assert_eq!(super::render(&rows), "a?[31mb?\n");
    }
}

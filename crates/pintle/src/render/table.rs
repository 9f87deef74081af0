//! Aligned columns, as Docker's tables: at least 10 wide, 3 apart, the last column ragged.

const LEAST: usize = 10;
const GAP: usize = 3;

/// Aligns tab-separated rows. A column ends where its rows stop having a tab, as in Go's `tabwriter`.
pub fn align(rows: &[String]) -> String {
    align_at_least(rows, LEAST)
}

/// The same with columns at least that wide.
pub fn align_at_least(rows: &[String], least: usize) -> String {
    let cells: Vec<Vec<&str>> = rows.iter().map(|row| row.split('\t').collect()).collect();
    let mut widths: Vec<usize> = Vec::new();
    for row in &cells {
        for (column, cell) in row.iter().enumerate().take(row.len().saturating_sub(1)) {
            let wide = (cell.chars().count() + GAP).max(least);
            match widths.get_mut(column) {
                Some(width) => *width = (*width).max(wide),
                None => widths.push(wide),
            }
        }
    }
    let mut out = String::new();
    for row in &cells {
        for (column, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if column + 1 < row.len() {
                let width = widths.get(column).copied().unwrap_or(least);
                out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
            }
        }
        out.push('\n');
    }
    out
}

/// Cuts `text` to `most` characters, the last one an ellipsis if something was lost.
pub fn ellipsis(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_padded_as_dockers() {
        let rows = ["DRIVER\tVOLUME NAME".to_owned(), "local\tx".to_owned()];
        assert_eq!(align(&rows), "DRIVER    VOLUME NAME\nlocal     x\n");
        let rows = ["A\tB\tC".to_owned(), "0123456789\t\tz".to_owned()];
        assert_eq!(align(&rows), "A            B         C\n0123456789             z\n");
    }

    #[test]
    fn ellipsis_counts_characters() {
        assert_eq!(ellipsis("abcdef", 6), "abcdef");
        assert_eq!(ellipsis("abcdefg", 6), "abcde…");
        assert_eq!(ellipsis("ääääää", 3), "ää…");
    }
}

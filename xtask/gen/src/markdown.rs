//! Tables of the generated pages.

/// A table; bars in cells are escaped.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let line = |cells: &[String; N]| format!("| {} |\n", cells.join(" | "));
    let mut text = line(&head.map(str::to_owned));
    text += &format!("{}|\n", "|---".repeat(N));
    for row in rows {
        text += &line(&row.map(|cell| cell.replace('|', "\\|")));
    }
    text
}

pub(crate) fn code(text: &str) -> String {
    format!("`{text}`")
}

/// Words as code, separated by commas.
pub(crate) fn codes<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(code).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_do_not_end_a_cell() {
        let text = table(["a", "b"], [["x|y".to_owned(), code("z")]]);
        assert_eq!(text, "| a | b |\n|---|---|\n| x\\|y | `z` |\n");
    }
}

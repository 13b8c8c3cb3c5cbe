//! A document, before it is Markdown or HTML.

use std::fmt::Write;

/// A part of a document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Block {
    Heading(u8, String),
    /// Text. Backticks make code of what is between them, two asterisks make it bold.
    Paragraph(String),
    List(Vec<String>),
    /// A head, and rows. All but the first column are figures, and stand at the right.
    Table(Vec<String>, Vec<Vec<String>>),
    Chart {
        /// Its file in `charts/`, without the ending.
        name: String,
        /// What it shows.
        caption: String,
        svg: String,
    },
    /// Something long, closed at first.
    Code(String, String),
    /// The same, of a table.
    Folded(String, Vec<String>, Vec<Vec<String>>),
}

/// A document.
#[derive(Clone, Debug, Default)]
pub(crate) struct Document(pub(crate) Vec<Block>);

impl Document {
    pub(crate) fn heading(&mut self, level: u8, text: impl Into<String>) {
        self.0.push(Block::Heading(level, text.into()));
    }

    pub(crate) fn text(&mut self, text: impl Into<String>) {
        self.0.push(Block::Paragraph(text.into()));
    }

    pub(crate) fn list(&mut self, items: Vec<String>) {
        if !items.is_empty() {
            self.0.push(Block::List(items));
        }
    }

    pub(crate) fn table(&mut self, head: &[&str], rows: Vec<Vec<String>>) {
        if !rows.is_empty() {
            self.0.push(Block::Table(head.iter().map(|cell| (*cell).to_owned()).collect(), rows));
        }
    }

    /// A table that is closed at first.
    pub(crate) fn folded(&mut self, title: impl Into<String>, head: &[&str], rows: Vec<Vec<String>>) {
        if !rows.is_empty() {
            self.0.push(Block::Folded(title.into(), head.iter().map(|cell| (*cell).to_owned()).collect(), rows));
        }
    }

    pub(crate) fn chart(&mut self, name: &str, caption: impl Into<String>, svg: Option<String>) {
        if let Some(svg) = svg {
            self.0.push(Block::Chart { name: name.to_owned(), caption: caption.into(), svg });
        }
    }

    pub(crate) fn code(&mut self, title: impl Into<String>, text: impl Into<String>) {
        self.0.push(Block::Code(title.into(), text.into()));
    }

    /// For GitHub and editors. Charts are files beside it.
    pub(crate) fn markdown(&self) -> String {
        let mut out = String::new();
        for block in &self.0 {
            // Writing to a String cannot fail.
            let _ = match block {
                Block::Heading(level, text) => writeln!(out, "{} {text}\n", "#".repeat(usize::from(*level))),
                Block::Paragraph(text) => writeln!(out, "{text}\n"),
                Block::List(items) => {
                    items.iter().for_each(|item| out += &format!("- {item}\n"));
                    writeln!(out)
                }
                Block::Table(head, rows) => writeln!(out, "{}", markdown_table(head, rows)),
                Block::Folded(title, head, rows) => {
                    let table = markdown_table(head, rows);
                    writeln!(out, "<details><summary>{}</summary>\n\n{table}\n</details>\n", escape(title))
                }
                Block::Chart { name, caption, .. } => writeln!(out, "![{caption}](charts/{name}.svg)\n\n*{caption}*\n"),
                Block::Code(title, text) => {
                    writeln!(
                        out,
                        "<details><summary>{}</summary>\n\n```\n{}\n```\n\n</details>\n",
                        escape(title),
                        text.trim_end()
                    )
                }
            };
        }
        out
    }

    /// A page that needs nothing else.
    pub(crate) fn html(&self, title: &str) -> String {
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n\
             <style>\n{}</style>\n</head>\n<body>\n<nav>\n{}</nav>\n<main>\n",
            escape(title),
            include_str!("page.css"),
            self.contents()
        );
        self.0.iter().for_each(|block| out += &element(block));
        out + "</main>\n</body>\n</html>\n"
    }

    fn contents(&self) -> String {
        let headings = self.0.iter().filter_map(|block| match block {
            Block::Heading(2, text) => Some(format!("<a href=\"#{}\">{}</a>\n", anchor(text), escape(text))),
            _ => None,
        });
        headings.collect()
    }
}

fn markdown_table(head: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule: String = (0..head.len()).map(|index| if index == 0 { "|---" } else { "|--:" }).collect();
    let rows: String = rows.iter().map(|row| line(row)).collect();
    format!("{}{rule}|\n{rows}", line(head))
}

fn html_table(head: &[String], rows: &[Vec<String>]) -> String {
    let row = |cells: &[String], tag: &str| {
        let cells: String = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", inline(cell))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let body: String = rows.iter().map(|cells| row(cells, "td")).collect();
    format!("<div class=\"wide\"><table>\n<thead>{}</thead>\n<tbody>{body}</tbody>\n</table></div>\n", row(head, "th"))
}

fn element(block: &Block) -> String {
    match block {
        Block::Heading(level, text) => format!("<h{level} id=\"{}\">{}</h{level}>\n", anchor(text), inline(text)),
        Block::Paragraph(text) => format!("<p>{}</p>\n", inline(text)),
        Block::List(items) => {
            let items: String = items.iter().map(|item| format!("<li>{}</li>\n", inline(item))).collect();
            format!("<ul>\n{items}</ul>\n")
        }
        Block::Table(head, rows) => html_table(head, rows),
        Block::Folded(title, head, rows) => {
            format!("<details><summary>{}</summary>\n{}</details>\n", escape(title), html_table(head, rows))
        }
        Block::Chart { caption, svg, .. } => {
            format!("<figure>\n{svg}\n<figcaption>{}</figcaption>\n</figure>\n", inline(caption))
        }
        Block::Code(title, text) => {
            format!("<details><summary>{}</summary>\n<pre>{}</pre></details>\n", escape(title), escape(text))
        }
    }
}

/// Code and bold, of what is text otherwise.
fn inline(text: &str) -> String {
    let pieces = text.split('`').enumerate().map(|(index, piece)| {
        if index % 2 == 1 {
            return format!("<code>{}</code>", escape(piece));
        }
        let parts = piece.split("**").enumerate();
        parts
            .map(|(index, part)| if index % 2 == 1 { format!("<b>{}</b>", escape(part)) } else { escape(part) })
            .collect()
    });
    pieces.collect()
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn anchor(text: &str) -> String {
    let kept = text.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() => Some(c.to_ascii_lowercase()),
        _ => None,
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Document {
        let mut document = Document::default();
        document.heading(2, "Hot swap");
        document.text("A `<b>` is **5** > 4.");
        document.table(&["what", "ms"], vec![vec!["a|b".into(), "1".into()]]);
        document.table(&["nothing"], Vec::new());
        document.chart("swap", "A swap", Some("<svg/>".into()));
        document.chart("none", "Nothing", None);
        document.code("nginx.conf", "a < b\n");
        document.folded("R & D", &["what"], vec![vec!["x".into()]]);
        document
    }

    #[test]
    fn as_markdown() {
        let expected = "## Hot swap\n\nA `<b>` is **5** > 4.\n\n| what | ms |\n|---|--:|\n| a\\|b | 1 |\n\n\
                        ![A swap](charts/swap.svg)\n\n*A swap*\n\n\
                        <details><summary>nginx.conf</summary>\n\n```\na < b\n```\n\n</details>\n\n\
                        <details><summary>R &amp; D</summary>\n\n| what |\n|---|\n| x |\n\n</details>\n\n";
        assert_eq!(document().markdown(), expected);
    }

    #[test]
    fn as_html() {
        let html = document().html("R & D");
        for part in [
            "<title>R &amp; D</title>",
            "<a href=\"#hot-swap\">Hot swap</a>",
            "<h2 id=\"hot-swap\">Hot swap</h2>",
            "<p>A <code>&lt;b&gt;</code> is <b>5</b> &gt; 4.</p>",
            "<td>a|b</td><td>1</td>",
            "<svg/>\n<figcaption>A swap</figcaption>",
            "<pre>a &lt; b\n</pre>",
            "<summary>R &amp; D</summary>\n<div class=\"wide\">",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
        assert!(!html.contains("http://") && !html.contains("https://"), "nothing from elsewhere");
    }
}

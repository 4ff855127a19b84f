//! Output for a person: colours and a spinner in a terminal, plain lines elsewhere.

use std::{
    env,
    io::{self, IsTerminal, Write},
    pin::pin,
    process::{Command, Stdio},
    time::Duration,
};

/// The greatest width of text, even in a wider terminal.
const WIDEST: usize = 110;
const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const INDENT: &str = "  ";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Plain,
    Bold,
    Dim,
    Good,
    Bad,
}

impl Style {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Bold => Some("1"),
            Self::Dim => Some("2"),
            Self::Good => Some("32"),
            Self::Bad => Some("31"),
        }
    }
}

pub struct Screen {
    /// True for a terminal, whose last line can be rewritten.
    live: bool,
    colour: bool,
    pub width: usize,
}

impl Screen {
    pub fn new() -> Self {
        let set = |name: &str| env::var(name).is_ok_and(|held| !held.is_empty());
        let live = io::stdout().is_terminal() && env::var("TERM").as_deref() != Ok("dumb");
        let width = if live { columns().unwrap_or(80) } else { 100 };
        Self { live, colour: live && !set("NO_COLOR"), width: width.clamp(40, WIDEST) }
    }

    pub fn title(&self, text: &str) {
        line(&self.paint(Style::Bold, text));
    }

    pub fn heading(&self, text: &str) {
        let rule = "─".repeat(self.width.saturating_sub(text.chars().count() + 4));
        self.space();
        line(&format!(
            "{} {} {}",
            self.paint(Style::Dim, "──"),
            self.paint(Style::Bold, text),
            self.paint(Style::Dim, &rule)
        ));
    }

    pub fn space(&self) {
        self.text("");
    }

    /// A paragraph.
    pub fn text(&self, text: &str) {
        for text in wrapped(text, self.width) {
            line(&text);
        }
    }

    /// A paragraph with a mark before its first line.
    pub fn marked(&self, style: Style, mark: &str, text: &str) {
        for (n, text) in wrapped(text, self.width - 2).into_iter().enumerate() {
            let mark = if n == 0 { mark } else { " " };
            line(&format!("{} {text}", self.paint(style, mark)));
        }
    }

    /// A paragraph with a dim name in the margin.
    pub fn fact(&self, name: &str, text: &str) {
        for (n, text) in wrapped(text, self.width - 15).into_iter().enumerate() {
            let name = if n == 0 { name } else { "" };
            line(&format!("{INDENT}{} {text}", self.paint(Style::Dim, &format!("{name:<12}"))));
        }
    }

    /// One line, indented and cut to the width.
    pub fn row(&self, style: Style, text: &str) {
        line(&format!("{INDENT}{}", self.paint(style, &cut(text, self.width - INDENT.len()))));
    }

    /// A line below a row, with a mark.
    pub fn item(&self, style: Style, mark: &str, text: &str) {
        let text = cut(text, self.width - INDENT.len() - 2);
        line(&format!("{INDENT}{} {text}", self.paint(style, mark)));
    }

    /// Prints columns as wide as their widest cell. The first `left` are aligned left, the others right. The first row
    /// is the heading.
    pub fn table(&self, left: usize, rows: &[(Style, Vec<String>)]) {
        let columns = rows.iter().map(|(_, cells)| cells.len()).max().unwrap_or(0);
        let width = |column: usize| {
            rows.iter().filter_map(|(_, cells)| Some(cells.get(column)?.chars().count())).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (style, cells) in rows {
            let cells = cells.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
                if column < left { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            self.row(*style, cells.collect::<Vec<_>>().join("  ").trim_end());
        }
    }

    /// Shows progress until the work is done: a spinner in a terminal, elsewhere a line now and then.
    pub async fn watch<T>(&self, doing: impl Fn() -> String, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut ticks = tokio::time::interval(Duration::from_millis(if self.live { 80 } else { 3_000 }));
        for spinner in SPINNER.iter().cycle() {
            tokio::select! {
                done = &mut work => {
                    self.rewrite("");
                    return done;
                }
                _ = ticks.tick() => {}
            }
            let doing = cut(&doing(), self.width - 3);
            if self.live {
                self.rewrite(&format!("{} {doing}", self.paint(Style::Dim, &spinner.to_string())));
            } else {
                line(&format!("… {doing}"));
            }
        }
        work.await
    }

    fn paint(&self, style: Style, text: &str) -> String {
        match style.code().filter(|_| self.colour && !text.is_empty()) {
            Some(code) => format!("\x1b[{code}m{text}\x1b[0m"),
            None => text.to_owned(),
        }
    }

    fn rewrite(&self, text: &str) {
        if self.live {
            let mut stdout = io::stdout();
            let _ = write!(stdout, "\r\x1b[K{text}").and_then(|()| stdout.flush());
        }
    }
}

/// Ignore write errors: the reader may have stopped, as in `make demo | head`.
fn line(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// The terminal's width, from a tool that every Unix has.
fn columns() -> Option<usize> {
    let size = Command::new("stty").arg("size").stdin(Stdio::inherit()).stderr(Stdio::null()).output().ok()?;
    let size = String::from_utf8(size.stdout).ok()?;
    // The output is rows, then columns.
    size.split_whitespace().nth(1)?.parse().ok().filter(|columns| *columns > 0)
}

/// Cuts a text to one line. A character that isn't one column wide is shown as a dot.
fn cut(text: &str, width: usize) -> String {
    let plain = |c: char| matches!(c, ' '..='~' | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{24f}' | '\u{2010}'..='\u{2027}' | '\u{2500}'..='\u{257f}' | '✓' | '✗');
    let mut shown: String = text.chars().map(|c| if plain(c) { c } else { '·' }).take(width).collect();
    if text.chars().nth(width).is_some() {
        shown.pop();
        shown.push('…');
    }
    shown
}

/// Wraps a text at spaces. A word longer than a line gets a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is one from the start");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paragraph_is_wrapped_between_words() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a-long-word b", 4), ["a-long-word", "b"]);
        assert_eq!(wrapped("", 4), [""]);
    }

    #[test]
    fn a_line_is_cut_to_its_width_and_moves_no_cursor() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("abcd", 4), "abcd");
        assert_eq!(cut("a\u{202e}b\u{1f680}\u{1b}[1m", 20), "a·b··[1m");
    }
}

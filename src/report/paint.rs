//! Colours, or none, and the width of the page.

use anstyle::{AnsiColor, Effects, Style};

/// How text is to look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Paint {
    /// With colours.
    pub colour: bool,
    /// Columns of the terminal; `None` for no limit, as in a pipe.
    pub width: Option<usize>,
}

/// What a piece of text is, which decides its colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tone {
    /// Ordinary.
    Plain,
    /// Success.
    Good,
    /// Failure.
    Bad,
    /// Something to notice.
    Warn,
    /// Less important.
    Faint,
    /// A label.
    Strong,
}

impl Paint {
    /// No colours, no limit.
    pub const PLAIN: Paint = Paint { colour: false, width: None };

    /// `text` in the colour of `tone`.
    pub fn tone(self, tone: Tone, text: &str) -> String {
        let style = match tone {
            _ if !self.colour || text.is_empty() => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Bad => AnsiColor::Red.on_default() | Effects::BOLD,
            Tone::Warn => AnsiColor::Yellow.on_default(),
            Tone::Faint => Style::new().effects(Effects::DIMMED),
            Tone::Strong => Style::new().effects(Effects::BOLD),
        };
        format!("{style}{text}{style:#}")
    }
}

/// Breaks `text` at blanks into lines of at most `width` characters. A longer word stays whole.
pub fn wrap(text: &str, width: Option<usize>) -> Vec<String> {
    let Some(width) = width else { return vec![text.to_owned()] };
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always a line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

//! Glyphs and colours: Okabe–Ito, which people with colour blindness tell apart, and always a glyph
//! and a letter beside the colour.
//!
//! | | truecolor, 256, 16 | no colour | `--ascii` |
//! |---|---|---|---|
//! | ACTIVE | `◆ A` sky blue | bold | `A` |
//! | FULL | `█ F` vermillion | bold | `#` |
//! | PARTIAL | `▒ P` yellow | plain | `%` |
//! | EMPTY | `· E` grey | dim | `.` |
//!
//! With high contrast everything is bright on black, what has a hue is bold, parts differ by their pattern as well, and
//! nothing is dim.

use lfalloc_protocol::message::state;
use ratatui::style::{Color, Modifier, Style};

use super::{Color as ColorOption, ThemeName};

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Bold, reverse and dim only.
    None,
    /// The sixteen of old.
    Ansi16,
    /// The palette of 256.
    Ansi256,
    /// 24 bits.
    True,
}

impl Depth {
    /// What `color` and the environment ask for: `NO_COLOR` (not empty), `COLORTERM`, `TERM`.
    #[must_use]
    pub fn detect(color: ColorOption, env: impl Fn(&str) -> Option<String>) -> Self {
        let term = env("TERM").unwrap_or_default();
        let no_color = env("NO_COLOR").is_some_and(|value| !value.is_empty());
        match color {
            ColorOption::Never => return Self::None,
            ColorOption::Auto if no_color || term == "dumb" => return Self::None,
            _ => {}
        }
        let colorterm = env("COLORTERM").unwrap_or_default();
        if colorterm == "truecolor" || colorterm == "24bit" || term.ends_with("-direct") {
            Self::True
        } else if term.contains("256color") {
            Self::Ansi256
        } else {
            Self::Ansi16
        }
    }
}

/// A colour of the palette.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hue {
    /// FREE blocks, and what is large but idle.
    Orange,
    /// ACTIVE, credits.
    SkyBlue,
    /// What the program holds; good news.
    Green,
    /// PARTIAL, free blocks.
    Yellow,
    /// Large blocks.
    Blue,
    /// FULL; bad news.
    Vermillion,
    /// Caches.
    Purple,
    /// EMPTY.
    Grey,
    /// Large blocks kept for reuse.
    PaleBlue,
    /// Behind the last block.
    DarkGrey,
    /// In no superblock.
    Charcoal,
}

impl Hue {
    /// The same with high contrast: every one of them at least 7 times as bright as black, by the rule of WCAG.
    fn bright_values(self) -> ((u8, u8, u8), u8, Color) {
        match self {
            Self::Orange => ((255, 190, 70), 215, Color::LightYellow),
            Self::SkyBlue => ((95, 255, 255), 87, Color::LightCyan),
            Self::Green => ((95, 255, 135), 84, Color::LightGreen),
            Self::Yellow => ((255, 255, 0), 226, Color::LightYellow),
            Self::Blue => ((135, 175, 255), 111, Color::LightCyan),
            Self::Vermillion => ((255, 135, 95), 209, Color::LightRed),
            Self::Purple => ((255, 135, 255), 213, Color::LightMagenta),
            Self::PaleBlue => ((175, 215, 255), 153, Color::LightCyan),
            Self::Grey | Self::DarkGrey | Self::Charcoal => ((255, 255, 255), 231, Color::White),
        }
    }

    /// Red, green, blue; the place in the palette of 256; the nearest of sixteen.
    fn values(self) -> ((u8, u8, u8), u8, Color) {
        match self {
            Self::Orange => ((230, 159, 0), 178, Color::LightRed),
            Self::SkyBlue => ((86, 180, 233), 74, Color::Cyan),
            Self::Green => ((0, 158, 115), 36, Color::Green),
            Self::Yellow => ((240, 228, 66), 221, Color::Yellow),
            Self::Blue => ((0, 114, 178), 25, Color::Blue),
            Self::Vermillion => ((213, 94, 0), 166, Color::Red),
            Self::Purple => ((204, 121, 167), 175, Color::Magenta),
            Self::Grey => ((153, 153, 153), 247, Color::Gray),
            Self::PaleBlue => ((120, 150, 190), 67, Color::LightBlue),
            Self::DarkGrey => ((110, 110, 110), 242, Color::DarkGray),
            Self::Charcoal => ((75, 75, 75), 239, Color::DarkGray),
        }
    }
}

/// Lines and glyphs, in Unicode or in ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glyphs {
    /// Whether only ASCII is drawn.
    pub ascii: bool,
    /// `─`.
    pub horizontal: char,
    /// `│`.
    pub vertical: char,
    /// Corners: top left, top right, bottom left, bottom right.
    pub corners: [char; 4],
    /// Arrow heads: left, right, up, down.
    pub arrows: [char; 4],
    /// Marks the line of the cursor.
    pub cursor: char,
    /// Between two things on one line.
    pub dot: char,
    /// Where a line leaves a box: to the right, to the left, down, up.
    pub tees: [char; 4],
    /// A shaded cell.
    pub shade: char,
    /// A full cell.
    pub solid: char,
    /// From no to a full cell.
    pub ramp: [char; 8],
    /// Arrow within text.
    pub to: &'static str,
    /// Sorted downwards, upwards.
    pub sorted: [char; 2],
    /// That differences are shown.
    pub difference: &'static str,
}

const UNICODE: Glyphs = Glyphs {
    ascii: false,
    horizontal: '─',
    vertical: '│',
    corners: ['┌', '┐', '└', '┘'],
    arrows: ['◀', '▶', '▲', '▼'],
    cursor: '▸',
    dot: '·',
    tees: ['├', '┤', '┬', '┴'],
    shade: '░',
    solid: '█',
    ramp: ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
    to: "→",
    sorted: ['▼', '▲'],
    difference: "Δ",
};

const ASCII: Glyphs = Glyphs {
    ascii: true,
    horizontal: '-',
    vertical: '|',
    corners: ['+', '+', '+', '+'],
    arrows: ['<', '>', '^', 'v'],
    cursor: '>',
    dot: '-',
    tees: ['+', '+', '+', '+'],
    shade: '.',
    solid: '#',
    ramp: ['.', '.', ':', ':', '-', '=', '+', '#'],
    to: "->",
    sorted: ['v', '^'],
    difference: "diff",
};

/// How everything looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// What the terminal can show.
    pub depth: Depth,
    /// Lines and glyphs.
    pub glyphs: Glyphs,
    name: ThemeName,
}

impl Theme {
    /// A theme for a terminal of that depth.
    #[must_use]
    pub fn new(depth: Depth, ascii: bool, name: ThemeName) -> Self {
        Self { depth, glyphs: if ascii { ASCII } else { UNICODE }, name }
    }

    /// Whether colours are used at all.
    #[must_use]
    pub fn colored(&self) -> bool {
        self.depth != Depth::None
    }

    /// Whether nothing may be dim.
    #[must_use]
    pub fn is_bright(&self) -> bool {
        self.name == ThemeName::HighContrast
    }

    /// Whether hues alone tell parts of a bar apart; else patterns do, too.
    #[must_use]
    pub fn has_solid_hues(&self) -> bool {
        self.colored() && !self.glyphs.ascii && !self.is_bright()
    }

    /// What is beneath everything.
    #[must_use]
    pub fn base(&self) -> Style {
        let (white, black) = match self.depth {
            _ if !self.is_bright() => return Style::new(),
            Depth::None => return Style::new(),
            Depth::Ansi16 => (Color::White, Color::Black),
            Depth::Ansi256 => (Color::Indexed(231), Color::Indexed(16)),
            Depth::True => (Color::Rgb(255, 255, 255), Color::Rgb(0, 0, 0)),
        };
        Style::new().fg(white).bg(black)
    }

    /// A hue as the terminal can show it.
    #[must_use]
    pub fn color(&self, hue: Hue) -> Color {
        let values = if self.is_bright() { hue.bright_values() } else { hue.values() };
        let ((red, green, blue), indexed, named) = values;
        // Yellow on white cannot be read: a light theme darkens the light hues.
        let light = self.name == ThemeName::Light;
        match self.depth {
            Depth::None => Color::Reset,
            Depth::Ansi16 => named,
            Depth::Ansi256 if light && hue == Hue::Yellow => Color::Indexed(136),
            Depth::Ansi256 => Color::Indexed(indexed),
            Depth::True if light && hue == Hue::Yellow => Color::Rgb(160, 130, 0),
            Depth::True if light => {
                let darker = |part: u8| (u16::from(part) * 4 / 5) as u8;
                Color::Rgb(darker(red), darker(green), darker(blue))
            }
            Depth::True => Color::Rgb(red, green, blue),
        }
    }

    /// Text in a hue; plain without colours.
    #[must_use]
    pub fn hue(&self, hue: Hue) -> Style {
        match (self.colored(), self.is_bright()) {
            (false, _) => Style::new(),
            (true, false) => Style::new().fg(self.color(hue)),
            (true, true) => Style::new().fg(self.color(hue)).add_modifier(Modifier::BOLD),
        }
    }

    /// A superblock state's style.
    #[must_use]
    pub fn state(&self, state: u8) -> Style {
        match (state, self.colored()) {
            (state::ACTIVE, true) => self.hue(Hue::SkyBlue),
            (state::FULL, true) => self.hue(Hue::Vermillion),
            (state::PARTIAL, true) => self.hue(Hue::Yellow),
            (state::EMPTY, true) => self.hue(Hue::Grey),
            (state::ACTIVE | state::FULL, false) => Style::new().add_modifier(Modifier::BOLD),
            (state::EMPTY, false) if !self.is_bright() => Style::new().add_modifier(Modifier::DIM),
            _ => Style::new(),
        }
    }

    /// What stands before a figure that is a lower bound.
    #[must_use]
    pub fn at_least(&self, is_bound: bool) -> &'static str {
        match (is_bound, self.glyphs.ascii) {
            (false, _) => "",
            (true, false) => "≥",
            (true, true) => ">=",
        }
    }

    /// A superblock state's glyph and letter: `◆ A`, or one ASCII character.
    #[must_use]
    pub fn state_mark(&self, state: u8) -> &'static str {
        let marks = if self.glyphs.ascii {
            ["A", "#", "%", "."]
        } else {
            ["◆ A", "█ F", "▒ P", "· E"]
        };
        marks.get(usize::from(state)).copied().unwrap_or("?")
    }

    /// What matters most on a line.
    #[must_use]
    pub fn strong(&self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What matters least.
    #[must_use]
    pub fn faint(&self) -> Style {
        match self.depth {
            _ if self.is_bright() => Style::new(),
            Depth::None => Style::new().add_modifier(Modifier::DIM),
            Depth::Ansi16 => Style::new().fg(Color::DarkGray),
            _ => self.hue(Hue::Grey),
        }
    }

    /// What the cursor is on.
    #[must_use]
    pub fn selected(&self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// What asks for attention.
    #[must_use]
    pub fn alarm(&self) -> Style {
        if self.colored() && self.is_bright() {
            self.badge(Hue::Vermillion)
        } else if self.colored() {
            self.hue(Hue::Vermillion).add_modifier(Modifier::BOLD)
        } else {
            Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED)
        }
    }

    /// What is as it should be.
    #[must_use]
    pub fn good(&self) -> Style {
        self.hue(Hue::Green)
    }

    /// Names of keys.
    #[must_use]
    pub fn key(&self) -> Style {
        self.hue(Hue::SkyBlue).add_modifier(Modifier::BOLD)
    }

    /// A badge: text on a hue; reversed without colours.
    #[must_use]
    pub fn badge(&self, hue: Hue) -> Style {
        if self.colored() {
            let text = match hue {
                _ if self.is_bright() => Color::Black,
                Hue::Blue | Hue::DarkGrey | Hue::Charcoal => Color::White,
                _ => Color::Black,
            };
            Style::new().bg(self.color(hue)).fg(text).add_modifier(Modifier::BOLD)
        } else {
            Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED)
        }
    }
}

#[cfg(test)]
mod tests {
    //! Aim: the environment is understood, and nothing is told by colour alone.
    use super::*;

    fn depth(color: ColorOption, set: &[(&str, &str)]) -> Depth {
        Depth::detect(color, |name| {
            set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_decides_unless_told_otherwise() {
        let auto = ColorOption::Auto;
        let xterm = ("TERM", "xterm-256color");
        assert_eq!(depth(auto, &[("TERM", "xterm")]), Depth::Ansi16);
        assert_eq!(depth(auto, &[xterm]), Depth::Ansi256);
        assert_eq!(depth(auto, &[xterm, ("COLORTERM", "truecolor")]), Depth::True);
        assert_eq!(depth(auto, &[xterm, ("NO_COLOR", "1")]), Depth::None);
        assert_eq!(depth(auto, &[xterm, ("NO_COLOR", "")]), Depth::Ansi256);
        assert_eq!(depth(auto, &[("TERM", "dumb")]), Depth::None);
        assert_eq!(depth(ColorOption::Always, &[xterm, ("NO_COLOR", "1")]), Depth::Ansi256);
        assert_eq!(depth(ColorOption::Never, &[xterm]), Depth::None);
    }

    #[test]
    fn states_differ_by_glyph_and_ascii_is_ascii() {
        for ascii in [false, true] {
            let theme = Theme::new(Depth::None, ascii, ThemeName::Dark);
            let marks: Vec<_> = (0..4).map(|state| theme.state_mark(state)).collect();
            for (place, mark) in marks.iter().enumerate() {
                assert!(!marks[..place].contains(mark));
                assert!(!ascii || mark.is_ascii());
            }
        }
        let theme = Theme::new(Depth::None, true, ThemeName::Dark);
        let glyphs = theme.glyphs;
        let mut all = vec![glyphs.horizontal, glyphs.vertical, glyphs.cursor, glyphs.dot];
        all.extend(glyphs.corners.into_iter().chain(glyphs.arrows).chain(glyphs.tees));
        all.extend(glyphs.ramp.into_iter().chain(glyphs.sorted).chain(glyphs.to.chars()));
        all.extend([glyphs.shade, glyphs.solid]);
        assert!(all.iter().all(char::is_ascii));
    }

    #[test]
    fn high_contrast_is_bright_on_black_and_never_dim() {
        let hues = [
            Hue::Orange,
            Hue::SkyBlue,
            Hue::Green,
            Hue::Yellow,
            Hue::Blue,
            Hue::Vermillion,
            Hue::Purple,
            Hue::Grey,
            Hue::PaleBlue,
            Hue::DarkGrey,
            Hue::Charcoal,
        ];
        for hue in hues {
            let ((red, green, blue), _, named) = hue.bright_values();
            // Relative luminance, and the contrast to black.
            let linear = |part: u8| {
                let part = f64::from(part) / 255.0;
                if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
            };
            let luminance = 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
            assert!((luminance + 0.05) / 0.05 >= 7.0, "{hue:?}");
            let dark = [Color::Blue, Color::LightBlue, Color::DarkGray, Color::Gray, Color::Black];
            assert!(!dark.contains(&named), "{hue:?}");
        }
        for depth in [Depth::None, Depth::Ansi16, Depth::Ansi256, Depth::True] {
            let theme = Theme::new(depth, false, ThemeName::HighContrast);
            let mut styles: Vec<Style> = (0..5).map(|code| theme.state(code)).collect();
            styles.extend([theme.faint(), theme.key(), theme.alarm(), theme.good()]);
            assert!(styles.iter().all(|style| !style.add_modifier.contains(Modifier::DIM)));
            assert_eq!(theme.base().bg.is_some(), depth != Depth::None);
        }
    }

    #[test]
    fn without_colours_no_style_has_one() {
        let theme = Theme::new(Depth::None, false, ThemeName::Light);
        let styles = [
            theme.hue(Hue::Green),
            theme.state(state::FULL),
            theme.faint(),
            theme.alarm(),
            theme.badge(Hue::Blue),
            theme.key(),
        ];
        assert!(styles.iter().all(|style| style.fg.is_none() && style.bg.is_none()));
    }
}

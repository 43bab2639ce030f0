//! The one table of keys: it dispatches, prints the footer, and is the help.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::Screen;

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table says in words what each does")]
pub enum Action {
    Quit,
    Help,
    Show(Screen),
    NextScreen,
    PreviousScreen,
    Up,
    Down,
    Left,
    Right,
    Top,
    Bottom,
    PageUp,
    PageDown,
    Freeze,
    Explain,
    Zoom,
    Open,
    View,
    OtherPane,
    Back,
    Faster,
    Slower,
    Sort,
    Invert,
    Filter,
    PickEdge,
    StepForward,
    StepBack,
    ScrubBack,
    ScrubForward,
    LeapBack,
    LeapForward,
    Baseline,
    Difference,
    Programs,
    Reconnect,
    Output,
    Detach,
    Terminate,
    Kill,
    Copy,
    CopyAll,
    Redraw,
}

/// Where a key works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// On every screen.
    Everywhere,
    /// On one screen.
    On(Screen),
    /// On every screen but that one, where the key means something else.
    Except(Screen),
    /// In the list of programs.
    Picker,
    /// While it is asked how to leave a program that was started here.
    Leaving,
}

impl Scope {
    /// Whether keys of this scope work on `screen`.
    #[must_use]
    pub fn includes(self, screen: Screen) -> bool {
        match self {
            Self::Everywhere => true,
            Self::On(only) => only == screen,
            Self::Except(not) => not != screen,
            Self::Picker | Self::Leaving => false,
        }
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// The keys, any of which asks for it.
    pub keys: &'static [(KeyCode, KeyModifiers)],
    /// What they ask for.
    pub action: Action,
    /// Where they work.
    pub scope: Scope,
    /// How the keys are written.
    pub written: &'static str,
    /// One word for the footer; empty: not there.
    pub word: &'static str,
    /// A sentence for the help.
    pub help: &'static str,
}

const NONE: KeyModifiers = KeyModifiers::NONE;
const CONTROL: KeyModifiers = KeyModifiers::CONTROL;

const fn char(character: char) -> (KeyCode, KeyModifiers) {
    (KeyCode::Char(character), NONE)
}

const fn code(code: KeyCode) -> (KeyCode, KeyModifiers) {
    (code, NONE)
}

const fn everywhere(
    keys: &'static [(KeyCode, KeyModifiers)],
    action: Action,
    written: &'static str,
    word: &'static str,
    help: &'static str,
) -> Binding {
    Binding { keys, action, scope: Scope::Everywhere, written, word, help }
}

const fn on(
    screen: Screen,
    keys: &'static [(KeyCode, KeyModifiers)],
    action: Action,
    written: &'static str,
    word: &'static str,
    help: &'static str,
) -> Binding {
    Binding { keys, action, scope: Scope::On(screen), written, word, help }
}

const fn except(
    screen: Screen,
    keys: &'static [(KeyCode, KeyModifiers)],
    action: Action,
    written: &'static str,
    word: &'static str,
    help: &'static str,
) -> Binding {
    Binding { keys, action, scope: Scope::Except(screen), written, word, help }
}

const fn in_picker(
    keys: &'static [(KeyCode, KeyModifiers)],
    action: Action,
    written: &'static str,
    word: &'static str,
    help: &'static str,
) -> Binding {
    Binding { keys, action, scope: Scope::Picker, written, word, help }
}

const fn while_leaving(
    keys: &'static [(KeyCode, KeyModifiers)],
    action: Action,
    written: &'static str,
    word: &'static str,
    help: &'static str,
) -> Binding {
    Binding { keys, action, scope: Scope::Leaving, written, word, help }
}

/// Every key. The footer shows them in this order, as many as fit.
pub const TABLE: &[Binding] = &[
    everywhere(
        &[char('q'), (KeyCode::Char('c'), CONTROL)],
        Action::Quit,
        "q",
        "quit",
        "leave; the program goes on undisturbed",
    ),
    everywhere(&[char('?'), code(KeyCode::F(1))], Action::Help, "?", "help", "this page"),
    everywhere(
        &[char('L'), (KeyCode::Char('L'), KeyModifiers::SHIFT)],
        Action::Output,
        "L",
        "output",
        "the output of the program that `run` has started, and back",
    ),
    everywhere(
        &[char(' ')],
        Action::Freeze,
        "Space",
        "freeze",
        "freeze the view, or let it go on; its history keeps filling",
    ),
    everywhere(
        &[char('x')],
        Action::Explain,
        "x",
        "explain",
        "explain the figure under the cursor: unit, how it is computed, whether it is exact",
    ),
    on(
        Screen::Classes,
        &[char('s')],
        Action::Sort,
        "s",
        "sort",
        "sort by the column under the cursor; again: by the next one",
    ),
    on(Screen::Classes, &[char('i')], Action::Invert, "i", "invert", "invert the order"),
    on(
        Screen::Classes,
        &[char('/')],
        Action::Filter,
        "/",
        "filter",
        "filter: text in the block size, or terms such as util<50 waste>1m p>0",
    ),
    on(
        Screen::Map,
        &[char('s'), char('o')],
        Action::Sort,
        "s",
        "order",
        "order by address, class, age, occupancy",
    ),
    on(Screen::Map, &[char('i')], Action::Invert, "i", "invert", "invert the order"),
    on(
        Screen::Map,
        &[char('/')],
        Action::Filter,
        "/",
        "filter",
        "filter: partial, #12, occ<10 live<3 block=112 class=6 age>60 (seconds)",
    ),
    on(
        Screen::Heaps,
        &[char('s')],
        Action::Sort,
        "s",
        "sort",
        "sort by the column under the cursor",
    ),
    on(Screen::Heaps, &[char('i')], Action::Invert, "i", "invert", "invert the order"),
    on(
        Screen::Heaps,
        &[char('v')],
        Action::View,
        "v",
        "view",
        "by heap header and magazine, by processor, by class",
    ),
    on(
        Screen::Heaps,
        &[char('m')],
        Action::OtherPane,
        "m",
        "magazines",
        "to the magazines, or back to the heap headers",
    ),
    on(
        Screen::Heaps,
        &[char('/')],
        Action::Filter,
        "/",
        "filter",
        "filter: text in the block size, or terms such as heap=3 credits<10 dry>0, cpu=3 hit<90 aborts>0",
    ),
    on(
        Screen::Large,
        &[char('s')],
        Action::Sort,
        "s",
        "sort",
        "sort by the column under the cursor",
    ),
    on(Screen::Large, &[char('i')], Action::Invert, "i", "invert", "invert the order"),
    on(
        Screen::Large,
        &[char('/')],
        Action::Filter,
        "/",
        "filter",
        "filter: live, kept, an address, bytes>1m age>60 (seconds)",
    ),
    on(
        Screen::Events,
        &[char('/')],
        Action::Filter,
        "/",
        "filter",
        "filter: partial, from:full, to:empty, by:free, #12, class=6 block=112 sb=12 tag>5",
    ),
    on(
        Screen::Events,
        &[char('n')],
        Action::PickEdge,
        "n",
        "edge",
        "pick the next edge of the state diagram; only its events are shown then",
    ),
    on(
        Screen::States,
        &[char('n')],
        Action::PickEdge,
        "n",
        "edge",
        "pick the next edge; the log then shows its events alone, and Enter goes to Events",
    ),
    on(
        Screen::States,
        &[char('.')],
        Action::StepForward,
        ".",
        "step",
        "freeze, and step one event forward through the log",
    ),
    on(Screen::States, &[char(',')], Action::StepBack, ",", "back", "step one event back"),
    except(
        Screen::States,
        &[char(',')],
        Action::ScrubBack,
        ",",
        "past",
        "show the state before, of those that the viewer keeps: ten minutes, the older the sparser",
    ),
    except(
        Screen::States,
        &[char('.')],
        Action::ScrubForward,
        ".",
        "",
        "show the state after it; the last one is the present, frozen",
    ),
    everywhere(&[char('<')], Action::LeapBack, "<", "", "ten seconds back"),
    everywhere(&[char('>')], Action::LeapForward, ">", "", "ten seconds forward"),
    everywhere(
        &[char('b')],
        Action::Baseline,
        "b",
        "baseline",
        "make what is shown the baseline that differences are taken to",
    ),
    everywhere(
        &[char('D')],
        Action::Difference,
        "D",
        "difference",
        "show differences to the baseline, or the figures again; without one, the present becomes it",
    ),
    everywhere(
        &[char('e')],
        Action::Zoom,
        "e",
        "zoom",
        "let the pane under the cursor fill the screen, and back",
    ),
    everywhere(
        &[char('y')],
        Action::Copy,
        "y",
        "copy",
        "copy what is under the cursor to the terminal's clipboard (OSC 52), with exact figures",
    ),
    everywhere(
        &[char('Y'), (KeyCode::Char('Y'), KeyModifiers::SHIFT)],
        Action::CopyAll,
        "Y",
        "",
        "copy all of the screen: the rows shown, apart by tabs",
    ),
    everywhere(
        &[code(KeyCode::Enter)],
        Action::Open,
        "Enter",
        "",
        "open what is under the cursor; where nothing can be opened, zoom",
    ),
    everywhere(&[code(KeyCode::Tab)], Action::NextScreen, "Tab", "next", "the next screen"),
    everywhere(
        &[code(KeyCode::BackTab), (KeyCode::BackTab, KeyModifiers::SHIFT)],
        Action::PreviousScreen,
        "Shift-Tab",
        "",
        "the screen before",
    ),
    everywhere(
        &[char('+'), char('=')],
        Action::Faster,
        "+",
        "faster",
        "twice as many states a second (up to 50)",
    ),
    everywhere(
        &[char('-')],
        Action::Slower,
        "-",
        "slower",
        "half as many states a second (down to one in ten seconds)",
    ),
    everywhere(
        &[char('p')],
        Action::Programs,
        "p",
        "programs",
        "the list of programs that can be watched, to go to another one",
    ),
    everywhere(
        &[char('r')],
        Action::Reconnect,
        "r",
        "",
        "look for a program that is gone, or for the one that was started in its place",
    ),
    everywhere(
        &[code(KeyCode::Esc)],
        Action::Back,
        "Esc",
        "",
        "back: close what is open, undo the zoom, the filter, the picked edge",
    ),
    in_picker(&[code(KeyCode::Enter)], Action::Open, "Enter", "watch", "watch the program"),
    in_picker(&[char('s')], Action::Sort, "s", "sort", "sort by the column under the cursor"),
    in_picker(&[char('i')], Action::Invert, "i", "invert", "invert the order"),
    in_picker(
        &[char('/')],
        Action::Filter,
        "/",
        "filter",
        "filter: text in the name or the user, or terms such as live>1g ext>30 growth>1m",
    ),
    in_picker(
        &[code(KeyCode::Esc)],
        Action::Back,
        "Esc",
        "back",
        "clear the filter; back to the program that was shown, or leave where none was",
    ),
    while_leaving(
        &[char('d'), code(KeyCode::Enter)],
        Action::Detach,
        "d Enter",
        "detach",
        "leave, and let the program run on",
    ),
    while_leaving(
        &[char('t')],
        Action::Terminate,
        "t",
        "terminate",
        "ask the program and all of its process group to end (SIGTERM), and leave with it",
    ),
    while_leaving(
        &[char('k')],
        Action::Kill,
        "k",
        "kill",
        "end them (SIGKILL), if they have not ended for 5 seconds",
    ),
    while_leaving(&[code(KeyCode::Esc)], Action::Back, "Esc", "back", "do not leave"),
    everywhere(&[char('k'), code(KeyCode::Up)], Action::Up, "k ↑", "", "up"),
    everywhere(&[char('j'), code(KeyCode::Down)], Action::Down, "j ↓", "", "down"),
    everywhere(
        &[char('h'), code(KeyCode::Left)],
        Action::Left,
        "h ←",
        "",
        "left: the pane, the column or the edge before",
    ),
    everywhere(
        &[char('l'), code(KeyCode::Right)],
        Action::Right,
        "l →",
        "",
        "right: the next pane, column or edge",
    ),
    everywhere(&[char('g'), code(KeyCode::Home)], Action::Top, "g", "", "to the top"),
    everywhere(
        &[char('G'), (KeyCode::Char('G'), KeyModifiers::SHIFT), code(KeyCode::End)],
        Action::Bottom,
        "G",
        "",
        "to the bottom; in the log: follow the newest",
    ),
    everywhere(
        &[code(KeyCode::PageUp), (KeyCode::Char('b'), CONTROL)],
        Action::PageUp,
        "PgUp",
        "",
        "a page up",
    ),
    everywhere(
        &[code(KeyCode::PageDown), (KeyCode::Char('f'), CONTROL)],
        Action::PageDown,
        "PgDn",
        "",
        "a page down",
    ),
    everywhere(
        &[char('1')],
        Action::Show(Screen::Overview),
        "1",
        "",
        "Overview: where the memory is",
    ),
    everywhere(
        &[char('2')],
        Action::Show(Screen::Classes),
        "2",
        "",
        "Classes: one row per size class",
    ),
    everywhere(&[char('3')], Action::Show(Screen::Map), "3", "", "Map: every superblock"),
    everywhere(
        &[char('4')],
        Action::Show(Screen::Heaps),
        "4",
        "",
        "Heaps: heap headers and their credits",
    ),
    everywhere(
        &[char('5')],
        Action::Show(Screen::States),
        "5",
        "",
        "States: the state diagram of the patent, and the events",
    ),
    everywhere(&[char('6')], Action::Show(Screen::Large), "6", "", "Large: large blocks"),
    everywhere(
        &[char('7')],
        Action::Show(Screen::Events),
        "7",
        "",
        "Events: the transitions, one by one",
    ),
    everywhere(
        &[char('8')],
        Action::Show(Screen::Lints),
        "8",
        "",
        "Lints: what is amiss, why, and what to do",
    ),
    everywhere(
        &[(KeyCode::Char('l'), CONTROL)],
        Action::Redraw,
        "Ctrl-L",
        "",
        "draw everything again",
    ),
];

/// What `key` asks for on `screen`.
#[must_use]
pub fn action(screen: Screen, key: KeyEvent) -> Option<Action> {
    bound(|scope| scope.includes(screen), key)
}

/// What `key` asks for in the list of programs.
#[must_use]
pub fn picker_action(key: KeyEvent) -> Option<Action> {
    bound(|scope| scope == Scope::Picker, key).or_else(|| {
        bound(|scope| scope == Scope::Everywhere, key).filter(|&action| works_in_picker(action))
    })
}

/// What `key` asks for while it is asked how to leave.
#[must_use]
pub fn leaving_action(key: KeyEvent) -> Option<Action> {
    bound(|scope| scope == Scope::Leaving, key).or_else(|| {
        bound(|scope| scope == Scope::Everywhere, key).filter(|&action| action == Action::Redraw)
    })
}

fn bound(belongs: impl Fn(Scope) -> bool, key: KeyEvent) -> Option<Action> {
    // Terminals differ in whether they report Shift with a character that needs it.
    let plain = match key.code {
        KeyCode::Char(_) => key.modifiers.difference(KeyModifiers::SHIFT),
        _ => key.modifiers,
    };
    let pressed = |&(code, modifiers): &(KeyCode, KeyModifiers)| {
        code == key.code && (modifiers == key.modifiers || modifiers == plain)
    };
    let bound = |binding: &&Binding| belongs(binding.scope) && binding.keys.iter().any(pressed);
    TABLE.iter().find(bound).map(|binding| binding.action)
}

/// Whether what works everywhere means anything in the list of programs.
fn works_in_picker(action: Action) -> bool {
    use Action::{
        Bottom, Down, Help, Left, Output, PageDown, PageUp, Programs, Quit, Redraw, Right, Top, Up,
    };
    matches!(
        action,
        Quit | Help
            | Up
            | Down
            | Left
            | Right
            | Top
            | Bottom
            | PageUp
            | PageDown
            | Programs
            | Output
            | Redraw
    )
}

/// The lines of the table that work in the list of programs: its own, and those that work everywhere.
pub fn common_in_picker() -> impl Iterator<Item = &'static Binding> {
    TABLE
        .iter()
        .filter(|binding| binding.scope == Scope::Everywhere && works_in_picker(binding.action))
}

/// The lines of the table that belong into the footer of the list of programs.
pub fn picker_footer() -> impl Iterator<Item = &'static Binding> {
    let leaving = |binding: &&Binding| matches!(binding.action, Action::Quit | Action::Help);
    let own = TABLE.iter().filter(|binding| binding.scope == Scope::Picker);
    own.chain(common_in_picker().filter(leaving))
}

/// The lines of the table that work while it is asked how to leave.
pub fn leaving() -> impl Iterator<Item = &'static Binding> {
    TABLE.iter().filter(|binding| binding.scope == Scope::Leaving)
}

/// The lines of the table that belong into the footer of `screen`; those of a program that was started here only if there is one.
pub fn footer(screen: Screen, is_launched: bool) -> impl Iterator<Item = &'static Binding> {
    let here = move |binding: &&Binding| {
        !binding.word.is_empty()
            && binding.scope.includes(screen)
            && (is_launched || binding.action != Action::Output)
    };
    TABLE.iter().filter(here)
}

#[cfg(test)]
mod tests {
    //! Aim: the table is free of contradictions, so that help and footer tell the truth.
    use super::*;

    #[test]
    fn no_key_is_bound_twice_where_it_works() {
        for screen in Screen::ALL {
            let mut seen = Vec::new();
            for binding in TABLE {
                if !binding.scope.includes(screen) {
                    continue;
                }
                for key in binding.keys {
                    assert!(!seen.contains(key), "{key:?} twice on {screen:?}");
                    seen.push(*key);
                }
            }
        }
    }

    #[test]
    fn every_binding_can_be_reached_and_is_explained() {
        for binding in TABLE {
            for &(code, modifiers) in binding.keys {
                let key = KeyEvent::new(code, modifiers);
                let asked = match binding.scope {
                    Scope::Picker => picker_action(key),
                    Scope::Leaving => leaving_action(key),
                    scope => {
                        let here = |screen: &Screen| scope.includes(*screen);
                        let screen = Screen::ALL.into_iter().find(here);
                        action(screen.expect("it works somewhere"), key)
                    }
                };
                assert_eq!(asked, Some(binding.action), "{code:?}");
            }
            assert!(!binding.help.is_empty() && !binding.written.is_empty());
        }
    }

    #[test]
    fn in_the_list_of_programs_no_key_is_bound_twice_and_no_screen_is_behind_one() {
        let mut seen = Vec::new();
        for binding in TABLE.iter().filter(|binding| binding.scope == Scope::Picker) {
            for key in binding.keys {
                assert!(!seen.contains(key), "{key:?} twice");
                seen.push(*key);
            }
        }
        let press = |c| picker_action(KeyEvent::new(KeyCode::Char(c), NONE));
        assert_eq!(press('q'), Some(Action::Quit));
        assert_eq!([press('1'), press(' '), press('x'), press('r')], [None; 4]);
    }

    #[test]
    fn while_leaving_nothing_else_works() {
        let press = |c| leaving_action(KeyEvent::new(KeyCode::Char(c), NONE));
        assert_eq!(press('d'), Some(Action::Detach));
        assert_eq!(press('k'), Some(Action::Kill), "not up");
        assert_eq!([press('q'), press('1'), press('L'), press('?')], [None; 4]);
        let enter = KeyEvent::new(KeyCode::Enter, NONE);
        assert_eq!(leaving_action(enter), Some(Action::Detach));
    }

    #[test]
    fn every_screen_has_its_digit() {
        for screen in Screen::ALL {
            let key = KeyEvent::new(KeyCode::Char(screen.digit()), NONE);
            assert_eq!(action(Screen::Overview, key), Some(Action::Show(screen)));
        }
    }

    #[test]
    fn shift_does_not_hide_a_character_and_control_is_another_key() {
        let press =
            |c, modifiers| action(Screen::Overview, KeyEvent::new(KeyCode::Char(c), modifiers));
        assert_eq!(press('?', KeyModifiers::SHIFT), Some(Action::Help));
        assert_eq!(press('G', KeyModifiers::SHIFT), Some(Action::Bottom));
        assert_eq!(press('c', CONTROL), Some(Action::Quit));
        assert_eq!(press('c', NONE), None);
        assert_eq!(press('q', CONTROL), None);
        assert_eq!(press('s', NONE), None, "a key of another screen");
    }
}

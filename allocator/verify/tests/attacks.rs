//! Aim: what the table of attacks says of lfalloc holds: what must be stopped is stopped at once, with the address of the block;
//! what cannot be told does no harm that it need not; nothing crashes or hangs. Method: every attack on the shipped library, as it
//! is and hardened, a few trials of those that chance decides; each looks itself whether it got what it wanted.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use lfalloc_verify::attacks::contender::Contender;
use lfalloc_verify::attacks::ending::How::{
    self, Aborted, Crashed, Ignored, IgnoredTold, Stopped, WentThrough,
};
use lfalloc_verify::attacks::program::Program;
use lfalloc_verify::attacks::table::Table;

/// What may become of attacks.
struct Expected {
    /// Names; a trailing `*` stands for any end.
    names: &'static [&'static str],
    default: &'static [How],
    hardened: &'static [How],
    /// Whether hardening ends the program within the call that is wrong.
    at_once: bool,
}

/// The first row that names an attack is its own.
const EXPECTED: [Expected; 16] = [
    Expected {
        names: &["twice-row*", "twice-full", "twice-middle", "twice-large*"],
        default: &[Stopped],
        hardened: &[Stopped],
        at_once: true,
    },
    // It may be gone from the address space: nothing tells it from what was never a block.
    Expected {
        names: &["twice-huge"],
        default: &[IgnoredTold, Stopped],
        hardened: &[Stopped],
        at_once: true,
    },
    // What lies in a magazine is not looked at but for the last block.
    Expected {
        names: &["twice-*", "realloc-freed*"],
        default: &[WentThrough, Stopped, Ignored],
        hardened: &[Stopped],
        at_once: true,
    },
    // Somebody else's by now: nobody can tell.
    Expected {
        names: &["stale-*"],
        default: &[WentThrough],
        hardened: &[WentThrough],
        at_once: false,
    },
    Expected {
        names: &["interior-8", "interior-large-16", "interior-large-page"],
        default: &[Stopped],
        hardened: &[Stopped],
        at_once: true,
    },
    // Its granule is not that of a block's beginning.
    Expected {
        names: &["interior-large-half"],
        default: &[IgnoredTold, Stopped],
        hardened: &[Stopped],
        at_once: true,
    },
    // A magazine takes what lies at a multiple of 16, and the next one who asks for so much gets it.
    Expected {
        names: &["interior-*"],
        default: &[WentThrough, Stopped, Ignored],
        hardened: &[Stopped],
        at_once: true,
    },
    Expected {
        names: &["foreign-*"],
        default: &[IgnoredTold],
        hardened: &[Stopped],
        at_once: true,
    },
    Expected {
        names: &["sized-*", "free-sized-*", "size-*", "unlink", "read-free"],
        default: &[Ignored],
        hardened: &[Ignored],
        at_once: false,
    },
    // There are no links in magazines.
    Expected { names: &["recent-*"], default: &[Ignored], hardened: &[Stopped], at_once: false },
    Expected {
        names: &["usable-size-freed"],
        default: &[Ignored],
        hardened: &[Stopped],
        at_once: true,
    },
    // A link that was right in this life of its superblock: only a bit for each block tells for sure.
    Expected {
        names: &["forged-replayed"],
        default: &[WentThrough, Stopped, Ignored],
        hardened: &[Stopped],
        at_once: false,
    },
    // Ignored: what was written was there before, or lies where nobody looks.
    Expected {
        names: &[
            "written-*",
            "forged-*",
            "over-zero",
            "over-1",
            "over-8",
            "over-16",
            "over-64",
            "under-64",
        ],
        default: &[Stopped, Ignored],
        hardened: &[Stopped, Ignored],
        at_once: false,
    },
    // What lies there may be anybody's.
    Expected {
        names: &["far-*"],
        default: &[Ignored, Stopped, Aborted, Crashed],
        hardened: &[Ignored, Stopped, Aborted, Crashed],
        at_once: false,
    },
    Expected {
        names: &["over-live-*", "under-live-*", "foreseen"],
        default: &[WentThrough],
        hardened: &[WentThrough],
        at_once: false,
    },
    // A freed block is filled when every free is checked.
    Expected {
        names: &["read-reused"],
        default: &[WentThrough],
        hardened: &[Ignored],
        at_once: false,
    },
];

fn expected(attack: &str) -> &'static Expected {
    let is_named = |name: &&str| match name.strip_suffix('*') {
        Some(beginning) => attack.starts_with(beginning),
        None => attack == *name,
    };
    let row = EXPECTED.iter().find(|row| row.names.iter().any(is_named));
    row.unwrap_or_else(|| panic!("nothing is expected of {attack}"))
}

/// Of one attack where chance decides.
const TRIALS: u32 = 4;

#[test]
fn attacks_end_as_the_table_says() {
    let program = Program::compile().unwrap();
    let ours = Contender::ours().unwrap();
    let attacks = program.attacks().unwrap();
    let names: Vec<_> = attacks.iter().map(|attack| attack.name.clone()).collect();
    let table = Table::make(&program, attacks, &ours, |attack, _| attack.trials.min(TRIALS));
    assert!(table.failures.is_empty(), "{:#?}", table.failures);
    let mut wrong = Vec::new();
    for name in &names {
        let expected = expected(name);
        for (contender, allowed) in ours.iter().zip([expected.default, expected.hardened]) {
            let endings = table.cell(name, contender.name).unwrap();
            let is_hardened = contender.guards.is_some();
            let is_late = is_hardened && expected.at_once && endings.latest() > 0;
            if is_late || endings.ways().any(|how| !allowed.contains(&how)) {
                wrong.push(format!("{name} on {}: {endings}, not {allowed:?}", contender.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

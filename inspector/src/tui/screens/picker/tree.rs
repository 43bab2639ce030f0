//! Descendants of a program that was started here, below the one that they descend from.

use std::collections::{BTreeMap, BTreeSet};

use super::NAME;
use crate::survey::Program;
use crate::tui::screens::list::Row;
use crate::tui::theme::Theme;

/// Deeper than this nothing is indented further: the name has to be seen.
const DEEPEST: usize = 5;

/// The same rows, each below the nearest of its ancestors that has one, in the order that they have among themselves; their
/// names are indented.
pub(super) fn arrange(theme: &Theme, rows: Vec<Row>, programs: &[Program]) -> Vec<Row> {
    if programs.iter().all(|program| program.ancestors.is_empty()) {
        return rows;
    }
    let by_key: BTreeMap<u64, &Program> =
        programs.iter().map(|program| (program.id, program)).collect();
    let program = |row: &Row| by_key.get(&row.key).copied();
    // By process id; of an agent and another one in the same process the first.
    let mut places: BTreeMap<u32, usize> = BTreeMap::new();
    for (place, row) in rows.iter().enumerate() {
        if let Some(program) = program(row) {
            places.entry(program.row.pid).or_insert(place);
        }
    }
    let mut children: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut roots = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        let mut ancestors = program(row).into_iter().flat_map(|program| &program.ancestors);
        let parent = ancestors.find_map(|pid| places.get(pid)).filter(|&&parent| parent != place);
        match parent {
            Some(parent) => children.entry(*parent).or_default().push(place),
            None => roots.push(place),
        }
    }
    let mut order = Vec::new();
    let mut met = BTreeSet::new();
    let mut stack: Vec<(usize, usize)> = roots.into_iter().rev().map(|place| (place, 0)).collect();
    // Process ids that were given to others may make a ring, which nothing leads to: its rows come last.
    let mut rest = (0..rows.len()).map(|place| (place, 0));
    while let Some((place, depth)) = stack.pop().or_else(|| rest.next()) {
        if met.insert(place) {
            order.push((place, depth));
            let below = children.get(&place).into_iter().flatten().rev();
            stack.extend(below.map(|child| (*child, depth + 1)));
        }
    }
    let mut rows: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
    let taken = order.into_iter().filter_map(|(place, depth)| {
        let mut row = rows[place].take()?;
        indent(theme, &mut row, depth);
        Some(row)
    });
    taken.collect()
}

fn indent(theme: &Theme, row: &mut Row, depth: usize) {
    if depth == 0 {
        return;
    }
    let branch = if theme.glyphs.ascii { "`-" } else { "└ " };
    if let Some(name) = row.cells.get_mut(NAME) {
        *name = format!("{}{branch}{name}", "  ".repeat(depth.min(DEEPEST) - 1));
    }
}

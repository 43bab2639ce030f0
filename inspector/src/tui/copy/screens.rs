//! What each screen gives to copy.

use lfalloc_protocol::message::{TransitionRecord, cause, state};

use super::{Copied, Heading, MAX_ROWS, Table, counted, exact, figures, text};
use crate::format;
use crate::picture::Superblock;
use crate::tui::class_table::Column;
use crate::tui::data::Data;
use crate::tui::edge::Edge;
use crate::tui::events::Entry;
use crate::tui::model::{Model, Screen};
use crate::tui::screens::{heaps, large, lints, map, stream, transition};

/// Events of a log at most: the newest, as many as fit into a text whatever their figures.
const MAX_EVENTS: usize = 800;
/// Cells of a line that has room for everything.
const WIDE: u16 = 120;

/// What is under the cursor of the screen shown.
pub(super) fn under_cursor(model: &Model, data: &Data) -> Option<Copied> {
    match model.screen {
        Screen::Overview => {
            let lines = figures::lines(model.figure(), data);
            let line = |(name, value, unit): &figures::Line| {
                format!("{name}: {value} {unit}").trim_end().to_owned()
            };
            let texts: Vec<String> = lines.iter().map(line).collect();
            let what = match texts.as_slice() {
                [line] => line.clone(),
                lines => counted(lines.len(), "figure"),
            };
            (!texts.is_empty()).then(|| Copied::new(what, &texts.join("\n")))
        }
        Screen::Classes => {
            let rows = model.classes.rows(data, model.before());
            let open = |class| rows.iter().position(|row| row.figures.record.class == class);
            let place = model.classes.open.map_or(Some(model.classes.position(&rows)), open)?;
            let class = rows.get(place)?.figures.record.class;
            Some(Copied::new(format!("class {class}"), &classes(model, data).pairs(place)?))
        }
        Screen::Map => {
            let id = map::under_cursor(model, data)?;
            let detail = data.detail.as_ref().filter(|detail| detail.id == id);
            let record = data.picture.superblocks.get(id).copied();
            let record = record.or_else(|| map::seen(detail?))?;
            let pairs = superblocks(data, &[record]).pairs(0)?;
            Some(Copied::new(format!("superblock #{id}"), &pairs))
        }
        Screen::Heaps => {
            let (table, place) = heaps::table(model, data);
            Some(Copied::new(heaps::row_name(model), &table.pairs(place)?))
        }
        Screen::Large => {
            let (table, place) = large::table(model, data);
            Some(Copied::new("the large block", &table.pairs(place)?))
        }
        Screen::Lints => {
            let finding = lints::under_cursor(model, data)?;
            let text = format!(
                "{}: {} B\nevidence: {}\nmeaning: {}\nadvice: {}",
                finding.lint.name(),
                finding.bytes,
                finding.evidence,
                finding.lint.meaning(),
                finding.lint.advice()
            );
            Some(Copied::new(finding.lint.name(), &text))
        }
        Screen::Events => event_line(model, data, stream::current(model, data)?),
        Screen::States => match (model.states.event, model.states.edge) {
            (Some(event), _) => event_line(model, data, event),
            (None, Some(edge)) => {
                let pairs = edges(data, &[edge]).pairs(0)?;
                Some(Copied::new(transition::picked(&model.theme, Some(edge)).trim_start(), &pairs))
            }
            (None, None) => all(model, data),
        },
    }
}

/// All of the screen shown.
pub(super) fn all(model: &Model, data: &Data) -> Option<Copied> {
    let copied = |table: &Table, name: &str| {
        Some(Copied::new(counted(table.rows.len(), name), &table.tab_separated()))
    };
    let newest = |table: &Table| {
        let newest = if table.rows.len() < MAX_EVENTS { "" } else { "the newest " };
        copied(table, "event").map(|text| Copied { what: format!("{newest}{}", text.what), ..text })
    };
    match model.screen {
        Screen::Overview => {
            let columns =
                [Heading::new("figure", ""), Heading::new("value", ""), Heading::new("unit", "")];
            let row = |(name, value, unit): figures::Line| vec![name, value, unit.to_owned()];
            let rows = figures::all(data).into_iter().map(row).collect();
            copied(&Table { columns: columns.into(), rows }, "figure")
        }
        Screen::Classes => copied(&classes(model, data), "class row"),
        Screen::Map => Some(map_text(model, data)),
        Screen::Heaps => copied(&heaps::table(model, data).0, "row"),
        Screen::Large => copied(&large::table(model, data).0, "large block"),
        Screen::Lints => copied(&findings(data), "finding"),
        Screen::Events => {
            let admits = |entry: &Entry| stream::admits(model, data, entry);
            let entries = data.events.window(u64::MAX, MAX_EVENTS, admits);
            newest(&events(data, &entries))
        }
        Screen::States if model.states.zoomed => {
            let admits = |entry: &Entry| entry.matches(model.states.edge);
            let entries = data.events.window(u64::MAX, MAX_EVENTS, admits);
            newest(&events(data, &entries))
        }
        Screen::States => copied(&edges(data, &Edge::ALL), "edge"),
    }
}

/// The close look, or the superblocks in order, as many as fit.
fn map_text(model: &Model, data: &Data) -> Copied {
    if let Some((id, _)) = model.map.open {
        let lines = map::close_look(model, data, id, WIDE);
        return Copied::new(format!("the look at superblock #{id}"), &text(&lines));
    }
    let ids = map::in_order(model, data);
    let known = ids.iter().take(MAX_ROWS).filter_map(|id| data.picture.superblocks.get(*id));
    let records: Vec<Superblock> = known.copied().collect();
    let mut copied = Copied::new("", &superblocks(data, &records).tab_separated());
    let kept = copied.text.lines().count().saturating_sub(1);
    copied.what = counted(kept, "superblock");
    if kept < ids.len() {
        let all = format::thousands(ids.len() as u64);
        copied.what = format!("the first {} of {all}", copied.what);
    }
    copied
}

fn classes(model: &Model, data: &Data) -> Table {
    let unit = |column: Column| match column {
        Column::Block | Column::Waste | Column::Savings => "B",
        Column::Utilisation | Column::External | Column::Internal => "%",
        _ => "",
    };
    let columns = Column::ALL.map(|column| match column {
        Column::Class => Heading::new("class", ""),
        column if model.before().is_some() => Heading::new(column.title_of_change(), unit(column)),
        column => Heading::new(column.title(), unit(column)),
    });
    let row = |row| Column::ALL.map(|column| exact(column.value(row))).into();
    Table {
        columns: columns.into(),
        rows: model.classes.rows(data, model.before()).iter().map(row).collect(),
    }
}

fn superblocks(data: &Data, records: &[Superblock]) -> Table {
    let columns = [
        ("superblock", ""),
        ("class", ""),
        ("block", "B"),
        ("state", ""),
        ("live", ""),
        ("reserved", ""),
        ("blocks", ""),
        ("address", ""),
        ("anchor", ""),
        ("avail", ""),
        ("count", ""),
        ("tag", ""),
        ("age", "s"),
    ];
    let row = |record: &Superblock| {
        let info = data.picture.hello.classes.get(usize::from(record.class));
        vec![
            record.id.to_string(),
            record.class.to_string(),
            exact(info.map(|info| f64::from(info.block_bytes))),
            state::name(record.state).to_owned(),
            data.picture.superblock_live_blocks(record).to_string(),
            record.credits.to_string(),
            exact(info.map(|info| f64::from(info.blocks_per_superblock))),
            format!("{:#x}", record.address),
            format!("{:#018x}", record.anchor),
            record.avail.to_string(),
            record.count.to_string(),
            record.tag.to_string(),
            exact(Some(data.picture.age_ns(record) as f64 / 1e9)),
        ]
    };
    Table {
        columns: columns.map(|(name, unit)| Heading::new(name, unit)).into(),
        rows: records.iter().map(row).collect(),
    }
}

fn findings(data: &Data) -> Table {
    let columns = [("finding", ""), ("bytes", "B"), ("raised", ""), ("evidence", "")];
    let row = |finding: &crate::lint::Finding| {
        let raised = if finding.raised { "yes" } else { "not yet" };
        vec![
            finding.lint.name().to_owned(),
            finding.bytes.to_string(),
            raised.to_owned(),
            finding.evidence.clone(),
        ]
    };
    Table {
        columns: columns.map(|(name, unit)| Heading::new(name, unit)).into(),
        rows: data.lints.findings().map(row).collect(),
    }
}

fn edges(data: &Data, edges: &[Edge]) -> Table {
    let columns = [
        ("from", ""),
        ("to", ""),
        ("procedure", ""),
        ("paragraph", ""),
        ("rate", "/s"),
        ("seen", ""),
    ];
    let row = |&edge: &Edge| {
        vec![
            state::name(edge.from()).to_owned(),
            state::name(edge.to()).to_owned(),
            edge.procedure().to_owned(),
            edge.paragraph().to_owned(),
            exact(data.history.edge_rate(edge)),
            data.edges.get(edge).to_string(),
        ]
    };
    Table {
        columns: columns.map(|(name, unit)| Heading::new(name, unit)).into(),
        rows: edges.iter().map(row).collect(),
    }
}

fn events(data: &Data, entries: &[(u64, Entry)]) -> Table {
    let columns = [
        ("time", "s"),
        ("superblock", ""),
        ("block", "B"),
        ("from", ""),
        ("to", ""),
        ("procedure", ""),
        ("paragraph", ""),
        ("tag", ""),
    ];
    let row = |(_, entry): &(u64, Entry)| match entry {
        Entry::Missed(count) => {
            let gap = format!("{count} missed here");
            ["-", "-", "-", "-", "-", &gap, "-", "-"].map(str::to_owned).into()
        }
        Entry::Transition(record) => transition_row(data, record),
    };
    Table {
        columns: columns.map(|(name, unit)| Heading::new(name, unit)).into(),
        rows: entries.iter().map(row).collect(),
    }
}

fn transition_row(data: &Data, record: &TransitionRecord) -> Vec<String> {
    let info = data.picture.hello.classes.get(usize::from(record.class));
    vec![
        format::instant(record.uptime_ns),
        record.superblock.to_string(),
        exact(info.map(|info| f64::from(info.block_bytes))),
        state::name(record.from).to_owned(),
        state::name(record.to).to_owned(),
        cause::name(record.cause).to_owned(),
        cause::paragraph(record.cause).to_owned(),
        record.tag.to_string(),
    ]
}

/// The line of that event, as it is shown where there is room.
fn event_line(model: &Model, data: &Data, event: u64) -> Option<Copied> {
    let entry = data.events.get(event.max(data.events.first()))?;
    let line = transition::entry_line(&model.theme, data, entry, WIDE).to_string();
    let words: Vec<&str> = line.split_whitespace().collect();
    Some(Copied::new("the event", &words.join(" ")))
}

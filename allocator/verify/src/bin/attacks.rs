//! `attacks`: tries every attack on lfalloc and on other allocators, and prints what became of it; then what guards cost.
//!
//! ```text
//! attacks [--only PART] [--allocators A,B] [--trials FACTOR] [--messages] [costs]
//! ```

use std::process::ExitCode;

use lfalloc_verify::attacks::contender::Contenders;
use lfalloc_verify::attacks::program::Program;
use lfalloc_verify::attacks::{cost, table::Table};

const USAGE: &str = "\
attacks [--only PART] [--allocators A,B] [--trials FACTOR] [--messages] [costs]
  --only PART        attacks whose names contain it
  --allocators A,B   these and no others
  --trials FACTOR    so many times as many trials, where chance decides
  --messages         what allocators said
  costs              no attacks, but what guards cost";

/// So many times as often lfalloc is tried as others are, where chance decides.
const OURS: u32 = 5;

struct Options {
    only: String,
    allocators: Vec<String>,
    factor: u32,
    messages: bool,
    costs: bool,
}

fn options() -> Option<Options> {
    let mut options = Options {
        only: String::new(),
        allocators: Vec::new(),
        factor: 1,
        messages: false,
        costs: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match &argument[..] {
            "--only" => options.only = arguments.next()?,
            "--allocators" => {
                options.allocators = arguments.next()?.split(',').map(str::to_owned).collect();
            }
            "--trials" => {
                options.factor = arguments.next()?.parse().ok().filter(|factor| *factor > 0)?;
            }
            "--messages" => options.messages = true,
            "costs" => options.costs = true,
            _ => return None,
        }
    }
    Some(options)
}

fn run(options: &Options) -> Result<ExitCode, String> {
    let contenders = Contenders::find(&options.allocators)?;
    for missing in &contenders.missing {
        eprintln!("{missing}");
    }
    if contenders.all.is_empty() {
        return Err("there is nobody to attack".to_owned());
    }
    if options.costs {
        print!("{}", cost::table(&contenders.all)?);
        return Ok(ExitCode::SUCCESS);
    }
    let program = Program::compile()?;
    let mut attacks = program.attacks()?;
    attacks.retain(|attack| attack.name.contains(&options.only));
    let names: Vec<_> = attacks.iter().map(|attack| attack.name.clone()).collect();
    let table = Table::make(&program, attacks, &contenders.all, |attack, on| match attack.trials {
        1 => 1,
        trials if on.is_ours => trials * options.factor * OURS,
        trials => trials * options.factor,
    });
    print!("{}", table.to_markdown());
    if options.messages {
        for name in &names {
            for contender in &contenders.all {
                let cell = table.cell(name, contender.name);
                for (how, message) in cell.iter().flat_map(|cell| &cell.messages) {
                    let line = message.lines().next().unwrap_or_default();
                    println!("{name}, {}, {}: {line}", contender.name, how.word());
                }
            }
        }
    }
    for failure in &table.failures {
        eprintln!("nothing is shown: {failure}");
    }
    Ok(if table.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    run(&options).unwrap_or_else(|why| {
        eprintln!("{why}");
        ExitCode::FAILURE
    })
}

//! `flowbench plan`.

use std::path::PathBuf;
use std::time::Duration;

use super::exit::Exit;
use super::machine::limits;
use super::print;
use super::problem::Problem;
use super::search::of_block;
use super::suite::Changes;
use crate::capacity::{number, words};
use crate::plan::forecast::{self, Amount, Forecast, LevelUnit, Limits};
use crate::plan::{Division, Load, Plan, Scenario};
use crate::units::{ByteSize, Part, Span};

/// Shows what a suite will do, before any load: schedules, requests, bytes, requests in flight,
/// connections, memory, and which percentiles the samples can certify. Rejects what cannot work.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The suite: a YAML file
    file: PathBuf,
    #[command(flatten)]
    changes: Changes,
    /// Also show how the load is divided among this many parts (`run --part`)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=Part::MAX))]
    parts: Option<u64>,
}

pub(super) fn main(args: Args) -> Exit {
    tell(&args).map_or_else(|problem| problem.print(), |()| Exit::Passed)
}

fn tell(args: &Args) -> Result<(), Problem> {
    let (suite, plan) = args.changes.suite(&args.file)?;
    let limits = limits();
    let forecasts = plan.forecast(limits.cores);
    for (scenario, forecast) in plan.scenarios.iter().zip(&forecasts) {
        print::line(shown(&plan, scenario, forecast, &limits, args.parts))?;
    }
    forecast::check(&suite, &plan, &forecasts, &limits)
        .map_err(|problems| Problem::from(&problems))?;
    if let Some(parts) = args.parts {
        plan.check_parts(&suite, parts, |_| true).map_err(|problems| Problem::from(&problems))?;
    }
    if let Some(settings) = of_block(&plan)? {
        let mut outlook = words::outlook(&settings);
        let count = plan.capacity.as_ref().map_or(1, |block| block.scenarios.len());
        if count > 1 {
            outlook = format!("{outlook}, for each of {count} combinations");
        }
        print::line(format_args!("capacity\n  {:<12} {outlook}\n", "search"))?;
    }
    Ok(())
}

/// `4th`, `3rd`, `12th`.
fn nth(number: u64) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// Describes how a load is divided.
fn divided(scenario: &Scenario, parts: u64) -> String {
    let mut text = match scenario.load {
        Load::Open { .. } if parts == 1 => "1, which sends every arrival".to_owned(),
        Load::Open { .. } => format!("{parts}, of which each sends every {} arrival", nth(parts)),
        _ => format!("{parts}"),
    };
    for division in scenario.divided(parts) {
        let Division { of, share, more, .. } = division;
        text.push_str(&match more {
            0 => format!("; {of} {share}"),
            more => format!("; {of} {} in the first {more}, {share} in the others", share + 1),
        });
    }
    text
}

fn shown(
    plan: &Plan,
    scenario: &Scenario,
    forecast: &Forecast,
    limits: &Limits,
    parts: Option<u64>,
) -> String {
    let mut lines = vec![forecast.name.clone()];
    let mut line = |label: &str, text: String| lines.push(format!("  {label:<12} {text}"));
    let flow = &plan.flows[scenario.flow].name;
    line("target", format!("flow {flow} over {}", scenario.protocol));
    if !scenario.needs.is_empty() {
        let names: Vec<&str> =
            scenario.needs.iter().map(|need| plan.scenarios[*need].name.as_str()).collect();
        line("after", names.join(", "));
    }
    line("schedule", schedule(scenario, forecast));
    if let Some(parts) = parts {
        line("parts", divided(scenario, parts));
    }
    let requests = amount(forecast.requests, "");
    let documents = match forecast.documents {
        Amount::Exactly(0) | Amount::Unknown => String::new(),
        documents => format!(", with {}", amount(documents, " Document")),
    };
    let pace = match (&forecast.requests, &forecast.objective) {
        (Amount::About(_), Some((condition, _))) if forecast.unit == LevelUnit::Clients => {
            format!(", when every request takes what `{condition}` allows")
        }
        _ => String::new(),
    };
    line("requests", format!("{requests}{documents}{pace}"));
    if forecast.request_bytes.is_none() {
        line("bytes", "depend on what earlier steps return".into());
    }
    if let Some(bytes) = forecast.request_bytes {
        let total = match forecast.requests {
            Amount::Exactly(count) | Amount::About(count) => {
                format!(", {} in all", approximate(count as f64 * bytes))
            }
            Amount::Unknown => String::new(),
        };
        line("bytes", format!("{} per request{total}", approximate(bytes)));
    }
    let at_most = match forecast.in_flight_max {
        u64::MAX => "unbounded".to_owned(),
        count => format!("at most {}", number(count)),
    };
    line(
        "in flight",
        match (&forecast.objective, forecast.in_flight) {
            (Some((condition, _)), Some(count)) => format!(
                "{} when every request takes what `{condition}` allows, {at_most}",
                number(count.ceil() as u64)
            ),
            _ => at_most,
        },
    );
    let files = match limits.files {
        u64::MAX => "no limit".to_owned(),
        files => format!("a limit of {} open files", number(files)),
    };
    let carry = match (&forecast.objective, forecast.carried_per_s) {
        (Some((condition, _)), Some(rate)) => format!(
            ", which carry {}/s when every request takes what `{condition}` allows",
            number::number(rate)
        ),
        _ => String::new(),
    };
    line("connections", format!("{}{carry}, with {files}", number(forecast.connections)));
    line("memory", format!("about {}", ByteSize::new(forecast.memory_bytes).approximate()));
    line("percentiles", percentiles(forecast));
    lines.push(String::new());
    lines.join("\n")
}

fn schedule(scenario: &Scenario, forecast: &Forecast) -> String {
    let peak = forecast.peak;
    let level = match forecast.unit {
        LevelUnit::InFlight => return "all Documents once".into(),
        LevelUnit::Clients => format!("up to {} clients", number(peak.round() as u64)),
        LevelUnit::PerSecond => format!("up to {}/s", number::number(peak)),
    };
    let warmup = match scenario.warmup {
        Duration::ZERO => String::new(),
        warmup => format!(", after {} of warmup", span(warmup)),
    };
    match forecast.duration {
        Some(duration) => {
            format!("{} {level} for {}{warmup}", chart(&forecast.levels), span(duration))
        }
        None => format!("until its requests are answered{warmup}"),
    }
}

/// Levels as a one-line bar chart.
fn chart(levels: &[f64]) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let peak = levels.iter().copied().fold(0.0, f64::max);
    let bar = |level: &f64| match *level {
        level if level <= 0.0 || peak <= 0.0 => BARS[0],
        // A positive share is never shown as zero.
        level => BARS[((level / peak * 8.0).round() as usize).clamp(1, 8)],
    };
    levels.iter().map(bar).collect()
}

fn percentiles(forecast: &Forecast) -> String {
    let certified: Vec<String> = forecast.certified.iter().map(ToString::to_string).collect();
    let missing = forecast
        .uncertified
        .map(|(quantile, samples)| format!("{quantile} needs {} requests", number(samples)));
    match (certified.as_slice(), missing) {
        ([], None) => "depend on how many requests are answered".into(),
        ([], Some(missing)) => format!("none can be certified: {missing}"),
        (certified, None) => format!("{} can be certified", certified.join(" ")),
        (certified, Some(missing)) => {
            format!("{} can be certified; {missing}", certified.join(" "))
        }
    }
}

fn amount(amount: Amount, word: &str) -> String {
    let plural = |count: u64| if count == 1 || word.is_empty() { "" } else { "s" };
    match amount {
        Amount::Exactly(count) => format!("{}{word}{}", number(count), plural(count)),
        Amount::About(count) => format!("about {}{word}{}", number(count), plural(count)),
        Amount::Unknown => format!("as many{word} as the Flow answers"),
    }
}

/// A count with separated thousands.
fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn approximate(bytes: f64) -> String {
    ByteSize::new(bytes.round() as u64).approximate()
}

fn span(duration: Duration) -> String {
    let rounded = Duration::from_millis(duration.as_millis() as u64);
    Span::new(rounded).unwrap_or_default().to_string()
}

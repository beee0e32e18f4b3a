//! Plans for a load that changes over the months: how many replicas it needs, and what they cost.

use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Rate;

/// The expected load, and the requirements of the plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The peak of each period, in order; never empty.
    pub peaks: Vec<Peak>,
    /// The share of capacity to keep free at the peak: 0.3.
    pub headroom: f64,
    /// Replicas of the Flow that was measured.
    pub replicas: u32,
    /// Cost of one replica per hour.
    pub cost_per_hour: Option<f64>,
    /// Documents per request.
    pub documents_per_request: f64,
}

/// The peak load of a period.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Peak {
    /// When it begins.
    #[schemars(with = "String")]
    pub from: Date,
    /// Requests per second.
    pub per_s: f64,
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// The share of capacity that stays free.
    pub headroom: f64,
    /// Replicas as measured.
    pub replicas: u32,
    /// What they sustain, in requests per second.
    pub holds_per_s: f64,
    /// What one replica costs per hour.
    pub cost_per_hour: Option<f64>,
    /// One for each period.
    pub steps: Vec<PlannedStep>,
    /// When the replicas as measured no longer sustain the peak with the headroom; null if they always do.
    #[schemars(with = "Option<String>")]
    pub outgrown: Option<Date>,
    /// The same in a sentence, see [`super::words::write`].
    pub words: String,
}

/// What a period needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedStep {
    /// When it begins.
    #[schemars(with = "String")]
    pub from: Date,
    /// The peak.
    pub per_s: f64,
    /// Replicas for it, with the headroom.
    pub replicas: u32,
    /// Replicas with one spare.
    pub with_spare: u32,
    /// What the latter cost per hour.
    pub cost_per_hour: Option<f64>,
    /// What a million Documents cost at the peak.
    pub cost_per_million: Option<f64>,
    /// Whether it is extrapolated beyond twice what was measured, where linear scaling is unverified.
    pub beyond: bool,
}

/// Why a forecast cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForecastError {
    /// A line of the file is wrong.
    #[error("line {line}: {reason}")]
    Line {
        /// Line number, from 1.
        line: usize,
        /// What was found and what was expected.
        reason: String,
    },
    /// There is no line with data.
    #[error("the file has no line with a time and a rate, such as `2027-01-01,3000/s`")]
    Empty,
    /// A growth on the command line is wrong.
    #[error(
        "expected a growth such as `8%/month`, by week, month, quarter or year, above -100% and at \
         most 1000%, found `{0}`"
    )]
    Growth(String),
}

/// Growth from month to month.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// Factor per month: 1.08.
    pub monthly: f64,
}

/// Number of months for which growth is followed.
pub(crate) const MONTHS: i32 = 24;

/// Maximum number of periods in a forecast: more than anybody draws.
const PEAKS_MAX: usize = 10_000;

/// Above this number of replicas, a plan makes no sense.
const REPLICAS_MAX: f64 = 1e6;

impl std::str::FromStr for Growth {
    type Err = ForecastError;

    /// Reads `8%/month`, or a rate per week, quarter or year.
    fn from_str(text: &str) -> Result<Growth, ForecastError> {
        let wrong = || ForecastError::Growth(text.to_owned());
        let (percent, per) = text.split_once("%/").ok_or_else(wrong)?;
        let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
        if !(percent > -100.0 && percent <= 1000.0) {
            return Err(wrong());
        }
        let months = match per.trim() {
            "week" => 12.0 / 52.0,
            "month" => 1.0,
            "quarter" => 3.0,
            "year" => 12.0,
            _ => return Err(wrong()),
        };
        Ok(Growth { monthly: (1.0 + percent / 100.0).powf(1.0 / months) })
    }
}

impl Growth {
    /// The peaks of the coming months, from today's peak.
    pub fn peaks(self, peak_per_s: f64, today: Date) -> Vec<Peak> {
        let month = |n: i32| Peak {
            from: today.saturating_add(jiff::Span::new().months(n)),
            per_s: peak_per_s * self.monthly.powi(n),
        };
        (0..=MONTHS).map(month).collect()
    }
}

/// Reads a table of times and rates: `2027-01-01,3000` or `2027-01,3000/s`, in any order. A first
/// line with neither is a header. If a day has several times, its highest rate counts.
///
/// # Errors
/// For the first line that is wrong.
pub fn read(text: &str) -> Result<Vec<Peak>, ForecastError> {
    let mut peaks: Vec<Peak> = Vec::new();
    let mut first = true;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim().trim_start_matches('\u{feff}');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |reason: String| ForecastError::Line { line: index + 1, reason };
        let (time, rate) = line
            .split_once([',', ';', '\t'])
            .ok_or_else(|| wrong(format!("expected a time and a rate, found `{line}`")))?;
        let (time, rate) = (time.trim().trim_matches('"'), rate.trim().trim_matches('"'));
        let (from, per_s) = (date(time), per_s(rate));
        if std::mem::take(&mut first) && from.is_none() && per_s.is_none() {
            continue;
        }
        let from = from.ok_or_else(|| {
            wrong(format!("expected a date such as `2027-01-31`, found `{time}`"))
        })?;
        let per_s = per_s.ok_or_else(|| {
            wrong(format!(
                "expected a rate such as `3000/s`, at most {}, found `{rate}`",
                Rate::MAX
            ))
        })?;
        if peaks.len() == PEAKS_MAX {
            return Err(wrong(format!("more than {PEAKS_MAX} lines")));
        }
        peaks.push(Peak { from, per_s });
    }
    peaks.sort_by(|a, b| a.from.cmp(&b.from).then(b.per_s.total_cmp(&a.per_s)));
    peaks.dedup_by_key(|peak| peak.from);
    if peaks.is_empty() { Err(ForecastError::Empty) } else { Ok(peaks) }
}

/// A rate, with or without its unit. A period may have no requests at all.
fn per_s(text: &str) -> Option<f64> {
    let number = text.parse().ok().filter(|per_s| (0.0..=Rate::MAX.per_second()).contains(per_s));
    number.or_else(|| Some(text.parse::<Rate>().ok()?.per_second()))
}

/// A day; a month stands for its first day, a time for its date.
fn date(text: &str) -> Option<Date> {
    if text.len() == 7 {
        return format!("{text}-01").parse().ok();
    }
    text.parse().ok().or_else(|| {
        let timestamp: jiff::Timestamp = text.parse().ok()?;
        Some(timestamp.to_zoned(jiff::tz::TimeZone::UTC).date())
    })
}

/// Plans for a Flow that, as measured, sustains `holds_per_s`. Each additional replica adds as much
/// as a measured one.
pub fn plan(holds_per_s: f64, wanted: &Wanted) -> Plan {
    let each = holds_per_s / f64::from(wanted.replicas.max(1));
    let steps: Vec<PlannedStep> = wanted
        .peaks
        .iter()
        .map(|peak| {
            let needed = peak.per_s / (1.0 - wanted.headroom);
            let replicas = (needed / each - 1e-9).ceil().clamp(1.0, REPLICAS_MAX) as u32;
            let with_spare = replicas + 1;
            let cost_per_hour = wanted.cost_per_hour.map(|cost| cost * f64::from(with_spare));
            let documents = peak.per_s * wanted.documents_per_request * 3600.0;
            PlannedStep {
                from: peak.from,
                per_s: peak.per_s,
                replicas,
                with_spare,
                cost_per_hour,
                cost_per_million: cost_per_hour
                    .filter(|_| documents > 0.0)
                    .map(|cost| cost / documents * 1e6),
                beyond: needed > 2.0 * holds_per_s,
            }
        })
        .collect();
    let outgrown = steps.iter().find(|step| step.replicas > wanted.replicas).map(|step| step.from);
    Plan {
        headroom: wanted.headroom,
        replicas: wanted.replicas,
        holds_per_s,
        cost_per_hour: wanted.cost_per_hour,
        steps,
        outgrown,
        words: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::words;
    use super::*;

    fn wanted(peaks: Vec<Peak>) -> Wanted {
        Wanted {
            peaks,
            headroom: 0.3,
            replicas: 2,
            cost_per_hour: Some(1.2),
            documents_per_request: 10.0,
        }
    }

    fn day(text: &str) -> Date {
        text.parse().expect("a date")
    }

    #[test]
    fn growth_outgrows_a_setup_in_the_month_that_arithmetic_says() {
        // 2 replicas sustain 1000/s, 700/s with headroom; 500 · 1.08ⁿ is above that from n = 5 on.
        let growth: Growth = "8%/month".parse().expect("a growth");
        let plan = plan(1000.0, &wanted(growth.peaks(500.0, day("2026-11-15"))));
        assert_eq!(plan.outgrown, Some(day("2027-04-15")));
        let first = &plan.steps[0];
        assert_eq!((first.replicas, first.with_spare), (2, 3));
        assert_eq!(first.cost_per_hour, Some(3.5999999999999996));
        let per_million = first.cost_per_million.expect("a cost");
        assert!((per_million - 3.6 / (500.0 * 10.0 * 3600.0) * 1e6).abs() < 1e-9);
        assert!(
            words::plan(&plan)
                .contains("no longer sustain the peak with 30 % to spare from April 2027 on")
        );
        let last = plan.steps.last().expect("a step");
        assert!(
            last.beyond
                && words::plan(&plan).contains("extrapolated beyond twice the measured 1,000/s")
        );
    }

    #[test]
    fn a_year_of_growth_is_twelve_months_of_it() {
        let year: Growth = "100%/year".parse().expect("a growth");
        assert!((year.monthly.powi(12) - 2.0).abs() < 1e-9);
        for wrong in ["8", "8%", "x%/month", "8%/day", "-200%/month"] {
            assert!(wrong.parse::<Growth>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_table_is_read_in_any_order_and_says_what_is_wrong() {
        let peaks = read(
            "time,rate\n2027-02,400/s\n2027-01-01,300\n# a comment\n2027-03-01T00:00:00Z,6000/min\n",
        );
        let found: Vec<(String, f64)> =
            peaks.expect("a table").iter().map(|p| (p.from.to_string(), p.per_s)).collect();
        let expected = [("2027-01-01", 300.0), ("2027-02-01", 400.0), ("2027-03-01", 100.0)];
        assert_eq!(found, expected.map(|(date, rate)| (date.to_owned(), rate)));
        for (text, reason) in [
            ("", "the file has no line"),
            ("2027-01-01", "line 1: expected a time and a rate"),
            ("time,rate\nsoon,5", "line 2: expected a date"),
            ("2027-02-30,5/s", "line 1: expected a date"),
            ("2027-01-01,1e300", "at most 1000000000/s, found `1e300`"),
            ("2027-01-01,fast", "line 1: expected a rate"),
        ] {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_load_that_stays_small_needs_no_more() {
        let peaks = vec![Peak { from: day("2027-01-01"), per_s: 100.0 }];
        let plan = plan(1000.0, &wanted(peaks));
        assert_eq!((plan.outgrown, plan.steps[0].replicas), (None, 1));
        assert!(words::plan(&plan).starts_with("today's 2 replicas sustain all of the forecast"));
        let one =
            Wanted { replicas: 1, ..wanted(vec![Peak { from: day("2027-01-01"), per_s: 5.0 }]) };
        assert_eq!(
            words::plan(&super::plan(1000.0, &one)),
            "today's one replica sustains all of the forecast with 30 % to spare; January 2027 \
             needs 1 replica for 5/s, 2 with one spare, 13.33 per million Documents at the peak"
        );
    }
}

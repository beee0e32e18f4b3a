//! A plan: how many replicas a load that changes over the months needs, and what they cost.

use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Rate;

/// What is expected, and what is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The peak of each stretch of time, in their order; never empty.
    pub peaks: Vec<Peak>,
    /// The share of capacity that stays free at the peak: 0.3.
    pub headroom: f64,
    /// Replicas of the Flow that was measured.
    pub replicas: u32,
    /// What one replica costs an hour.
    pub cost_per_hour: Option<f64>,
    /// Documents of one request.
    pub documents_per_request: f64,
}

/// The most that is asked in a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Peak {
    /// When it begins.
    #[schemars(with = "String")]
    pub from: Date,
    /// Requests a second.
    pub per_s: f64,
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// The share of capacity that stays free.
    pub headroom: f64,
    /// Replicas as measured.
    pub replicas: u32,
    /// What they hold, in requests a second.
    pub holds_per_s: f64,
    /// What one replica costs an hour.
    pub cost_per_hour: Option<f64>,
    /// One for each stretch of time.
    pub steps: Vec<PlannedStep>,
    /// When the replicas as measured no longer hold the peak with the headroom; null: they always
    /// do.
    #[schemars(with = "Option<String>")]
    pub outgrown: Option<Date>,
    /// The same in a sentence, see [`super::words::write`].
    pub words: String,
}

/// What a stretch of time needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedStep {
    /// When it begins.
    #[schemars(with = "String")]
    pub from: Date,
    /// The peak.
    pub per_s: f64,
    /// Replicas for it, with the headroom.
    pub replicas: u32,
    /// One more, so that one may fail.
    pub with_spare: u32,
    /// What the latter cost an hour.
    pub cost_per_hour: Option<f64>,
    /// What a million Documents cost at the peak.
    pub cost_per_million: Option<f64>,
    /// Whether it is beyond twice what was measured, where nobody knows whether replicas still add
    /// up.
    pub beyond: bool,
}

/// Why a forecast cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForecastError {
    /// A line of the file.
    #[error("line {line}: {reason}")]
    Line {
        /// From 1.
        line: usize,
        /// What was found and what expected.
        reason: String,
    },
    /// There is none.
    #[error("there is no line with a time and a rate, such as `2027-01-01,3000/s`")]
    Empty,
    /// Written on the command line.
    #[error(
        "expected a growth such as `8%/month`, by week, month, quarter or year, above -100% and at \
         most 1000%, found `{0}`"
    )]
    Growth(String),
}

/// Growth from month to month.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// What a month multiplies by: 1.08.
    pub monthly: f64,
}

/// Months that growth is followed for.
pub(crate) const MONTHS: i32 = 24;

/// Stretches of time of one forecast: more than anybody draws.
const PEAKS_MAX: usize = 10_000;

/// Replicas beyond which a number is not a plan any more.
const REPLICAS_MAX: f64 = 1e6;

impl std::str::FromStr for Growth {
    type Err = ForecastError;

    /// Reads `8%/month`, also by `year` or `week`.
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
    /// A peak of today, month by month.
    pub fn peaks(self, peak_per_s: f64, today: Date) -> Vec<Peak> {
        let month = |n: i32| Peak {
            from: today.saturating_add(jiff::Span::new().months(n)),
            per_s: peak_per_s * self.monthly.powi(n),
        };
        (0..=MONTHS).map(month).collect()
    }
}

/// Reads a table of times and rates: `2027-01-01,3000` or `2027-01,3000/s`, in any order. A first
/// line in which nothing is either is a header. Of several times of one day the highest rate counts.
///
/// # Errors
/// The first line that is wrong.
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

/// A rate, with or without its unit. A stretch of time may have none at all.
fn per_s(text: &str) -> Option<f64> {
    let number = text.parse().ok().filter(|per_s| (0.0..=Rate::MAX.per_second()).contains(per_s));
    number.or_else(|| Some(text.parse::<Rate>().ok()?.per_second()))
}

/// A day; a month stands for its first, a time for its day.
fn date(text: &str) -> Option<Date> {
    if text.len() == 7 {
        return format!("{text}-01").parse().ok();
    }
    text.parse().ok().or_else(|| {
        let timestamp: jiff::Timestamp = text.parse().ok()?;
        Some(timestamp.to_zoned(jiff::tz::TimeZone::UTC).date())
    })
}

/// Plans for a Flow that, as measured, holds `holds_per_s`. Each replica adds as much as each of
/// those measured does.
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
        // 2 replicas hold 1000/s, 700/s with headroom; 500 · 1.08ⁿ is above that from n = 5 on.
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
                .contains("no longer hold the peak with 30 % to spare from April 2027 on")
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
            ("", "there is no line"),
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
        assert!(words::plan(&plan).starts_with("the 2 replicas of today hold all of the forecast"));
        let one =
            Wanted { replicas: 1, ..wanted(vec![Peak { from: day("2027-01-01"), per_s: 5.0 }]) };
        assert_eq!(
            words::plan(&super::plan(1000.0, &one)),
            "the one replica of today holds all of the forecast with 30 % to spare; January 2027 needs \
             1 replica for 5/s, 2 with one to spare, 13.33 per million Documents at the peak"
        );
    }
}

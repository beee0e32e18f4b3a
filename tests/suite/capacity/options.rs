//! Plans and choices derived from a search, compared with figures calculated by hand.

use flowbench::capacity::forecast::{self, Growth, Wanted};
use flowbench::capacity::words;
use jiff::civil::{Date, date};

/// A plan for ten Documents per request.
fn wanted(forecast: &str, headroom: f64, replicas: u32) -> Wanted {
    Wanted {
        peaks: forecast::read(forecast).expect("a forecast"),
        headroom,
        replicas,
        cost_per_hour: Some(1.5),
        documents_per_request: 10.0,
    }
}

#[test]
fn a_plan_has_the_replicas_cost_and_month_that_arithmetic_says() {
    // Two replicas sustain 1000/s: 500/s each, of which a quarter stays free.
    let table = "date,rate\n2027-03,2000/s\n2027-01,700/s\n2027-02,54000/min\n";
    let plan = forecast::plan(1000.0, &wanted(table, 0.25, 2));
    let steps: Vec<(Date, f64, u32, u32, Option<f64>, bool)> = plan
        .steps
        .iter()
        .map(|s| (s.from, s.per_s, s.replicas, s.with_spare, s.cost_per_hour, s.beyond))
        .collect();
    let expected = [
        // 933/s need two replicas, 1200/s three, and 2667/s six, which is more than twice 1000/s.
        (date(2027, 1, 1), 700.0, 2, 3, Some(4.5), false),
        (date(2027, 2, 1), 900.0, 3, 4, Some(6.0), false),
        (date(2027, 3, 1), 2000.0, 6, 7, Some(10.5), true),
    ];
    assert_eq!(steps, expected);
    // 4.50 for 700 · 10 · 3600 = 25.2 million Documents an hour, and so on.
    let costs: Vec<f64> = plan.steps.iter().filter_map(|step| step.cost_per_million).collect();
    for (cost, by_hand) in costs.iter().zip([4.5 / 25.2, 6.0 / 32.4, 10.5 / 72.0]) {
        assert!((cost - by_hand).abs() < 1e-9, "{costs:?}");
    }
    assert_eq!(costs.len(), 3);
    assert_eq!(plan.outgrown, Some(date(2027, 2, 1)));
    assert_eq!(
        words::plan(&plan),
        "today's 2 replicas no longer sustain the peak with 25 % to spare from February 2027 on; \
         March 2027 needs 6 replicas for 2,000/s, 7 with one spare, 0.15 per million Documents \
         at the peak (extrapolated beyond twice the measured 1,000/s, linear scaling \
         unverified)"
    );
}

#[test]
fn growth_reaches_the_limit_in_the_month_that_arithmetic_says() {
    // 500/s with 30 % free are 350/s; 300 · 1.1² = 363 is more, 300 · 1.1 = 330 is not.
    let growth: Growth = "10%/month".parse().expect("a growth");
    let peaks = growth.peaks(300.0, date(2027, 1, 31));
    let plan = forecast::plan(500.0, &Wanted { peaks, ..wanted("2027-01-31,1", 0.3, 1) });
    let replicas: Vec<u32> = plan.steps.iter().take(3).map(|step| step.replicas).collect();
    assert_eq!(replicas, [1, 1, 2]);
    // A month after the last day of January is the last day of February.
    assert_eq!(plan.steps[1].from, date(2027, 2, 28));
    assert_eq!(plan.outgrown, Some(date(2027, 3, 31)));
}

#[test]
fn of_several_peaks_of_a_day_the_highest_is_planned_for() {
    let table = "time,rate\n2027-01-01T03:00:00Z,5/s\n2027-01-01T18:00:00Z,90/s\n2027-01-01,0\n";
    let plan = forecast::plan(100.0, &wanted(table, 0.0, 1));
    assert_eq!(plan.steps.len(), 1);
    assert_eq!((plan.steps[0].per_s, plan.steps[0].replicas), (90.0, 1));
    assert_eq!(plan.outgrown, None);
}

//! A comparison as JUnit XML: a test suite per scenario, a test case per gate.

use std::io;

use super::{outcome, sentence, warnings};
use crate::compare::{Comparison, OnInconclusive, Verdict};
use crate::report::escape::xml;

pub(super) fn write(comparison: &Comparison, out: &mut dyn io::Write) -> io::Result<()> {
    let gates = || comparison.scenarios.iter().flat_map(|scenario| &scenario.gates);
    let lets_pass = comparison.inconclusive != OnInconclusive::Fail;
    let failed = |verdict: Verdict| match verdict {
        Verdict::Passed => false,
        Verdict::Regressed => true,
        Verdict::Inconclusive => !lets_pass,
    };
    let failures = gates().filter(|gate| failed(gate.verdict)).count();
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(
        out,
        "<testsuites name=\"{}\" tests=\"{}\" failures=\"{failures}\">",
        xml(&comparison.suite),
        gates().count()
    )?;
    for scenario in &comparison.scenarios {
        let failures = scenario.gates.iter().filter(|gate| failed(gate.verdict)).count();
        let open = |verdict| verdict == Verdict::Inconclusive && lets_pass;
        let skipped = scenario.gates.iter().filter(|gate| open(gate.verdict)).count();
        let name = xml(&scenario.name);
        writeln!(
            out,
            "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{failures}\" skipped=\"{skipped}\">",
            scenario.gates.len()
        )?;
        for gate in &scenario.gates {
            write!(out, "    <testcase classname=\"{name}\" name=\"{}\"", xml(&gate.gate))?;
            let text = xml(&sentence(gate));
            let word = outcome(gate);
            match gate.verdict {
                Verdict::Passed => {
                    writeln!(out, "><system-out>{word}: {text}</system-out></testcase>")?;
                }
                verdict if failed(verdict) => writeln!(
                    out,
                    "><failure type=\"{word}\" message=\"{text}\">{text}</failure></testcase>"
                )?,
                _ => writeln!(out, "><skipped message=\"{word}: {text}\"/></testcase>")?,
            }
        }
        writeln!(out, "  </testsuite>")?;
    }
    let warnings = warnings(comparison);
    if !warnings.is_empty() {
        // Only a test suite can have output outside of its cases.
        writeln!(out, "  <testsuite name=\"notes\" tests=\"0\" failures=\"0\">")?;
        writeln!(out, "    <system-out>{}</system-out>", xml(&warnings.join("\n")))?;
        writeln!(out, "  </testsuite>")?;
    }
    writeln!(out, "</testsuites>")
}

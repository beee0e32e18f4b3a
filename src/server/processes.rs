//! The processes of a command on this machine: CPU, memory and threads, from `/proc`.

use std::collections::{HashMap, HashSet};
use std::fs;

use super::readings::{Counts, Quantity};

/// The processes that a command started: those of its group, and all their descendants.
#[derive(Debug)]
pub(super) struct Processes {
    group: i32,
    /// Clock ticks used by each process, by its id and start time.
    last: HashMap<(i32, u64), u64>,
    looked: bool,
    /// All together, with those of processes that have ended.
    cpu_s: f64,
    /// Of the process that used most from one look to the next, added up.
    busiest_s: f64,
}

/// One process, from `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    pid: i32,
    parent: i32,
    group: i32,
    ticks: u64,
    threads: u64,
    began: u64,
    pages: u64,
}

impl Processes {
    pub(super) fn of_group(group: i32) -> Processes {
        Processes { group, last: HashMap::new(), looked: false, cpu_s: 0.0, busiest_s: 0.0 }
    }

    /// Their current usage; `None` if it is unknown.
    pub(super) fn look(&mut self) -> Option<Counts> {
        let all: Vec<Stat> = fs::read_dir("/proc")
            .ok()?
            .filter_map(|entry| {
                let name = entry.ok()?.file_name();
                let pid: i32 = name.to_str()?.parse().ok()?;
                stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
            })
            .collect();
        let ours = tree(&all, self.group);
        if ours.is_empty() {
            return None;
        }
        let looked = std::mem::replace(&mut self.looked, true);
        let per_s = rustix::param::clock_ticks_per_second().max(1) as f64;
        let mut busiest: f64 = 0.0;
        for process in &ours {
            let last = self.last.insert((process.pid, process.began), process.ticks);
            // Of one that is new since the last look, all it used was since then.
            let known = last.or(looked.then_some(0));
            let used = process.ticks.saturating_sub(known.unwrap_or(process.ticks)) as f64 / per_s;
            self.cpu_s += used;
            busiest = busiest.max(used);
        }
        self.busiest_s += busiest;
        let there: HashSet<(i32, u64)> = ours.iter().map(|p| (p.pid, p.began)).collect();
        self.last.retain(|process, _| there.contains(process));
        let mut counts = Counts::default();
        counts.set(Quantity::CpuSeconds, self.cpu_s);
        counts.set(Quantity::BusiestSeconds, self.busiest_s);
        let pages: u64 = ours.iter().map(|process| process.pages).sum();
        counts.set(Quantity::Memory, (pages * rustix::param::page_size() as u64) as f64);
        let threads: u64 = ours.iter().map(|process| process.threads).sum();
        counts.set(Quantity::Threads, threads as f64);
        Some(counts)
    }
}

/// The processes of a group, and their descendants.
fn tree(all: &[Stat], group: i32) -> Vec<Stat> {
    let mut ours: HashSet<i32> =
        all.iter().filter(|process| process.group == group).map(|process| process.pid).collect();
    loop {
        let more: Vec<i32> = all
            .iter()
            .filter(|process| ours.contains(&process.parent) && !ours.contains(&process.pid))
            .map(|process| process.pid)
            .collect();
        if more.is_empty() {
            break;
        }
        ours.extend(more);
    }
    all.iter().filter(|process| ours.contains(&process.pid)).copied().collect()
}

/// Parses a line of `stat`. The name, in parentheses, may contain anything.
fn stat(line: &str) -> Option<Stat> {
    let (pid, rest) = line.split_once(" (")?;
    let (_, rest) = rest.rsplit_once(") ")?;
    // From the third field on; proc(5) counts from 1.
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<i64>().ok();
    let count = |field: usize| number(field).and_then(|number| u64::try_from(number).ok());
    Some(Stat {
        pid: pid.parse().ok()?,
        parent: i32::try_from(number(4)?).ok()?,
        group: i32::try_from(number(5)?).ok()?,
        ticks: count(14)? + count(15)?,
        threads: count(20)?,
        began: count(22)?,
        pages: count(24)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name_is() {
        let line = "42 (a) (b) S 1 7 7 0 -1 4194304 100 0 0 0 30 12 0 0 20 0 5 0 999 1000000 250 18446744073709551615 1";
        let expected =
            Stat { pid: 42, parent: 1, group: 7, ticks: 42, threads: 5, began: 999, pages: 250 };
        assert_eq!(stat(line), Some(expected));
        for line in
            ["", "42", "42 (a", "42 (a) S 1", "x (a) S 1 7 7 0 -1 4 1 0 0 0 3 1 0 0 2 0 5 0 9 1 2"]
        {
            assert_eq!(stat(line), None, "{line}");
        }
    }

    #[test]
    fn a_tree_has_those_of_the_group_and_their_children() {
        let process = |pid, parent, group| Stat {
            pid,
            parent,
            group,
            ticks: 0,
            threads: 1,
            began: 0,
            pages: 0,
        };
        let all = [
            process(1, 0, 1),
            process(10, 1, 10),
            process(11, 10, 10),
            process(12, 11, 12),
            process(13, 12, 12),
        ];
        let pids = |group| tree(&all, group).iter().map(|process| process.pid).collect::<Vec<_>>();
        assert_eq!(pids(10), [10, 11, 12, 13]);
        assert_eq!(pids(99), [0; 0]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn our_own_processes_use_something() {
        let own = rustix::process::getpgrp().as_raw_nonzero().get();
        let mut processes = Processes::of_group(own);
        let first = processes.look().expect("we are there");
        let mut sum = 0u64;
        let began = std::time::Instant::now();
        while began.elapsed().as_millis() < 60 {
            sum = sum.wrapping_mul(31).wrapping_add(7);
        }
        assert_ne!(sum, 1);
        let then = processes.look().expect("we are there");
        assert!(
            first.get(Quantity::Memory) > Some(1e6) && then.get(Quantity::Threads) >= Some(1.0)
        );
        assert!(then.get(Quantity::CpuSeconds) > first.get(Quantity::CpuSeconds));
        assert!(then.get(Quantity::BusiestSeconds) <= then.get(Quantity::CpuSeconds));
    }
}

//! `forget --simulate`: how many snapshots the rules leave over time, as a table or as JSON. Removes nothing.

use std::time::Duration;

use anyhow::Result;
use repo_core::format::json::{Array, Object};
use repo_core::ops::forget::{Candidate, FutureState, SimulateError, Simulation, rhythm, simulate};
use repo_core::snapshots::{self, Filter, GroupKey, Stored};
use repo_core::time::Time;

use super::{explained, in_order, key_json};
use crate::args::forget::Forget;
use crate::exit::wrong;
use crate::select;
use crate::session::Session;
use crate::ui::amount::date_time;
use crate::ui::snapshot_table::group_heading;
use crate::ui::table::Table;

/// So many rows, besides that of today.
const ROWS: u32 = 12;

pub fn run(session: &Session, args: &Forget, filter: &Filter) -> Result<()> {
    let repository = session.open()?;
    let mut found = select::many(session, &repository, &[], filter)?.found;
    in_order(args, &mut found);
    // The same refusals as when it is done.
    let options = super::options(session, args);
    repo_core::ops::forget::plan(&session.context, found.clone(), &options).map_err(explained)?;

    let mut json = Vec::new();
    let mut array = Array::begin(&mut json);
    for (key, members) in snapshots::group(found, args.group_by) {
        let (every, states) = future(session, args, &members)?;
        if session.settings.json {
            group_json(array.element(), &key, every, &states);
        } else {
            print(session, args, &key, every, &states);
        }
    }
    array.end();
    if session.settings.json {
        json.push(b'\n');
        session.screen.bytes(&json);
    }
    Ok(())
}

/// The rhythm of a group's backups, and what comes of them.
fn future(session: &Session, args: &Forget, members: &[Stored]) -> Result<(Duration, Vec<FutureState>)> {
    let now = session.context.now();
    let candidates: Vec<Candidate<'_>> = members.iter().rev().map(Candidate::from).collect();
    let times: Vec<Time> = candidates.iter().map(|one| one.time).filter(|time| *time <= now).collect();
    let policy = args.policy();
    let simulation = Simulation {
        policy: &policy,
        now,
        span: args.simulate.unwrap_or_default(),
        every: rhythm(&times),
        local: &session.settings.zone,
        zone: args.time_zone.as_ref(),
        moments: ROWS,
    };
    match simulate(&simulation, &candidates, &session.context.cancel) {
        Ok(states) => Ok((simulation.every, states)),
        Err(error @ SimulateError::TooLong { .. }) => {
            let every = told(simulation.every);
            let remedy = format!("The last backups were {every} apart; look at a shorter span.");
            Err(wrong(error.to_string(), remedy))
        }
        Err(error) => Err(error.into()),
    }
}

fn print(session: &Session, args: &Forget, key: &GroupKey, every: Duration, states: &[FutureState]) {
    let heading = group_heading(key, args.group_by);
    if !heading.is_empty() {
        session.screen.line(heading);
    }
    session.screen.line(format!("with a backup every {}, as the last ones were:", told(every)));
    let mut table = Table::default();
    table.column("Time").column("Snapshots").column("Removed").column("Oldest");
    for state in states {
        let oldest = state.oldest.map(|time| date_time(session.settings.zone.at(time.instant)));
        table.row([
            date_time(state.time),
            state.kept.to_string(),
            state.removed.to_string(),
            oldest.unwrap_or_default(),
        ]);
    }
    session.screen.lines(table.lines());
    session.screen.line("");
}

fn group_json(out: &mut Vec<u8>, key: &GroupKey, every: Duration, states: &[FutureState]) {
    let mut object = Object::begin(out);
    key_json(&mut object, key);
    object.number("seconds_between_backups", every.as_secs());
    let mut future = Array::begin(object.key("future"));
    for state in states {
        let mut row = Object::begin(future.element());
        row.time("time", state.time).number("snapshots", state.kept as u64).number("removed", state.removed);
        if let Some(oldest) = state.oldest {
            row.time("oldest", oldest);
        }
        row.end();
    }
    future.end();
    object.end();
}

/// A span for people: days, hours and minutes, the two largest of them.
fn told(span: Duration) -> String {
    let minutes = (span.as_secs() + 30) / 60;
    let (days, hours, minutes) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{}s", span.as_secs()),
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, 0) => format!("{hours}h"),
        (0, hours, minutes) => format!("{hours}h{minutes}m"),
        (days, 0, _) => format!("{days}d"),
        (days, hours, _) => format!("{days}d{hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_by_their_largest_parts() {
        let check = |seconds, expected: &str| assert_eq!(told(Duration::from_secs(seconds)), expected);
        check(5, "5s");
        check(3600, "1h");
        check(5430, "1h31m");
        check(86_400, "1d");
        check(90_061, "1d1h");
        check(604_799, "7d");
    }
}

//! Does the soak find what each step of the protocol prevents? Against a pgditto without that step.

use std::time::Duration;

use super::live::{Anomaly, Focus, Plan, soak};
use super::{asked, fresh_seed};
use pgditto::planted::Step;

/// Each step with the anomalies that may belong to its absence.
const STEPS: &[(Step, &[Anomaly])] = &[
    (Step::NoMark, STALE),
    (Step::MarksDropped, STALE),
    (Step::LateVersions, STALE),
    (Step::VersionsAtExecute, STALE),
    (Step::VersionsIgnored, STALE),
    (Step::SettledAtT, STALE),
    (Step::BeforeOnly, STALE),
    (Step::AfterAcknowledgement, STALE),
    (Step::NoStartBarrier, STALE),
    (Step::PreparedOverlooked, STALE),
    (Step::SettledAtPrepare, STALE),
    (Step::StandbyWaitEnded, &[Anomaly::PublishedEarly]),
    (
        Step::GuardLossIgnored,
        &[Anomaly::Unhappened, Anomaly::Torn, Anomaly::WrongInTheEnd],
    ),
    (Step::LeaseIgnored, STALE),
    (Step::UnprovenConnections, STALE),
    (Step::OthersIgnored, STALE),
    (Step::NotWidened, STALE),
    (Step::EarlyFootprints, STALE),
    (Step::FollowerWithLease, &[Anomaly::Deadlocked]),
    (Step::LateFollower, STALE),
];

/// An answer that was true once: as a whole, so it is not torn.
const STALE: &[Anomaly] = &[
    Anomaly::StaleAfterAcknowledgement,
    Anomaly::BackwardsInTime,
    Anomaly::BackwardsAcrossRows,
    Anomaly::WrongInTheEnd,
];

fn focus(step: Step) -> Focus {
    match step {
        Step::MarksDropped => Focus::Cuts,
        Step::NoStartBarrier => Focus::Kills,
        Step::GuardLossIgnored => Focus::Crashes,
        Step::PreparedOverlooked => Focus::Prepared,
        Step::StandbyWaitEnded => Focus::Standby,
        Step::LeaseIgnored => Focus::Silence,
        Step::UnprovenConnections => Focus::Elsewhere,
        Step::OthersIgnored => Focus::Others,
        Step::VersionsAtExecute
        | Step::SettledAtPrepare
        | Step::NotWidened
        | Step::EarlyFootprints
        | Step::FollowerWithLease
        | Step::LateFollower => Focus::Nothing,
        _ => Focus::Everything,
    }
}

/// `make soak-planted`: `STEP` for one of them, `SECONDS_OF_SOAK` for how long each may take.
#[test]
fn the_soak_finds_what_each_step_of_the_protocol_prevents() {
    let most = Duration::from_secs(asked("SECONDS_OF_SOAK", 120));
    let only = std::env::var("STEP").unwrap_or_default();
    let mut missed = Vec::new();
    let mut table = String::new();
    for (step, expected) in STEPS {
        let name = format!("{step:?}");
        if !only.is_empty() && only != name {
            continue;
        }
        let began = std::time::Instant::now();
        let plan = Plan {
            seed: fresh_seed(),
            lasts: most,
            focus: focus(*step),
            planted: Some(name.clone()),
        };
        let report = soak(&plan);
        println!("{name}: {}", report.text);
        let found = report
            .anomalies
            .iter()
            .find(|(anomaly, _, _)| expected.contains(anomaly));
        let line = match found {
            Some((anomaly, _, first)) => {
                format!("{anomaly:?} after {} s: {first}", began.elapsed().as_secs())
            }
            None => "nothing found".to_owned(),
        };
        if found.is_none() {
            missed.push(name.clone());
        }
        table.push_str(&format!("{name:<22} {line}\n"));
    }
    println!("{table}");
    assert!(missed.is_empty(), "not found: {missed:?}\n{table}");
}

/// `make soak-planted`, too: what steps are left out under, by itself, against a pgditto that leaves out none. `STRIKE` for
/// one of them.
#[test]
fn a_whole_protocol_withstands_each_strike_by_itself() {
    let lasts = Duration::from_secs(asked("SECONDS_OF_SOAK", 120) / 4);
    let only = std::env::var("STRIKE").unwrap_or_default();
    for focus in Focus::ALL {
        if !only.is_empty() && only != format!("{focus:?}") {
            continue;
        }
        let report = soak(&Plan {
            seed: fresh_seed(),
            lasts,
            focus,
            planted: None,
        });
        println!("{focus:?}: {}", report.text);
        assert!(report.anomalies.is_empty(), "{focus:?}: {}", report.text);
    }
}

//! Three hours of the simulated day, on which the operator must score better than the HPA.

use super::*;
use crate::rules::operator::MAX_MOVES_PER_SECOND;

/// A client may find no room while the pods that its crowd needs start; longer is a pool that does
/// not grow.
const MOST_WAIT_SECONDS: i64 = 60;

fn evening(rules: impl Rules) -> Score {
    play(rules, &Day::evening(100_000), 1).unwrap()
}

#[test]
fn operator_moves_fewer_clients_than_hpa() {
    let operator = evening(Operator::new().unwrap());
    for victim in [Victim::Random, Victim::Emptiest] {
        let hpa = evening(Hpa::new(victim));
        assert!(
            operator.moves * 100 <= hpa.moves * 80,
            "the operator moved {}, the HPA {} ({victim:?})",
            operator.moves,
            hpa.moves
        );
    }
    assert!(operator.moves > 5_000, "a pool that never shrinks has no moves");
    assert_eq!(operator.cut, 0, "clients whose pod was deleted under them");
}

#[test]
fn moves_stay_within_limit_per_second() {
    let operator = evening(Operator::new().unwrap());
    assert!(
        operator.peak <= MAX_MOVES_PER_SECOND,
        "{} clients were moved in one second",
        operator.peak
    );
}

#[test]
fn a_flash_crowd_finds_room() {
    let operator = evening(Operator::new().unwrap());
    assert!(
        operator.longest_wait <= MOST_WAIT_SECONDS,
        "a client waited {} s",
        operator.longest_wait
    );
    let desired = |points: &[score::Point]| points.iter().map(|point| point.pods.desired).max();
    assert!(
        desired(&operator.points) > operator.points.first().map(|point| point.pods.desired),
        "the pool did not grow"
    );
    assert!(
        operator.points.last().unwrap().pods.existing < 9,
        "the pool did not shrink: {:?}",
        operator.points.last()
    );
}

#[test]
fn equal_seeds_make_equal_days() {
    let play = |seed| play(Operator::new().unwrap(), &Day::evening(20_000), seed).unwrap();
    let of = |score: Score| (score.moves, score.pod_seconds, score.peak);
    assert_eq!(of(play(7)), of(play(7)));
    assert_ne!(of(play(7)), of(play(8)));
}

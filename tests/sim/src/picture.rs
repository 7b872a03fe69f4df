//! A day as an SVG: clients, pods and moves over time, under the operator and under the rules of
//! the HPA.

use std::time::Duration;

use wsc_testing::svg::{Frame, Panel, Svg};

use crate::day::Day;
use crate::score::{POINT_SECONDS, Point, Score};

const CLIENTS: Panel = Panel {
    top: 56.0,
    bottom: 156.0,
};
const PODS: Panel = Panel {
    top: 194.0,
    bottom: 304.0,
};
const MOVES: Panel = Panel {
    top: 342.0,
    bottom: 412.0,
};
const KILLS: Panel = Panel {
    top: 450.0,
    bottom: 520.0,
};

/// The picture of a day.
pub(crate) fn render(day: &Day, operator: &Score, hpa: &Score) -> String {
    let mut svg = Svg::new(&Frame {
        title: &format!(
            "A day of {} clients: the operator beside the rules of the HPA",
            day.most
        ),
        label: "Clients, pods and moved clients over a day",
        time: "time of the day (h)",
        panels: &[CLIENTS, PODS, MOVES, KILLS],
        duration: duration(day.ends - day.begins),
        unit: Duration::from_hours(1),
        ticks: 12,
    });
    let clients = line(day, operator, |point| point.connected);
    let scale = svg.panel(&CLIENTS, "connected clients", most(&[&clients]));
    svg.steps("clients", &clients, &CLIENTS, scale);

    let lines = [
        (
            "desired",
            "desired",
            line(day, operator, |point| point.pods.desired),
        ),
        ("active", "active", line(day, operator, |point| point.pods.active)),
        (
            "draining",
            "draining",
            line(day, operator, |point| point.pods.draining),
        ),
        ("other", "HPA rules", line(day, hpa, |point| point.pods.existing)),
    ];
    let scale = svg.panel(
        &PODS,
        "server pods",
        lines.iter().map(|(.., line)| most(&[line])).max().unwrap_or(0),
    );
    for ((class, name, line), x) in lines.iter().zip([380.0, 500.0, 620.0, 740.0]) {
        svg.steps(class, line, &PODS, scale);
        svg.legend(x, PODS.top, class, name);
    }
    for (panel, class, title, score) in [
        (&MOVES, "moved", "peak of moves per second, operator", operator),
        (
            &KILLS,
            "dropped",
            "peak of clients cut per second, HPA rules",
            hpa,
        ),
    ] {
        let peaks: Vec<usize> = score.points.iter().map(|point| size(point.peak)).collect();
        let scale = svg.panel(panel, title, peaks.iter().copied().max().unwrap_or(0));
        svg.bars(class, &peaks, duration(POINT_SECONDS), panel, scale);
        svg.legend(620.0, panel.top, class, &format!("{} in the day", score.moves));
    }
    svg.finish()
}

fn line(day: &Day, score: &Score, value: fn(&Point) -> i64) -> Vec<(Duration, usize)> {
    let points = score.points.iter();
    points
        .map(|point| (duration(point.at - day.begins), size(value(point))))
        .collect()
}

fn most(lines: &[&Vec<(Duration, usize)>]) -> usize {
    let points = lines.iter().flat_map(|line| line.iter());
    points.map(|(_, value)| *value).max().unwrap_or(0)
}

fn duration(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn size(count: i64) -> usize {
    usize::try_from(count).unwrap_or(0)
}

//! The live screen on a terminal, and the lines where there is none.

use std::io::{IsTerminal, stdin, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Table, Wrap};
use rustix::process::{Signal, kill_current_process_group};

use super::dashboard::{Dashboard, Snapshot, in_words};
use super::pool::ServerPod;
use wsc_testing::output::complain;

/// Between two pictures.
const PICTURE: Duration = Duration::from_millis(200);
/// Between two lines of numbers.
const LINE: Duration = Duration::from_secs(5);
/// Cells of the bar that shows how full a pod is.
const BAR_CELLS: usize = 40;

/// Shows the dashboard until it is dropped; then the terminal is as it was before.
#[derive(Debug)]
pub(crate) struct Display {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Is there a person in front of a terminal?
pub(crate) fn is_watched() -> bool {
    stdin().is_terminal() && stdout().is_terminal()
}

impl Display {
    /// Starts to show the dashboard.
    pub(crate) fn start(dashboard: Arc<Dashboard>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let thread = thread::spawn(move || {
            if dashboard.is_plain() {
                lines(&dashboard, &stop);
            } else if let Err(err) = pictures(&dashboard, &stop) {
                complain(&format!("the terminal failed: {err}"));
            }
        });
        Self {
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it panicked with is on the terminal already.
            let _ = thread.join();
        }
    }
}

fn lines(dashboard: &Dashboard, over: &AtomicBool) {
    let mut waited = Duration::ZERO;
    while !over.load(Ordering::Relaxed) {
        thread::sleep(PICTURE);
        waited += PICTURE;
        if waited >= LINE {
            waited = Duration::ZERO;
            dashboard.note(dashboard.snapshot().line());
        }
    }
}

fn pictures(dashboard: &Dashboard, over: &AtomicBool) -> std::io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let outcome = (|| {
        while !over.load(Ordering::Relaxed) {
            terminal.draw(|frame| draw(frame, &dashboard.snapshot()))?;
            if event::poll(PICTURE)? {
                obey(&event::read()?)?;
            }
        }
        Ok(())
    })();
    ratatui::try_restore()?;
    outcome
}

/// While keys are read one by one, the terminal sends no signals by itself. The whole job has to
/// hear of Ctrl-C: what started the demo has a Kubernetes to clean up.
fn obey(event: &Event) -> std::io::Result<()> {
    let Event::Key(key) = event else {
        return Ok(());
    };
    let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    if control_c || key.code == KeyCode::Char('q') {
        kill_current_process_group(Signal::INT)?;
    }
    Ok(())
}

fn draw(frame: &mut Frame<'_>, snapshot: &Snapshot) {
    let pods = u16::try_from(snapshot.pool.pods.len()).unwrap_or(u16::MAX);
    let rows = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(pods.max(2).saturating_add(2)),
        Constraint::Length(6),
        Constraint::Length(5),
        Constraint::Min(3),
    ]);
    let [title, table, numbers, decision, notes] = rows.areas(frame.area());
    let endpoint = snapshot.pool.status.endpoint.as_deref().unwrap_or("");
    let heading = Line::from(vec![
        "websocket-operator demo".bold(),
        format!("  {:.0} s  {endpoint}", snapshot.elapsed.as_secs_f64()).into(),
    ]);
    let phase = Line::from(format!("{} (q ends it and cleans up)", snapshot.phase)).cyan();
    frame.render_widget(Paragraph::new(vec![heading, phase]), title);
    draw_pods(frame, table, snapshot);
    let paragraph = |name: &'static str, lines: Vec<Line<'static>>| {
        Paragraph::new(lines)
            .wrap(Wrap { trim: true })
            .block(Block::bordered().title(name))
    };
    frame.render_widget(paragraph(" numbers ", number_lines(snapshot)), numbers);
    let words = snapshot.pool.status.last_decision.as_ref().map(in_words);
    let words = words.unwrap_or_else(|| "none yet".to_owned());
    frame.render_widget(paragraph(" last decision ", vec![Line::from(words)]), decision);
    let room = usize::from(notes.height.saturating_sub(2));
    let newest = snapshot.notes.iter().rev().take(room).rev();
    let newest: Vec<_> = newest.map(|note| Line::from(note.clone())).collect();
    frame.render_widget(
        Paragraph::new(newest).block(Block::bordered().title(" what happened ")),
        notes,
    );
}

fn draw_pods(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot) {
    let rows = snapshot.pool.pods.iter().map(|(name, pod)| {
        let (connections, capacity) = load(pod);
        let color = if pod.state == "Active" {
            Color::Green
        } else {
            Color::Yellow
        };
        Row::new(vec![
            Line::from(name.clone()),
            Line::from(Span::styled(pod.state.clone(), Style::new().fg(color))),
            Line::from(format!("{connections:>5}")),
            Line::from(Span::styled(bar(connections, capacity), Style::new().fg(color))),
        ])
    });
    let cells = u16::try_from(BAR_CELLS).unwrap_or(u16::MAX);
    let widths = [
        Constraint::Length(12),
        Constraint::Length(10),
        Constraint::Length(6),
        Constraint::Length(cells),
    ];
    frame.render_widget(
        Table::new(rows, widths).block(Block::bordered().title(" server pods ")),
        area,
    );
}

fn load(pod: &ServerPod) -> (u64, u64) {
    let stats = pod.stats.as_ref();
    stats.map_or((0, 0), |stats| (stats.connections, stats.capacity))
}

/// Full cells up to the connections, light ones up to the capacity.
fn bar(connections: u64, capacity: u64) -> String {
    if capacity == 0 {
        return String::new();
    }
    let full = connections.min(capacity) * BAR_CELLS as u64 / capacity;
    let full = usize::try_from(full).unwrap_or(BAR_CELLS).min(BAR_CELLS);
    format!("{}{}", "█".repeat(full), "░".repeat(BAR_CELLS - full))
}

fn number_lines(snapshot: &Snapshot) -> Vec<Line<'static>> {
    let (status, clients) = (&snapshot.pool.status, &snapshot.clients);
    let unasked = format!("{} unexpected", clients.unasked);
    let unasked = if clients.unasked == 0 {
        unasked.green()
    } else {
        unasked.red()
    };
    vec![
        Line::from(format!(
            "pods      {} desired, {} active, {} starting, {} draining",
            status.desired_replicas,
            snapshot.pool.active(),
            status.starting_replicas,
            status.draining_replicas
        )),
        Line::from(format!(
            "clients   {} connected, {} handshakes refused",
            clients.open, clients.refused
        )),
        Line::from(format!(
            "messages  {} sent, {} received",
            clients.sent, clients.received
        )),
        Line::from(vec![
            format!("closes    {} requested, ", clients.asked).into(),
            unasked,
        ]),
    ]
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use wsc_contract::control::Stats;

    use super::*;

    fn snapshot() -> Snapshot {
        let mut snapshot = Snapshot {
            elapsed: Duration::from_secs(42),
            phase: "clients come".to_owned(),
            notes: (0..20).map(|number| format!("note {number}")).collect(),
            ..Snapshot::default()
        };
        let pod = |state: &str, connections| ServerPod {
            state: state.to_owned(),
            stats: Some(Stats {
                connections,
                capacity: 80,
                ..Stats::default()
            }),
            ..ServerPod::default()
        };
        snapshot.pool.pods.insert("chat-0".to_owned(), pod("Active", 40));
        snapshot.pool.pods.insert("chat-1".to_owned(), pod("Shedding", 3));
        snapshot.clients.sent = 812;
        snapshot.clients.unasked = 1;
        snapshot
    }

    #[test]
    fn screen_shows_pods_and_newest_notes() {
        let mut terminal = Terminal::new(TestBackend::new(100, 26)).unwrap();
        terminal.draw(|frame| draw(frame, &snapshot())).unwrap();
        let screen = terminal.backend().to_string();
        for text in [
            "42 s",
            "clients come",
            "chat-0",
            "Shedding",
            &"█".repeat(BAR_CELLS / 2),
            "1 active",
            "812 sent",
            "0 requested, 1 unexpected",
            "none yet",
            "note 19",
        ] {
            assert!(screen.contains(text), "{text} is missing:\n{screen}");
        }
        assert!(!screen.contains("note 0\""), "{screen}");
    }

    #[test]
    fn small_terminal_does_not_fail() {
        for (width, height) in [(1, 1), (20, 3), (300, 5)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| draw(frame, &snapshot())).unwrap();
        }
    }

    #[test]
    fn a_bar_is_never_longer_than_full() {
        let full = |connections, capacity| {
            bar(connections, capacity)
                .chars()
                .filter(|cell| *cell == '█')
                .count()
        };
        assert_eq!(
            (full(0, 80), full(40, 80), full(80, 80), full(99, 80)),
            (0, 20, 40, 40)
        );
        assert_eq!(bar(3, 0), "");
        assert_eq!(bar(40, 80).chars().count(), BAR_CELLS);
    }
}

//! The fuzz targets with the compiler of everything else: all of their corpus, and a bounded number
//! of random mutations of it.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use wsc_server::handshake::refusal::Refusal;
use wsc_server::websocket::{Event, Violation};

use crate::fuzz::random::Random;
use crate::fuzz::{frames, handshake};

/// Of each corpus: some seconds.
const MUTATIONS: u64 = 100_000;
/// Changes of one input.
const CHANGES: u64 = 5;
/// Bytes that are special to somebody: opcodes, lengths, halves of characters, ends of lines.
const SPECIAL: &[u8] = b"\x00\x01\x7d\x7e\x7f\x80\x81\x88\x89\xc0\xc3\xed\xf4\xfe\xff\r\n:/%?&=.,";

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target)
}

/// Names and inputs.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(folder(target))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut inputs: Vec<_> = files
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                fs::read(path).unwrap(),
            )
        })
        .collect();
    inputs.sort();
    inputs
}

fn run(target: &str, check: fn(&[u8])) {
    let inputs = corpus(target);
    for (name, input) in &inputs {
        attempt(target, check, input, name);
    }
    let seed = std::env::var("WSC_FUZZ_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    let mut random = Random::new(seed);
    for number in 0..MUTATIONS {
        let input = mutation(&inputs, &mut random);
        attempt(
            target,
            check,
            &input,
            &format!("mutation {number} of WSC_FUZZ_SEED={seed}"),
        );
    }
}

fn attempt(target: &str, check: fn(&[u8]), input: &[u8], what: &str) {
    if catch_unwind(|| check(input)).is_err() {
        let kept = std::env::temp_dir().join(format!("wsc-fuzz-{target}"));
        fs::write(&kept, input).unwrap();
        panic!(
            "{target}: {what}, kept as {}; copy it to {}",
            kept.display(),
            folder(target).display()
        );
    }
}

fn mutation(inputs: &[(String, Vec<u8>)], random: &mut Random) -> Vec<u8> {
    let mut input = pick(inputs, random).1.clone();
    for _ in 0..=random.below(CHANGES) {
        let at = index(random, input.len() + 1);
        let end = at + index(random, (input.len() - at).min(16) + 1);
        match random.below(7) {
            0 => drop(input.drain(at..end)),
            1 => input.truncate(at),
            2 => {
                let piece = input[at..end].to_vec();
                let to = index(random, input.len() + 1);
                input.splice(to..to, piece);
            }
            3 => input.insert(at, *pick(SPECIAL, random)),
            4 => {
                // As one client could send both.
                let other = &pick(inputs, random).1;
                input.splice(at.., other[index(random, other.len() + 1)..].iter().copied());
            }
            kind => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = if kind == 5 {
                        *pick(SPECIAL, random)
                    } else {
                        *byte ^ (1 << random.below(8))
                    };
                }
            }
        }
    }
    input
}

fn pick<'a, T>(all: &'a [T], random: &mut Random) -> &'a T {
    &all[index(random, all.len())]
}

/// 0 to `count - 1`.
fn index(random: &mut Random, count: usize) -> usize {
    usize::try_from(random.below(count as u64)).unwrap()
}

#[test]
fn frames_in_any_pieces_say_the_same() {
    run("frames", frames::check);
}

#[test]
fn corpus_of_handshakes_never_exceeds_the_rules() {
    run("handshake", handshake::check);
}

#[test]
fn corpus_of_frames_covers_events_and_violations() {
    let (mut events, mut violations) = (BTreeSet::new(), BTreeSet::new());
    for (_, input) in corpus("frames") {
        let verdict = frames::verdict(&input, 200);
        violations.extend(verdict.violation.map(|violation| format!("{violation:?}")));
        events.extend(verdict.events.iter().map(|event| match event {
            Event::Message(message) => format!("{:?}", message.opcode),
            Event::Ping(_) => "Ping".to_owned(),
            Event::Pong => "Pong".to_owned(),
            Event::Close(code) => format!("Close {}", code.is_some()),
        }));
    }
    let expected = [
        Violation::ReservedBits,
        Violation::ReservedOpcode,
        Violation::Unmasked,
        Violation::Length,
        Violation::FragmentedControl,
        Violation::LongControl,
        Violation::Continuation,
        Violation::Interleaved,
        Violation::CloseCode,
        Violation::Utf8,
        Violation::TooLarge,
    ];
    assert_eq!(
        violations,
        expected.map(|violation| format!("{violation:?}")).into()
    );
    let expected = ["Text", "Binary", "Ping", "Pong", "Close true", "Close false"];
    assert_eq!(events, expected.map(str::to_owned).into());
    let longest = |input: &Vec<u8>| {
        frames::verdict(input, 1 << 17)
            .events
            .iter()
            .any(|event| matches!(event, Event::Message(m) if m.payload.len() == 1 << 16))
    };
    assert!(
        corpus("frames").iter().any(|(_, input)| longest(input)),
        "a length in its longest form"
    );
}

#[test]
fn the_corpus_of_handshakes_has_every_answer() {
    let mut words = BTreeSet::new();
    let word = |part: &str, refusal: &Refusal| format!("{part} {}", refusal.message());
    for (_, input) in corpus("handshake") {
        let outcome = handshake::outcome(&input);
        words.insert(match &outcome.target {
            Ok(target) => format!("echo {}", target.echo),
            Err(refusal) => word("target", refusal),
        });
        words.insert(
            outcome
                .upgrade
                .as_ref()
                .err()
                .map_or("upgrade".to_owned(), |refusal| word("upgrade", refusal)),
        );
        words.insert(format!("listed {}", outcome.listed));
        words.insert(format!("same host {}", outcome.same_host));
    }
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    assert_eq!(
        words,
        [
            "echo false",
            "echo true",
            "listed false",
            "listed true",
            "same host false",
            "same host true",
            "target duplicate query parameter echo",
            "target echo must be 0 or 1",
            "target path not found",
            "target room must be 1 to 128 characters out of A-Z a-z 0-9 . _ ~ : -",
            "upgrade",
            "upgrade WebSocket version 13 over HTTP/1.1 is required",
            "upgrade a handshake request must not have a body",
            "upgrade exactly one Sec-WebSocket-Key of 16 bytes in base64 is required",
            "upgrade more than one Host header",
            "upgrade only GET is allowed on this path",
            "upgrade subprotocols are not supported",
            "upgrade the Connection header must contain Upgrade",
        ]
    );
}

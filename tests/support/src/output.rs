//! The two places where the demo writes: lines for a person or a log, and complaints.

use std::io::{Write, stderr, stdout};

/// One line of output. A reader that went away is no reason to stop: there is still something to
/// clean up.
pub fn say(line: &str) {
    let _ = writeln!(stdout(), "{line}");
}

/// What is wrong.
pub fn complain(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}

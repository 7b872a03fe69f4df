//! Makes two snapshots of the same version equal: identifiers, hashes, times and paths differ from
//! run to run.

use serde_json::Value;

const UPTIME_MS: u64 = 1000;
const PID: u64 = 1000;

/// Keys of identifiers and hashes.
const IDENTIFIERS: [&str; 6] = [
    "boot_id",
    "wanted_hash",
    "applied_hash",
    "wanted_structure",
    "applied_structure",
    "structure",
];

/// Values that were replaced in one document: equal ones stay equal.
#[derive(Default)]
pub(super) struct Normaliser {
    seen: Vec<String>,
}

impl Normaliser {
    pub(super) fn apply(&mut self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    match value {
                        Value::String(text) if IDENTIFIERS.contains(&key.as_str()) => {
                            *text = self.identifier(text);
                        }
                        Value::String(text) if key == "message" => *text = message(text),
                        Value::Number(number) if key == "uptime_ms" => *number = UPTIME_MS.into(),
                        Value::Number(number) if key == "pid" && number.as_u64() != Some(0) => {
                            *number = PID.into();
                        }
                        _ => self.apply(value),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.apply(item)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// A number in hexadecimal digits, of the same length; nothing stays nothing.
    fn identifier(&mut self, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        let known = self.seen.iter().position(|seen| seen == text);
        let number = known.unwrap_or_else(|| {
            self.seen.push(text.to_owned());
            self.seen.len() - 1
        });
        format!("{:0width$x}", number + 1, width = text.len())
    }
}

/// Words with a path or an identifier of hexadecimal digits in them are replaced.
fn message(text: &str) -> String {
    let is_identifier = |word: &str| word.len() >= 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words = text.split(' ').map(|word| {
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '/');
        if bare.starts_with('/') || is_identifier(bare) {
            word.replace(bare, "X")
        } else {
            word.to_owned()
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn equal_values_stay_equal() {
        let mut document = json!({
            "uptime_ms": 7,
            "pid": 12,
            "wanted_hash": "ab",
            "applied_hash": "ab",
            "wanted_structure": "cd",
            "applied_structure": "",
            "refusal": {"structure": "cd", "message": "[/tmp/x/haproxy.cfg:3] id is 0123456789abcdef, no"},
        });
        Normaliser::default().apply(&mut document);
        assert_eq!(document["wanted_hash"], document["applied_hash"]);
        assert_eq!(document["wanted_structure"], document["refusal"]["structure"]);
        assert_ne!(document["wanted_hash"], document["wanted_structure"]);
        assert_eq!(document["applied_structure"], "");
        assert_eq!(
            (&document["uptime_ms"], &document["pid"]),
            (&json!(1000), &json!(1000))
        );
        assert_eq!(document["refusal"]["message"], "[X] id is X, no");
    }
}

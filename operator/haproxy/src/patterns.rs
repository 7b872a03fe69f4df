//! Files of patterns that the configuration refers to: their text, and the commands that replace
//! their entries in the running HAProxy.

use thiserror::Error;
use wsc_contract::files;
use wsc_contract::origin::{Origin, OriginPattern};

use crate::settings::Settings;

/// The entry by which pages of the requested host may connect. Origins are compared in lower case,
/// so none matches it.
pub(crate) const SAME_HOST: &str = "SAME-HOST";
/// One origin of any scheme: authority characters are visible ASCII without `# , / ? @ \`. POSIX
/// and PCRE read it alike.
const ANY: &str = r#"^[a-z][a-z0-9+.-]*://[]-~!"$-+.0->A-[-]*$"#;

/// HAProxy reads a line into one buffer of 16 KiB.
const BYTES_PER_LINE: usize = 12_000;
/// A line with more commands than this would block the socket for long.
const ENTRIES_PER_LINE: usize = 50;

/// What kind of file it is, as the commands name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Acl,
    Map,
}

/// A file of patterns, with one entry per line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternFile {
    kind: Kind,
    name: &'static str,
    entries: Vec<String>,
}

/// A reply that is not the one of a success.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PatternError {
    #[error("{file}: {reply}")]
    Refused { file: &'static str, reply: String },
    #[error("{file}: a reply is truncated")]
    Truncated { file: &'static str },
}

impl PatternFile {
    /// The files of these settings.
    pub fn of(settings: &Settings) -> [Self; 2] {
        [paths(settings), origins(settings)]
    }

    /// The name in the shared directory.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        let mut text = self.entries.join("\n");
        text.push('\n');
        text
    }

    /// The same file with other entries.
    #[must_use]
    pub fn with(&self, entries: Vec<String>) -> Self {
        Self {
            entries,
            ..self.clone()
        }
    }

    /// Whether HAProxy, in whatever order, has these entries.
    pub fn has(&self, running: &[String]) -> bool {
        let sorted = |entries: &[String]| {
            let mut entries = entries.to_vec();
            entries.sort_unstable();
            entries
        };
        sorted(&self.entries) == sorted(running)
    }

    /// The command that lists the files in use, for [`Self::reference`].
    pub fn list(&self) -> String {
        format!("show {}", self.word())
    }

    /// The name of this file in the running HAProxy; `None` if its configuration does not refer to
    /// it.
    pub fn reference(&self, list: &str) -> Result<Option<String>, PatternError> {
        self.complete(list)?;
        let references = list.lines().filter_map(|line| {
            let (_, rest) = line.split_once(" (")?;
            rest.split_once(") ").map(|(path, _)| path)
        });
        let mut ours = references.filter(|path| path.rsplit('/').next() == Some(self.name));
        Ok(ours.next().map(str::to_owned))
    }

    /// The command that shows the entries.
    pub fn show(&self, reference: &str) -> String {
        format!("show {} {reference}", self.word())
    }

    /// The entries that HAProxy has, out of the reply to [`Self::show`].
    pub fn parse(&self, reply: &str) -> Result<Vec<String>, PatternError> {
        // No entry at all is one empty line.
        let lines = if reply == "\n" {
            reply.trim()
        } else {
            self.complete(reply)?
        }
        .lines();
        let entry = |line: &str| match line.strip_prefix("0x").and_then(|line| line.split_once(' ')) {
            Some((_, entry)) => Ok(entry.to_owned()),
            None => Err(self.refused(line)),
        };
        lines.map(entry).collect()
    }

    /// The command that begins to replace the entries.
    pub fn prepare(&self, reference: &str) -> String {
        format!("prepare {} {reference}", self.word())
    }

    /// The version of the new entries, out of the reply to [`Self::prepare`].
    pub fn version(&self, reply: &str) -> Result<u32, PatternError> {
        self.complete(reply)?;
        let version = reply.trim_end().strip_prefix("New version created: ");
        let number = version.and_then(|version| version.parse().ok());
        number.ok_or_else(|| self.refused(reply))
    }

    /// Lines of commands that add the entries, each with the number of replies.
    pub fn additions(&self, reference: &str, version: u32) -> Vec<(String, usize)> {
        let mut lines: Vec<(String, usize)> = Vec::new();
        for entry in &self.entries {
            let command = format!("add {} @{version} {reference} {}", self.word(), escape(entry));
            match lines.last_mut() {
                Some((line, count))
                    if *count < ENTRIES_PER_LINE && line.len() + command.len() < BYTES_PER_LINE =>
                {
                    line.push_str("; ");
                    line.push_str(&command);
                    *count += 1;
                }
                _ => lines.push((command, 1)),
            }
        }
        lines
    }

    /// The command that makes the new entries the ones in use, all at once.
    pub fn commit(&self, reference: &str, version: u32) -> String {
        format!("commit {} @{version} {reference}", self.word())
    }

    /// An error unless the reply is the empty one of each of the commands.
    pub fn expect_silence(&self, reply: &str, commands: usize) -> Result<(), PatternError> {
        if reply.bytes().any(|byte| byte != b'\n') {
            return Err(self.refused(self.complete(reply)?));
        }
        if reply.len() == commands {
            Ok(())
        } else {
            Err(PatternError::Truncated { file: self.name })
        }
    }

    /// A reply that ends as it should, without its last line feed.
    fn complete<'a>(&self, reply: &'a str) -> Result<&'a str, PatternError> {
        let end = reply.strip_suffix('\n').filter(|text| text.ends_with('\n'));
        end.ok_or(PatternError::Truncated { file: self.name })
    }

    fn refused(&self, reply: &str) -> PatternError {
        let reply = reply.trim().lines().next().unwrap_or("no reply");
        PatternError::Refused {
            file: self.name,
            reply: reply.chars().take(500).collect(),
        }
    }

    fn word(&self) -> &'static str {
        match self.kind {
            Kind::Acl => "acl",
            Kind::Map => "map",
        }
    }
}

/// The path of clients and those below it, with what the servers serve instead.
fn paths(settings: &Settings) -> PatternFile {
    let path = escape_expression(settings.path());
    PatternFile {
        kind: Kind::Map,
        name: files::PATHS,
        entries: vec![format!(r"^{path}((/.*)?)$ {}\1", settings.server_path())],
    }
}

/// Like [`wsc_contract::origin::OriginPolicy`]: no entry is the same host, and `*` makes all others
/// redundant.
fn origins(settings: &Settings) -> PatternFile {
    let patterns = settings.origins();
    let entries = if patterns.is_empty() {
        vec![SAME_HOST.to_owned()]
    } else if patterns.contains(&OriginPattern::Any) {
        vec![ANY.to_owned()]
    } else {
        let mut entries: Vec<String> = patterns.iter().map(expression).collect();
        entries.sort_unstable();
        entries.dedup();
        entries
    };
    PatternFile {
        kind: Kind::Acl,
        name: files::ORIGINS,
        entries,
    }
}

fn expression(pattern: &OriginPattern) -> String {
    let parts = |origin: &Origin| [origin.scheme(), origin.authority()].map(escape_expression);
    match pattern {
        OriginPattern::Any => ANY.to_owned(),
        OriginPattern::Exact(origin) => {
            let [scheme, authority] = parts(origin);
            format!("^{scheme}://{authority}$")
        }
        OriginPattern::Subdomain(parent) => {
            let [scheme, authority] = parts(parent);
            format!(r"^{scheme}://[a-z0-9_-]+\.{authority}$")
        }
    }
}

/// Of the characters that paths and origins may have, these mean something in an expression.
fn escape_expression(text: &str) -> String {
    let special = |c: char| ".+[]".contains(c);
    text.chars()
        .flat_map(|c| special(c).then_some('\\').into_iter().chain([c]))
        .collect()
}

/// As an argument of a command. The blank between the two words of a map's entry separates two
/// arguments.
fn escape(entry: &str) -> String {
    entry.replace('\\', r"\\").replace(';', r"\;")
}

#[cfg(test)]
mod tests {
    use regex::Regex;
    use wsc_contract::origin::OriginPolicy;

    use super::*;

    fn files(path: &str, origins: &[&str]) -> [PatternFile; 2] {
        let origins = origins.iter().map(|origin| origin.parse().unwrap());
        PatternFile::of(&Settings::new(path, "/ws", origins.collect()))
    }

    #[test]
    fn path_and_those_below_it_are_mapped() {
        let [paths, _] = files("/api/v1.0", &[]);
        assert_eq!(paths.entries, [r"^/api/v1\.0((/.*)?)$ /ws\1"]);
        let (expression, _) = paths.entries[0].split_once(' ').unwrap();
        let expression = Regex::new(expression).unwrap();
        for (path, rest) in [("/api/v1.0", ""), ("/api/v1.0/", "/"), ("/api/v1.0/a/b", "/a/b")] {
            assert_eq!(&expression.captures(path).unwrap()[1], rest);
        }
        for path in ["/api/v1x0", "/api/v1.0x", "/ws", "/x/api/v1.0", "/api/v1.0;a"] {
            assert!(!expression.is_match(path), "{path}");
        }
    }

    #[test]
    fn expressions_decide_like_the_policy() {
        let list = [
            "https://example.org:8443",
            "my.app+x://*.example.org",
            "http://[::1]",
            "file://",
        ];
        let [_, file] = files("/ws", &list);
        let any = |origin: &str| {
            file.entries
                .iter()
                .any(|entry| Regex::new(entry).unwrap().is_match(origin))
        };
        let policy = OriginPolicy::parse(&list.join(",")).unwrap();
        for origin in [
            "https://example.org:8443",
            "https://exampleXorg:8443",
            "my.app+x://a.example.org",
            "myxapp+x://a.example.org",
            "my.app+x://a.b.example.org",
            "http://[::1]",
            "http://:",
            "file://",
            "file://a",
            "null",
        ] {
            assert_eq!(any(origin), policy.allows(Some(origin), None), "{origin}");
        }
    }

    #[test]
    fn default_and_star_replace_the_list() {
        assert_eq!(files("/ws", &[])[1].entries, [SAME_HOST]);
        assert_eq!(files("/ws", &["https://example.org", "*"])[1].entries, [ANY]);
        let text = files("/ws", &["https://b.org", "https://a.org", "https://b.org"])[1].text();
        assert_eq!(text, "^https://a\\.org$\n^https://b\\.org$\n");
    }

    /// Replies of HAProxy 3.0.11.
    #[test]
    fn replies_are_read_exactly() {
        let [map, acl] = files("/chat", &["https://a.org"]);
        let list = "# id (file) description\n1 () acl 'var' file 'h.cfg' line 12. entry_cnt=0\n\
                    2 (/run/haproxy/origins.acl) pattern loaded from file '/run/haproxy/origins.acl' used by acl\n\n";
        let reference = Some("/run/haproxy/origins.acl".to_owned());
        assert_eq!(acl.reference(list), Ok(reference));
        assert_eq!(map.reference(list), Ok(None));
        for end in 0..list.len() {
            assert!(map.reference(&list[..end]).is_err(), "cut at {end}");
        }
        let shown = "0x7fe4 ^/chat((/.*)?)$ /ws\\1\n\n";
        assert!(map.has(&map.parse(shown).unwrap()));
        assert!(!map.has(&map.parse("\n").unwrap()));
        for end in 0..shown.len() {
            assert!(map.parse(&shown[..end]).is_err(), "cut at {end}");
        }
        assert!(
            map.parse("Unknown map identifier. Please use #<id> or <file>.\n\n")
                .is_err()
        );
        assert_eq!(map.version("New version created: 7\n\n"), Ok(7));
        assert!(map.version("Unknown map identifier.\n\n").is_err());
        assert_eq!(map.expect_silence("\n\n", 2), Ok(()));
        for reply in ["\n", "\n\n\n", "", "\nregex '^(bad' is inv"] {
            let truncated = PatternError::Truncated { file: files::PATHS };
            assert_eq!(map.expect_silence(reply, 2), Err(truncated), "{reply:?}");
        }
        let refused = map.expect_silence("\nregex '^(bad' is invalid\n\n", 2);
        assert_eq!(
            refused.unwrap_err().to_string(),
            "paths.map: regex '^(bad' is invalid"
        );
    }

    #[test]
    fn additions_are_escaped_and_fit_the_buffer() {
        let [map, _] = files("/chat", &[]);
        assert_eq!(
            map.additions("/r/paths.map", 3),
            [(r"add map @3 /r/paths.map ^/chat((/.*)?)$ /ws\\1".to_owned(), 1)]
        );
        let host = "a".repeat(200);
        let list: Vec<String> = (0..120)
            .map(|n| format!("https://{host}.b{n}.example.org"))
            .collect();
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        let lines = files("/ws", &list)[1].additions("/r/origins.acl", 1);
        assert_eq!(lines.iter().map(|(_, count)| count).sum::<usize>(), 120);
        assert!(lines.iter().all(|(line, _)| line.len() < BYTES_PER_LINE));
    }
}

//! The audit log of the API server: who asked for what, counted.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

/// Verbs that change an object.
const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// Groups whose objects are questions to the API server; they are created and never stored.
const QUESTIONS: [&str; 2] = ["authentication.k8s.io", "authorization.k8s.io"];

/// Where the log is.
#[derive(Clone, Debug)]
pub struct AuditLog {
    path: PathBuf,
}

/// A moment in the log.
#[derive(Clone, Copy, Debug)]
pub struct Mark(u64);

/// One request that was answered, refused ones too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// As the API server knows who asks: `system:serviceaccount:NAMESPACE:NAME`, or a certificate's
    /// name.
    pub user: String,
    /// The program, as it names itself.
    pub agent: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: String,
    /// Plural: `pods`.
    pub resource: String,
    /// `status`, or empty.
    pub subresource: String,
    /// Empty for what has none.
    pub namespace: String,
    /// Empty for a create by generated name and for a deletecollection.
    pub name: String,
    /// The HTTP status of the answer.
    pub code: u16,
}

impl AuditLog {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Now: what is written to the log later comes after it.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn mark(&self) -> Result<Mark> {
        let metadata = self
            .path
            .metadata()
            .with_context(|| format!("the audit log {}", self.path.display()))?;
        Ok(Mark(metadata.len()))
    }

    /// All writes since then, in the order of their answers.
    ///
    /// # Errors
    /// When the log cannot be read, or a whole line of it is not an audit event.
    pub fn writes_since(&self, mark: Mark) -> Result<Vec<Request>> {
        self.read(mark, Event::changes_something)
    }

    /// Everything that one user has asked for since then. A watch is there when it begins, and once
    /// more when it has ended.
    ///
    /// # Errors
    /// As [`AuditLog::writes_since`].
    pub fn requests_of(&self, user: &str, mark: Mark) -> Result<Vec<Request>> {
        self.read(mark, |event| event.user.username == user)
    }

    fn read(&self, mark: Mark, wanted: impl Fn(&Event) -> bool) -> Result<Vec<Request>> {
        let mut file =
            File::open(&self.path).with_context(|| format!("the audit log {}", self.path.display()))?;
        file.seek(SeekFrom::Start(mark.0))?;
        parse(BufReader::new(file), wanted)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    stage: String,
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    response_status: Option<ResponseStatus>,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    api_group: String,
}

#[derive(Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

fn parse(mut log: impl BufRead, wanted: impl Fn(&Event) -> bool) -> Result<Vec<Request>> {
    let mut requests = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        // A last line without its end is still being written.
        if log.read_line(&mut line)? == 0 || !line.ends_with('\n') {
            return Ok(requests);
        }
        let event: Event = serde_json::from_str(&line).with_context(|| format!("an audit event: {line}"))?;
        if wanted(&event) {
            requests.push(event.into());
        }
    }
}

impl Event {
    fn changes_something(&self) -> bool {
        self.stage == "ResponseComplete"
            && WRITES.contains(&self.verb.as_str())
            && !QUESTIONS.contains(&self.object_ref.api_group.as_str())
            && !self.request_uri.contains("dryRun=All")
    }
}

impl From<Event> for Request {
    fn from(event: Event) -> Self {
        let object = event.object_ref;
        Self {
            user: event.user.username,
            agent: event.user_agent,
            verb: event.verb,
            resource: object.resource,
            subresource: object.subresource,
            namespace: object.namespace,
            name: object.name,
            code: event.response_status.map_or(0, |status| status.code),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn line(stage: &str, verb: &str, user: &str, resource: &str, group: &str) -> String {
        format!(
            r#"{{"kind":"Event","level":"Metadata","stage":"{stage}","requestURI":"/apis/x","verb":"{verb}","user":{{"username":"{user}","groups":["g"]}},"userAgent":"kubectl/v1","objectRef":{{"resource":"{resource}","namespace":"ns","name":"chat","apiGroup":"{group}","apiVersion":"v1"}},"responseStatus":{{"metadata":{{}},"code":200}}}}"#
        ) + "\n"
    }

    #[test]
    fn only_answered_writes_count() {
        let log = [
            line("ResponseComplete", "get", "a", "pods", ""),
            line("ResponseStarted", "watch", "a", "pods", ""),
            line("ResponseComplete", "patch", "a", "pods", ""),
            line(
                "ResponseComplete",
                "create",
                "a",
                "subjectaccessreviews",
                "authorization.k8s.io",
            ),
            line("ResponseComplete", "update", "b", "leases", "coordination.k8s.io"),
            line("ResponseComplete", "patch", "b", "pods", "").replace("/apis/x", "/apis/x?dryRun=All"),
        ];
        let writes = parse(log.concat().as_bytes(), Event::changes_something).unwrap();
        let seen: Vec<_> = writes
            .iter()
            .map(|w| (w.user.as_str(), w.verb.as_str(), w.resource.as_str(), w.code))
            .collect();
        assert_eq!(
            seen,
            [("a", "patch", "pods", 200), ("b", "update", "leases", 200)]
        );
        let reads = parse(log.concat().as_bytes(), |event| !event.changes_something()).unwrap();
        let seen: Vec<_> = reads.iter().map(|read| read.verb.as_str()).collect();
        assert_eq!(
            seen,
            ["get", "watch", "create", "patch"],
            "a dry run and a question change nothing"
        );
    }

    #[test]
    fn mark_skips_earlier_and_partial_lines() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let log = AuditLog::new(file.path());
        file.write_all(line("ResponseComplete", "create", "a", "pods", "").as_bytes())
            .unwrap();
        let mark = log.mark().unwrap();
        assert_eq!(log.writes_since(mark).unwrap(), []);
        file.write_all(line("ResponseComplete", "delete", "a", "pods", "").as_bytes())
            .unwrap();
        file.write_all(b"{\"kind\":").unwrap();
        let writes = log.writes_since(mark).unwrap();
        assert_eq!(writes.len(), 1);
        assert_eq!(
            (writes[0].verb.as_str(), writes[0].name.as_str()),
            ("delete", "chat")
        );
    }
}

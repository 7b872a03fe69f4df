//! What the API server does with a resource before it stores it: types, bounds, patterns, unknown
//! fields, defaults, then the rules.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use kube::core::cel::{Validator, apply_defaults};
use serde_json::{Value, json};

pub(super) struct Gate {
    schema: Value,
    /// Patterns are asked of the same engine as the rules; each answer is kept.
    matched: RefCell<HashMap<(String, String), bool>>,
}

/// Start of the complaint about a string that its pattern rejects.
const MISMATCH: &str = "does not match";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) path: String,
    pub(super) message: String,
}

impl Gate {
    pub(super) fn new() -> Self {
        let crd = serde_json::to_value(crate::crd()).unwrap();
        Self {
            schema: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone(),
            matched: RefCell::default(),
        }
    }

    pub(super) fn complaints(&self, resource: &Value) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        self.check(
            &self.schema["properties"]["spec"],
            &resource["spec"],
            "spec",
            &mut complaints,
        );
        if resource["status"].is_object() {
            let schema = &self.schema["properties"]["status"];
            self.check(schema, &resource["status"], "status", &mut complaints);
        }
        // Like the API server, which evaluates no rule on a value of the wrong type or length.
        if complaints
            .iter()
            .all(|complaint| complaint.message.starts_with(MISMATCH))
        {
            complaints.extend(self.broken_rules(resource, None));
        }
        complaints
    }

    /// What the rules complain about when a resource is changed.
    pub(super) fn update(&self, old: &Value, new: &Value) -> Vec<Complaint> {
        self.broken_rules(new, Some(old))
    }

    fn broken_rules(&self, resource: &Value, old: Option<&Value>) -> Vec<Complaint> {
        let whole = apply_defaults(&self.schema, resource);
        let old = old.map(|old| apply_defaults(&self.schema, old));
        let mut schema = self.schema.clone();
        answer_types(&mut schema, &whole);
        let errors = Validator::new().validate(&schema, &whole, old.as_ref());
        let errors = errors.err().map(kube::core::cel::ValidationErrors::into_vec);
        errors
            .unwrap_or_default()
            .into_iter()
            .map(|error| Complaint {
                // Of a rule of the whole resource it starts with a dot.
                path: error.field_path.trim_start_matches('.').to_owned(),
                message: error.message,
            })
            .collect()
    }

    /// Messages of all rules below `spec` and of the resource itself.
    pub(super) fn rules(&self) -> BTreeSet<String> {
        let mut messages = BTreeSet::new();
        collect(&self.schema, &mut messages);
        messages
    }

    /// Fields of the spec down to where types of Kubernetes itself begin.
    pub(super) fn each_field(&self, mut look: impl FnMut(&str, &Value, bool)) {
        fields(&self.schema["properties"]["spec"], "spec", &mut look);
    }

    fn check(&self, schema: &Value, value: &Value, path: &str, complaints: &mut Vec<Complaint>) {
        let mut complain = |message: String| {
            complaints.push(Complaint {
                path: path.to_owned(),
                message,
            });
        };
        if schema["x-kubernetes-int-or-string"] == json!(true) {
            match (value.as_i64(), value.as_str()) {
                (Some(number), _) => check_number(schema, number, &mut complain),
                (None, Some(text)) => self.check_string(schema, text, &mut complain),
                (None, None) => complain("is no number and no string".to_owned()),
            }
            return;
        }
        if let Some(words) = schema["enum"].as_array()
            && !words.contains(value)
        {
            complain(format!("is none of {words:?}"));
        }
        match schema["type"].as_str() {
            Some("object") => self.check_object(schema, value, path, complaints),
            Some("array") => self.check_array(schema, value, path, complaints),
            Some("string") => match value.as_str() {
                Some(text) => self.check_string(schema, text, &mut complain),
                None => complain("is no string".to_owned()),
            },
            Some("integer") => match value.as_i64() {
                Some(number) => check_number(schema, number, &mut complain),
                None => complain("is no whole number".to_owned()),
            },
            Some("boolean") if !value.is_boolean() => complain("is neither true nor false".to_owned()),
            Some(_) | None => {}
        }
    }

    fn check_object(&self, schema: &Value, value: &Value, path: &str, complaints: &mut Vec<Complaint>) {
        let mut complain = |path: String, message: &str| {
            complaints.push(Complaint {
                path,
                message: message.to_owned(),
            });
        };
        let Some(fields) = value.as_object() else {
            complain(path.to_owned(), "is no object");
            return;
        };
        let required = schema["required"].as_array().into_iter().flatten();
        for name in required.filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                complain(format!("{path}.{name}"), "is required");
            }
        }
        if schema["maxProperties"]
            .as_u64()
            .is_some_and(|most| fields.len() as u64 > most)
        {
            complain(path.to_owned(), "has too many entries");
        }
        let any = &schema["additionalProperties"];
        let mut unknown = Vec::new();
        for (name, value) in fields {
            match (schema["properties"].get(name), any.is_object()) {
                (Some(schema), _) => self.check(schema, value, &format!("{path}.{name}"), complaints),
                (None, true) => self.check(any, value, &format!("{path}[{name}]"), complaints),
                (None, false) => unknown.push(format!("{path}.{name}")),
            }
        }
        complaints.extend(unknown.into_iter().map(|path| Complaint {
            path,
            message: "is no field".to_owned(),
        }));
    }

    fn check_array(&self, schema: &Value, value: &Value, path: &str, complaints: &mut Vec<Complaint>) {
        let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
        if !value.is_array()
            || schema["minItems"]
                .as_u64()
                .is_some_and(|least| (items.len() as u64) < least)
            || schema["maxItems"]
                .as_u64()
                .is_some_and(|most| items.len() as u64 > most)
        {
            complaints.push(Complaint {
                path: path.to_owned(),
                message: "is no list, too short or too long".to_owned(),
            });
        }
        for (index, item) in items.iter().enumerate() {
            self.check(&schema["items"], item, &format!("{path}[{index}]"), complaints);
        }
    }

    fn check_string(&self, schema: &Value, text: &str, complain: &mut impl FnMut(String)) {
        let length = text.chars().count() as u64;
        let least = schema["minLength"].as_u64().unwrap_or(0);
        let most = schema["maxLength"].as_u64().unwrap_or(u64::MAX);
        if length < least || length > most {
            complain(format!("is {length} characters long"));
        }
        if let Some(pattern) = schema["pattern"].as_str()
            && !self.matches(pattern, text)
        {
            complain(format!("{MISMATCH} {pattern}"));
        }
    }

    fn matches(&self, pattern: &str, text: &str) -> bool {
        let key = (pattern.to_owned(), text.to_owned());
        let mut matched = self.matched.borrow_mut();
        *matched.entry(key).or_insert_with(|| {
            assert!(
                !pattern.contains('\''),
                "a raw string of CEL cannot hold {pattern}"
            );
            let rule = json!([{"rule": format!("self.matches(r'{pattern}')"), "message": "no"}]);
            let schema = json!({"type": "string", "x-kubernetes-validations": rule});
            match Validator::new().validate(&schema, &json!(text), None) {
                Ok(()) => true,
                Err(errors) => {
                    assert_eq!(errors.as_slice()[0].message, "no", "{pattern}: {errors:?}");
                    false
                }
            }
        })
    }
}

fn check_number(schema: &Value, number: i64, complain: &mut impl FnMut(String)) {
    let bound = |name: &str| schema[name].as_f64();
    #[expect(clippy::cast_precision_loss, reason = "bounds are far below 2^52")]
    let exact = number as f64;
    if bound("minimum").is_some_and(|least| exact < least)
        || bound("maximum").is_some_and(|most| exact > most)
    {
        complain("is out of range".to_owned());
    }
    if schema["format"] == json!("int32") && i32::try_from(number).is_err() {
        complain("does not fit into 32 bits".to_owned());
    }
}

/// kube's CEL has no `type`: the rules of amounts that ask for it get their answer here.
fn answer_types(schema: &mut Value, value: &Value) {
    let rules = schema
        .get_mut("x-kubernetes-validations")
        .and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten() {
        if let Some(text) = rule["rule"].as_str() {
            rule["rule"] = json!(text.replace("type(self) == int", &value.is_i64().to_string()));
        }
    }
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (name, property) in properties.into_iter().flatten() {
        answer_types(property, &value[name]);
    }
}

fn collect(schema: &Value, messages: &mut BTreeSet<String>) {
    let rules = schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten();
    messages.extend(rules.map(|rule| rule["message"].as_str().unwrap().to_owned()));
    let below = schema["properties"].as_object().into_iter().flatten();
    below.for_each(|(_, schema)| collect(schema, messages));
    collect_if(&schema["items"], messages);
    collect_if(&schema["additionalProperties"], messages);
}

fn collect_if(schema: &Value, messages: &mut BTreeSet<String>) {
    if schema.is_object() {
        collect(schema, messages);
    }
}

fn fields(schema: &Value, path: &str, look: &mut impl FnMut(&str, &Value, bool)) {
    let embedded = ["affinity", "tolerations", "resources"];
    let required = schema["required"].as_array();
    let is_required = |name: &String| required.is_some_and(|names| names.contains(&json!(name)));
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        look(&path, property, is_required(name));
        if !embedded.contains(&name.as_str()) {
            fields(property, &path, look);
            fields(&property["items"], &format!("{path}[]"), look);
        }
    }
}

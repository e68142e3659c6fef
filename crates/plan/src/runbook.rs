//! Runbooks: actions with a name and parameters, which any plan may use.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Action, Ansible, Finding, GuestCommand, HostScript, HttpCall, document::VERSION};

/// The most parameters of a runbook, and the longest value of one, in bytes.
const PARAMETERS_MAX: usize = 64;
const VALUE_MAX_BYTES: usize = 4 << 10;

/// An action with parameters. `{{name}}` in any of its words stands for a parameter's value; a word stays one word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runbook {
    /// The version of the document: 1.
    pub version: u32,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it has to be told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Parameter>,
    /// A program on a host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<HostScript>,
    /// A program inside a guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<GuestCommand>,
    /// A request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpCall>,
    /// An Ansible playbook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ansible: Option<Ansible>,
    /// Whether sites that this one is paired with may have it run, for plans of theirs.
    #[serde(default)]
    pub other_sites: bool,
    /// How long it may take, in seconds; where the plan's action says less, that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
}

/// What a runbook has to be told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it is where nobody says; without it somebody has to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

impl Runbook {
    /// The values of all parameters.
    ///
    /// # Errors
    /// What is missing, what is not known, what is too long.
    pub fn values(&self, given: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Finding> {
        if let Some(name) = given.keys().find(|name| !self.parameters.contains_key(*name)) {
            let known: Vec<_> = self.parameters.keys().map(String::as_str).collect();
            let known = if known.is_empty() {
                "it has none".to_owned()
            } else {
                format!("it has {}", known.join(", "))
            };
            return Err(
                Finding::error(format!("parameters.{name}"), "is no parameter of it").with_hint(known)
            );
        }
        let values = self.parameters.iter().map(|(name, parameter)| {
            let path = format!("parameters.{name}");
            match given.get(name).or(parameter.default.as_ref()) {
                None => Err(Finding::error(path, "is needed, and has no default")),
                Some(value) if value.len() > VALUE_MAX_BYTES || value.contains('\0') => Err(Finding::error(
                    path,
                    format!("has at most {VALUE_MAX_BYTES} bytes, and no zero byte"),
                )),
                Some(value) => Ok((name.clone(), value.clone())),
            }
        });
        values.collect()
    }

    /// The action that it is with these values.
    #[must_use]
    pub fn with(&self, name: &str, values: &BTreeMap<String, String>) -> Action {
        let fill = |text: &String| fill(text, values);
        let all = |texts: &[String]| texts.iter().map(fill).collect();
        let map = |texts: &BTreeMap<String, String>| {
            texts.iter().map(|(name, text)| (name.clone(), fill(text))).collect()
        };
        let script = self
            .script
            .as_ref()
            .map(|script| HostScript { command: all(&script.command), site: script.site });
        let guest = self
            .guest
            .as_ref()
            .map(|guest| GuestCommand { vm: fill(&guest.vm), command: all(&guest.command) });
        let http = self.http.as_ref().map(|http| HttpCall {
            url: fill(&http.url),
            method: http.method.clone(),
            headers: map(&http.headers),
            body: http.body.as_ref().map(fill),
            statuses: http.statuses.clone(),
        });
        let ansible = self.ansible.as_ref().map(|ansible| Ansible {
            playbook: fill(&ansible.playbook),
            inventory: ansible.inventory.as_ref().map(fill),
            variables: map(&ansible.variables),
        });
        let timeout_seconds = self.timeout_seconds;
        Action { script, guest, http, ansible, timeout_seconds, ..Action::named(name) }
    }

    /// What is wrong with it.
    #[must_use]
    pub fn validate(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.version != VERSION {
            let message = format!("is {}, and this Holdfast knows {VERSION}", self.version);
            findings.push(Finding::error("version", message));
        }
        if self.parameters.len() > PARAMETERS_MAX {
            findings.push(Finding::error("parameters", format!("are {PARAMETERS_MAX} at most")));
        }
        let is_word = |name: &String| {
            !name.is_empty()
                && name.len() <= 64
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        for name in self.parameters.keys().filter(|name| !is_word(name)) {
            findings.push(Finding::error(
                format!("parameters.{name}"),
                "is no name: letters, digits and _, 64 at most",
            ));
        }
        // With its own names for values, every word that a plan's action has is there to be looked at.
        let as_it_is = self.parameters.keys().map(|name| (name.clone(), format!("{{{{{name}}}}}"))).collect();
        findings.extend(crate::validate::runbook(&self.with("runbook", &as_it_is)));
        for name in self.words().flat_map(named) {
            if !self.parameters.contains_key(&name) {
                let message = format!("{{{{{name}}}}} is used, and is no parameter");
                findings.push(Finding::error("parameters", message));
            }
        }
        findings
    }

    /// Every word in which a parameter may stand.
    fn words(&self) -> impl Iterator<Item = &str> {
        let script = self.script.iter().flat_map(|script| &script.command);
        let guest = self.guest.iter().flat_map(|guest| guest.command.iter().chain([&guest.vm]));
        let http =
            self.http.iter().flat_map(|http| http.headers.values().chain([&http.url]).chain(&http.body));
        let ansible = self.ansible.iter();
        let ansible =
            ansible.flat_map(|one| one.variables.values().chain([&one.playbook]).chain(&one.inventory));
        script.chain(guest).chain(http).chain(ansible).map(String::as_str)
    }
}

/// The parameters that stand in a word.
fn named(word: &str) -> BTreeSet<String> {
    let parts = word.split("{{").skip(1).filter_map(|part| part.split_once("}}"));
    parts.map(|(name, _)| name.trim().to_owned()).collect()
}

/// A word with values in the place of parameters. What a value holds is not looked at again.
fn fill(word: &str, values: &BTreeMap<String, String>) -> String {
    let mut parts = word.split("{{");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once("}}") {
            Some((name, rest)) if values.contains_key(name.trim()) => {
                filled.push_str(&values[name.trim()]);
                filled.push_str(rest);
            }
            _ => {
                filled.push_str("{{");
                filled.push_str(part);
            }
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::{ActionWork, read_runbook};

    const SWITCH: &str = r#"
        version = 1
        description = "points a name at a site"
        script = { command = ["/usr/local/sbin/dns-switch", "{{ name }}", "--ttl={{ttl}}"] }
        timeout_seconds = 60

        [parameters.name]
        description = "the name"
        [parameters.ttl]
        default = "30"
    "#;

    fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn values_take_the_place_of_parameters_and_stay_one_word() {
        let runbook = read_runbook(SWITCH).unwrap();
        assert_eq!(runbook.validate(), []);
        let values = runbook.values(&given(&[("name", "a b; {{ttl}} \"c\"\n")])).unwrap();
        let action = runbook.with("switch", &values);
        let Some(ActionWork::Script(script)) = action.work() else { panic!("it is a script") };
        assert_eq!(script.command, ["/usr/local/sbin/dns-switch", "a b; {{ttl}} \"c\"\n", "--ttl=30"]);
        assert_eq!(action.limit_seconds(), Some(60));
    }

    #[test]
    fn the_example_of_the_page_is_one() {
        let page = include_str!("../../../docs/plans.md");
        let text = page.split("```toml\n").nth(2).and_then(|rest| rest.split("```").next()).unwrap();
        assert_eq!(read_runbook(text).unwrap().validate(), []);
    }

    #[test]
    fn what_is_missing_and_what_is_not_known_is_said() {
        let runbook = read_runbook(SWITCH).unwrap();
        let missing = runbook.values(&given(&[])).unwrap_err();
        assert_eq!(missing.to_string(), "parameters.name: is needed, and has no default");
        let unknown = runbook.values(&given(&[("name", "x"), ("tll", "1")])).unwrap_err();
        assert_eq!(unknown.path, "parameters.tll");
        assert_eq!(unknown.hint.as_deref(), Some("it has name, ttl"));
    }

    #[test]
    fn what_is_wrong_with_a_document_is_found() {
        for (document, finding) in [
            ("version = 2\nscript = { command = [\"x\"] }", "version: is 2"),
            ("version = 1", "is one of script, guest, http, ansible"),
            ("version = 1\nscript = { command = [] }", "script.command: names no program"),
            (
                "version = 1\nscript = { command = [\"x\", \"{{who}}\"] }",
                "{{who}} is used, and is no parameter",
            ),
            ("version = 1\nscript = { command = [\"x\"] }\n[parameters.\"a b\"]", "is no name"),
            ("version = 1\nhttp = { url = \"ftp://x\" }", "begins with http"),
        ] {
            let findings = read_runbook(document).unwrap().validate();
            assert!(findings.iter().any(|one| one.to_string().contains(finding)), "{document}: {findings:?}");
        }
        let error = read_runbook("version = 1\nskript = 1").unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("did you mean script?"));
    }
}

//! Which findings each of many rules may be about, found for all of them in one
//! pass over the report: thousands of rules on thousands of calls are millions
//! of comparisons, and hardly any of them fits.
//!
//! A rule that names a text is looked for by the longest plain part of it
//! (Aho and Corasick 1975); what is found may still not fit, and is asked.

use std::borrow::Cow;
use std::collections::HashMap;

use aho_corasick::AhoCorasick;

use super::Rules;
use super::lsan::Suppression;
use super::matching::{Needle, nameless};
use super::pattern::port;
use crate::model::{Finding, Frame};

/// The findings of each rule, then of each suppression, by their place.
#[derive(Debug)]
pub struct Index {
    all: Vec<usize>,
    /// None: all
    some: Vec<Option<Vec<usize>>>,
}

impl Index {
    /// Looks for the needles of all rules.
    #[must_use]
    pub fn of(rules: &Rules, findings: &[Finding]) -> Self {
        let suppressions = rules.suppressions.iter().map(Suppression::literal);
        let needles = rules.rules.iter().map(|rule| rule.when.needle());
        let needles: Vec<Needle<'_>> = needles.chain(suppressions.map(Needle::text)).collect();
        let search = Search::of(&needles);
        let mut index = Self {
            all: (0..findings.len()).collect(),
            some: needles.iter().map(|one| search.finds(one)).collect(),
        };
        if index.some.iter().any(Option::is_some) {
            search.run(findings, &mut index.some);
        }
        index
    }

    /// The findings that the rule of that number may be about, ascending.
    #[must_use]
    pub fn about(&self, rule: usize) -> &[usize] {
        self.some[rule].as_ref().unwrap_or(&self.all)
    }
}

/// Who asks for what.
struct Search<'a> {
    ids: HashMap<&'a str, Vec<usize>>,
    ports: HashMap<u16, Vec<usize>>,
    /// By the number of the text in the searcher
    texts: Vec<Vec<usize>>,
    /// None where there is nothing to look for, or too much for it
    searcher: Option<AhoCorasick>,
}

impl<'a> Search<'a> {
    fn of(needles: &[Needle<'a>]) -> Self {
        let (mut ids, mut ports) = (HashMap::new(), HashMap::new());
        let (mut words, mut texts, mut known) = (Vec::new(), Vec::new(), HashMap::new());
        for (asker, needle) in needles.iter().enumerate() {
            match needle {
                Needle::Id(id) => enter(&mut ids, *id, asker),
                Needle::Ports(all) => all.iter().for_each(|one| enter(&mut ports, *one, asker)),
                Needle::Text(text) => {
                    let at = *known.entry(*text).or_insert_with(|| {
                        words.push(*text);
                        texts.push(Vec::new());
                        texts.len() - 1
                    });
                    texts[at].push(asker);
                }
                Needle::Any => {}
            }
        }
        let searcher = (!words.is_empty()).then(|| AhoCorasick::new(&words).ok());
        Self {
            ids,
            ports,
            texts,
            searcher: searcher.flatten(),
        }
    }

    /// An empty list to fill where it looks for this, else none.
    fn finds(&self, needle: &Needle<'_>) -> Option<Vec<usize>> {
        let looks = match needle {
            Needle::Id(_) | Needle::Ports(_) => true,
            Needle::Text(_) => self.searcher.is_some(),
            Needle::Any => false,
        };
        looks.then(Vec::new)
    }

    fn run(&self, findings: &[Finding], found: &mut [Option<Vec<usize>>]) {
        let mut known: HashMap<Cow<'_, str>, Vec<usize>> = HashMap::new();
        for (at, finding) in findings.iter().enumerate() {
            let mut tell = |askers: &[usize]| {
                for asker in askers {
                    let Some(list) = &mut found[*asker] else {
                        continue;
                    };
                    if list.last() != Some(&at) {
                        list.push(at);
                    }
                }
            };
            self.ids
                .get(&*finding.id)
                .into_iter()
                .for_each(|askers| tell(askers));
            if !self.ports.is_empty() {
                ports(finding, |port| {
                    self.ports
                        .get(&port)
                        .into_iter()
                        .for_each(|askers| tell(askers))
                });
            }
            if let Some(searcher) = &self.searcher {
                for text in texts(finding) {
                    let askers = known
                        .entry(text)
                        .or_insert_with_key(|text| self.askers(searcher, text));
                    tell(askers);
                }
            }
        }
    }

    /// All whose text is somewhere in this one.
    fn askers(&self, searcher: &AhoCorasick, text: &str) -> Vec<usize> {
        let hits = searcher.find_overlapping_iter(text);
        let mut askers: Vec<usize> = hits
            .flat_map(|hit| &self.texts[hit.pattern().as_usize()])
            .copied()
            .collect();
        askers.sort_unstable();
        askers.dedup();
        askers
    }
}

fn enter<K: std::hash::Hash + Eq>(map: &mut HashMap<K, Vec<usize>>, key: K, asker: usize) {
    map.entry(key).or_default().push(asker);
}

/// All that a rule's texts are compared with, but the process.
fn texts(finding: &Finding) -> impl Iterator<Item = Cow<'_, str>> {
    let paths = finding.resources.iter();
    let paths = paths
        .filter_map(|object| object.path.as_deref())
        .map(Cow::from);
    let names = finding.stack.iter().flat_map(names);
    names.flatten().chain(paths)
}

fn names(frame: &Frame) -> [Option<Cow<'_, str>>; 3] {
    let function = frame.function.as_deref();
    [
        Some(function.map_or_else(|| nameless(frame).into(), Cow::from)),
        frame.module.as_deref().map(Cow::from),
        frame.file.as_deref().map(Cow::from),
    ]
}

fn ports(finding: &Finding, mut tell: impl FnMut(u16)) {
    let addresses = finding
        .resources
        .iter()
        .flat_map(|object| [&object.local, &object.peer]);
    addresses
        .filter_map(|address| port(address.as_deref()?))
        .for_each(&mut tell);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Resource;
    use crate::render::samples;
    use crate::rules::matching::Part;
    use crate::rules::{lsan, toml};
    use proptest::prelude::*;

    /// Names made of few letters, so that much fits.
    fn finding() -> impl Strategy<Value = Finding> {
        let name = || proptest::option::of("[ab]{1,3}");
        let frame = (name(), name(), name()).prop_map(|(function, module, file)| Frame {
            function,
            module: module.map(|name| format!("/lib/{name}")),
            file: file.map(|name| format!("/src/{name}.c")),
            ..Frame::default()
        });
        let object = (name(), 1_u16..4).prop_map(|(path, port)| Resource {
            path: path.map(|name| format!("/tmp/{name} (deleted)")),
            peer: Some(format!("10.0.0.1:{port}")),
            ..Resource::default()
        });
        let stack = proptest::collection::vec(frame, 0..4);
        let objects = proptest::collection::vec(object, 0..4);
        (stack, objects, "[ab]{1,2}").prop_map(|(stack, resources, id)| Finding {
            id,
            count: resources.len() as u64,
            stack,
            resources,
            ..samples::report().findings[0].clone()
        })
    }

    fn rule() -> impl Strategy<Value = String> {
        let glob = "[ab*?/]{1,4}";
        prop_oneof![
            glob.prop_map(|text| format!("function = '{text}'")),
            glob.prop_map(|text| format!("module = '{text}'")),
            glob.prop_map(|text| format!("file = '**{text}'")),
            glob.prop_map(|text| format!("path = '{text}'")),
            (glob, glob).prop_map(|(one, two)| format!("stack = ['{one}', '{two}']")),
            (glob, 1_u16..4)
                .prop_map(|(text, port)| format!("path = '/tmp/{text}'\nport = {port}")),
            (1_u16..4).prop_map(|port| format!("port = [{port}, 9]")),
            "[ab]{1,2}".prop_map(|id| format!("id = '{id}'")),
            Just("peer = '10.0.0.0/8'".to_owned()),
            Just("stack = ['[?]+0x0']".to_owned()),
        ]
    }

    proptest! {
        #[test]
        fn no_finding_that_a_rule_is_about_is_missed(
            findings in proptest::collection::vec(finding(), 1..6),
            keys in proptest::collection::vec(rule(), 1..12),
            patterns in proptest::collection::vec("[ab*$^]{1,4}", 0..6),
        ) {
            let written = keys.iter().map(|keys| format!("[[rule]]\n{keys}\nignore = true\n"));
            let text: String = written.filter(|one| toml::parse("m", one).is_ok()).collect();
            let suppressions: String = patterns.iter().map(|one| format!("leak:{one}\n")).collect();
            let rules = Rules {
                rules: toml::parse("memguard.toml", &text).unwrap(),
                suppressions: lsan::parse("s", &suppressions).unwrap(),
                ..Rules::default()
            };
            let index = Index::of(&rules, &findings);
            for (at, rule) in rules.rules.iter().enumerate() {
                for (place, finding) in findings.iter().enumerate() {
                    let is_about = rule.when.part_of(finding) != Part::None;
                    prop_assert!(!is_about || index.about(at).contains(&place), "{}", rule.name);
                }
            }
            for (at, suppression) in rules.suppressions.iter().enumerate() {
                let about = index.about(rules.rules.len() + at);
                for (place, finding) in findings.iter().enumerate() {
                    let heap = Finding { kind: crate::model::Kind::Memory, ..finding.clone() };
                    prop_assert!(!suppression.hides(&heap) || about.contains(&place));
                }
            }
        }
    }

    #[test]
    fn a_rule_is_asked_about_few() {
        let mut finding = samples::report().findings[0].clone();
        finding.stack = vec![Frame {
            function: Some("fetch_page".into()),
            ..Frame::default()
        }];
        let mut other = finding.clone();
        other.stack[0].function = Some("put_page".into());
        let text = "[[rule]]\nfunction = 'fetch_*'\nignore = true\n[[rule]]\nfunction = '*'\nignore = true\n";
        let rules = Rules {
            rules: toml::parse("m", text).unwrap(),
            ..Rules::default()
        };
        let index = Index::of(&rules, &[other, finding]);
        assert_eq!((index.about(0), index.about(1)), (&[1][..], &[0, 1][..]));
    }
}

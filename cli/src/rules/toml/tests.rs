//! What can be written, and what is said of what cannot.

use super::*;

fn one(text: &str) -> Rule {
    let mut rules = parse("memguard.toml", text).expect(text);
    assert_eq!(rules.len(), 1, "{text}");
    rules.remove(0)
}

#[track_caller]
pub(super) fn refused(text: &str, line: usize, words: &str) {
    let error = parse("my.toml", text).expect_err(text);
    assert_eq!(
        (error.file.as_str(), error.line),
        ("my.toml", line),
        "{error}"
    );
    assert!(error.sentence.contains(words), "no `{words}` in: {error}");
    assert!(
        error.sentence.ends_with('.') && error.sentence.contains(';'),
        "{error}"
    );
}

#[test]
fn every_key_is_read() {
    let rule = one(
        "[[rule]]\nid = 'x-1'\nprocess = 'a*'\nkind = ['sockets', 'files']\nfunction = 'f'\nmodule = 'l*.so'\n\
         file = '/src/*.c'\nstack = ['f', 'g']\npath = '/var/**'\npeer = '10.0.0.0/8'\nport = [80, 0x1bb]\n\
         expect = 3\nmin_age = '10m'\nmin_idle = 90\nmin_count = 2\nseverity = 'held'\nlabel = 'pool'\n",
    );
    let (when, then) = (&rule.when, &rule.then);
    assert_eq!(
        (when.id.as_deref(), &when.kind[..]),
        (Some("x-1"), &[Kind::Sockets, Kind::Files][..])
    );
    assert_eq!(
        (when.stack.len(), when.peer.len(), &when.port[..]),
        (2, 1, &[80, 443][..])
    );
    assert!(when.process.is_some() && when.function.is_some() && when.module.is_some());
    assert!(when.file.is_some() && when.path.is_some());
    assert_eq!(
        (then.expect, then.min_count, then.ignore),
        (Some(3), Some(2), false)
    );
    assert_eq!((then.min_age_s, then.min_idle_s), (Some(600.0), Some(90.0)));
    assert_eq!(
        (then.severity, then.label.as_deref()),
        (Some(Verdict::Held), Some("pool"))
    );
}

#[test]
fn a_rule_is_named_by_its_line_and_words() {
    let text = "# mine\n\n[[rule]]\nfunction = \"open_log\" # why\nignore = true\n\n[[rule]]\npeer = [\n  '::1',\n  '10.0.0.1',\n]\nexpect = 2\n";
    let rules = parse("memguard.toml", text).unwrap();
    let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "memguard.toml:3 (function=\"open_log\" ignore=true)",
            "memguard.toml:7 (peer=[ '::1', '10.0.0.1', ] expect=2)"
        ]
    );
    assert_eq!(parse("x", "").unwrap().len(), 0);
    assert_eq!(parse("x", "# nothing\n").unwrap().len(), 0);
    let inline = one("rule = [\n { function = 'f', ignore = true },\n]\n");
    assert!(
        inline.name.starts_with("memguard.toml:2 "),
        "{}",
        inline.name
    );
}

#[test]
fn unknown_keys_are_named_with_those_that_there_are() {
    refused(
        "[[rule]]\n\nfunctoin = 'f'\nignore = true\n",
        3,
        "`functoin` is not a key of a rule; use one of process, kind, function",
    );
    refused("[watch]\nx = 1\n", 1, "`watch` is not known here");
    refused("function = 'f'\n", 1, "`function` is not known here");
    refused("[rule]\nfunction = 'f'\n", 1, "two brackets on each side");
    refused("rule = [1]\n", 1, "a rule must be a table");
}

#[test]
fn wrong_types_are_told_apart() {
    refused(
        "[[rule]]\nfunction = 7\nignore = true",
        2,
        "a number stands where a text is wanted",
    );
    refused(
        "[[rule]]\nfunction = ''\nignore = true",
        2,
        "the text is empty",
    );
    refused(
        "[[rule]]\nfunction = 'f'\nignore = 'yes'",
        3,
        "a text stands where true is wanted",
    );
    refused(
        "[[rule]]\nfunction = 'f'\nignore = false",
        3,
        "ignore = false has no effect",
    );
    refused(
        "[[rule]]\nfunction = 'f'\nexpect = '3'",
        3,
        "a text stands where a number is wanted",
    );
    refused("[[rule]]\nfunction = 'f'\nexpect = -1", 3, "out of range");
    refused(
        "[[rule]]\nfunction = 'f'\nexpect = 1.5",
        3,
        "a number is wanted",
    );
    refused(
        "[[rule]]\nfunction = 'f'\nmin_count = 0",
        3,
        "0 has no effect",
    );
    refused("[[rule]]\nkind = []\nignore = true", 2, "the list is empty");
    refused(
        "[[rule]]\nstack = ['f', true]\nignore = true",
        2,
        "true or false stands where a text",
    );
    refused(
        "[[rule]]\nlabel = 2020-01-01\nfunction = 'f'",
        2,
        "a time stands",
    );
    refused(
        "[[rule]]\nfunction = {a = 1}\nignore = true",
        2,
        "a table stands",
    );
}

#[test]
fn wrong_values_are_told_with_the_right_ones() {
    refused(
        "[[rule]]\nfunction = 'operator['\nignore = true",
        2,
        "`operator[` is not a pattern",
    );
    refused(
        "[[rule]]\npath = '/a/{b'\nignore = true",
        2,
        "is not a pattern",
    );
    refused(
        "[[rule]]\nkind = 'socket'\nignore = true",
        2,
        "`socket` is not a kind; use one of files, sockets",
    );
    refused(
        "[[rule]]\npeer = 'db.local'\nignore = true",
        2,
        "write it like 10.0.0.9",
    );
    refused(
        "[[rule]]\npeer = '10.0.0.0/40'\nignore = true",
        2,
        "is not an address",
    );
    refused(
        "[[rule]]\nport = 70000\nignore = true",
        2,
        "70000 is not a port",
    );
    refused(
        "[[rule]]\nfunction = 'f'\nmin_age = 'soon'",
        3,
        "`soon` is not a span of time",
    );
    refused(
        "[[rule]]\nfunction = 'f'\nseverity = 'fatal'",
        3,
        "use leak, growing, suspect or held",
    );
    refused(
        "[[rule]]\nfunction = 'f'\nseverity = 'early'",
        3,
        "`early` is not a severity",
    );
}

#[test]
fn rules_that_say_nothing_are_refused_at_their_head() {
    refused("# x\n[[rule]]\n", 2, "the rule is empty");
    refused(
        "[[rule]]\nfunction = 'f'\nignore = true\n[[rule]]\nignore = true\n",
        4,
        "is about everything",
    );
    refused(
        "\n\n[[rule]]\nfunction = 'f'\n",
        3,
        "does nothing; add ignore = true",
    );
    refused(
        "[[rule]]\nfunction = 'f'\nignore = true\nexpect = 3\n",
        1,
        "ignore = true hides everything",
    );
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    refused(
        "[[rule]]\nfunction = 'f\nignore = true\n",
        2,
        "this is not TOML",
    );
    refused(
        "[[rule]]\nfunction = 'f'\nfunction = 'g'\nignore = true\n",
        3,
        "this is not TOML",
    );
    refused("[[rule\n", 1, "this is not TOML");
}

const DOCS: &str = include_str!("../../../../docs/RULES.md");

#[test]
fn the_documented_example_is_right_and_shows_every_key() {
    let example = DOCS.split("```toml\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let rules = parse("docs/RULES.md", example).unwrap();
    assert_eq!(rules.len(), 5);
    for key in ABOUT.iter().chain(&DOES) {
        assert!(
            rules
                .iter()
                .any(|rule| rule.name.contains(&format!("{key}="))),
            "{key} is not shown"
        );
        assert!(
            DOCS.contains(&format!("\n| `{key}` |")),
            "{key} is not explained"
        );
    }
    let kinds = Kind::value_variants().iter();
    kinds.for_each(|kind| assert!(DOCS.contains(&format!("`{}`", kind.name())), "{kind:?}"));
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused_with_a_line(
        text in "(\\[\\[?rule\\]?\\]|[a-z_]{1,9}|function|ignore|expect|peer|[ =\n]|'[^\n']{0,9}'|\"|\\{|\\}|true|[0-9]{1,20}|é|,){0,30}",
    ) {
        if let Err(error) = parse("x", &text) {
            proptest::prop_assert!(error.line >= 1 && error.line <= text.lines().count().max(1) + 1, "{}", error);
            proptest::prop_assert!(error.sentence.ends_with('.'), "{}", error);
        }
    }
}

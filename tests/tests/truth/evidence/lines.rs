//! Every sentence that a finding may be told in, with places for its numbers.
//! One that is not among them is a line that nobody compares, and fails.

/// A sentence or a part of one: its name and its text, `{}` where something
/// stands.
pub type Line = (&'static str, &'static str);

/// The parts of a summary, `; ` between them.
pub const SUMMARY: &[Line] = &[
    ("given back", "{} of {} {} from {} were {} within {}"),
    ("given back at once", "{} of {} {} from {} were {} in {}"),
    ("one given back", "1 of {} {} from {} was {}, it lived {}"),
    ("none given back", "None of the {} {} from {} was ever {}"),
    ("the one", "The one {} from {} was never {}"),
    (
        "proof",
        "{} others are {} old: their peers have gone, nothing was sent for {} and more, nobody waits on them",
    ),
    (
        "lost",
        "{} are {} old, none {} since ({} expected), unused for {} and more",
    ),
    (
        "lost",
        "{} are {} old, none {} since, unused for {} and more",
    ),
    ("lost", "{} are {} old, none {} since ({} expected)"),
    ("lost", "{} are {} old, none {} since"),
    ("held bytes on", "{} {} ({}) are held, {} old"),
    ("held on", "{} are held, {} old"),
    ("one held on", "1 is held, {} old"),
    ("held bytes", "{} {} ({}) from {} are held, for up to {}"),
    ("held", "{} {} from {} are held, for up to {}"),
    ("one held", "1 {} from {} is held, for up to {}"),
    ("more bytes", "{} more ({}) {} {}"),
    ("more", "{} more a {}"),
    ("more", "{} more an {}"),
    ("descriptors run out", "descriptors run out in {}"),
    ("memory runs out", "memory runs out in {}"),
    ("too early", "too early to judge, that takes {}"),
    ("next look", "judged again in {}"),
    (
        "stale",
        "{} epoll {} from {} {} stale: {}, while what was registered is still open elsewhere, so that epoll_wait goes on telling of it",
    ),
    // These say no number.
    ("words", "may be a cache"),
    ("words", "nothing tells whether they are used"),
    ("words", "but they are in use"),
    ("words", "closing has not clearly stopped yet"),
    ("words", "labelled a leak"),
    ("words", "no sign that more keep coming"),
    ("words", "more came, but no more than chance explains"),
];

/// The lines under it.
pub const EVIDENCE: &[Line] = &[
    (
        "lived",
        "Of {} given back, half lived {}, 90 % {}, 99 % {}, the longest {}.",
    ),
    ("removed", "The kernel removed {} one with what it watched."),
    (
        "removed",
        "The kernel removed {} ones with what they watched.",
    ),
    (
        "two looks",
        "The kernel lists them in two looks, {} ms apart.",
    ),
    (
        "old, proven",
        "All {} are older than {} and in CLOSE_WAIT with an empty send queue.",
    ),
    (
        "old, longest",
        "{} of {} held are older than {}, half as long again as the longest life.",
    ),
    (
        "old, longest",
        "{} of {} held were older than {}, half as long again as the longest life, when the site was last seen at work, {} ago.",
    ),
    (
        "old, then",
        "{} of {} held were older than {}, when the site was last seen at work, {} ago.",
    ),
    ("old", "{} of {} held are older than {}."),
    (
        "closing",
        "None of those was {} beyond that age, in {} of waiting all together: by chance that happens in {}.",
    ),
    (
        "coming",
        "{} of the old ones came in the later {}: had they all but stopped coming, chance would show that in {}.",
    ),
    (
        "using",
        "Of {} old ones {}: of healthy ones chance would show that in {}.",
    ),
    ("using", "Of {} old ones {}."),
    ("stays", "{} % of what it makes stays ({} to {} %)."),
    ("states", "Socket states: {}."),
];

/// The first line that a text fits, and what stands in its places.
pub fn fit<'a>(lines: &[Line], text: &'a str) -> Option<(&'static str, Vec<&'a str>)> {
    lines
        .iter()
        .find_map(|(name, form)| Some((*name, places(form, text)?)))
}

fn places<'a>(form: &str, text: &'a str) -> Option<Vec<&'a str>> {
    let mut parts = form.split("{}");
    let mut rest = text.strip_prefix(parts.next()?)?;
    let mut found = Vec::new();
    let parts: Vec<&str> = parts.collect();
    for (at, part) in parts.iter().enumerate() {
        let is_last = at + 1 == parts.len();
        let end = match (part.is_empty(), is_last) {
            (true, _) => rest.len(),
            // What stands last ends the text.
            (_, true) => rest.strip_suffix(part)?.len(),
            _ => rest.find(part)?,
        };
        found.push(&rest[..end]);
        rest = &rest[end + part.len()..];
    }
    rest.is_empty().then_some(found)
}

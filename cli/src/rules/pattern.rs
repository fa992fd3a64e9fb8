//! The patterns of rules: globs over names and paths, and networks.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::OnceLock;

use globset::{GlobBuilder, GlobMatcher};

/// `*`, `?`, `[a-z]`, `{a,b}` and, in paths, `**`; `\` makes them plain.
#[derive(Debug, Clone)]
pub struct Glob {
    written: globset::Glob,
    /// Made when it is first asked: most of many rules never are
    matcher: OnceLock<GlobMatcher>,
    has_folder: bool,
    /// What it can be told by before the matcher is asked, which takes long
    literal: Literal,
}

/// The plain parts of a glob, which every text that it fits has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Literal {
    /// At the beginning
    start: String,
    /// The longest anywhere
    longest: String,
    /// Nothing else is in it
    whole: bool,
}

impl Literal {
    /// Beyond a class, braces or `**` nothing is taken for plain: `**/` may stand
    /// for nothing at all.
    fn of(text: &str) -> Self {
        let simple = !text.contains(['[', '{']) && !text.contains("**");
        let (mut parts, mut last) = (vec![String::new()], '\0');
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            match char {
                '[' | '{' => break,
                '*' if last == '*' => break,
                '*' | '?' => parts.push(String::new()),
                '\\' => parts.last_mut().expect("never empty").extend(chars.next()),
                plain => parts.last_mut().expect("never empty").push(plain),
            }
            last = char;
        }
        let whole = simple && parts.len() == 1;
        let start = parts[0].clone();
        let start = if text.contains("**") {
            start.trim_end_matches('/').to_owned()
        } else {
            start
        };
        let longest = parts
            .into_iter()
            .max_by_key(String::len)
            .unwrap_or_default();
        Self {
            longest: if simple { longest } else { String::new() },
            start,
            whole,
        }
    }

    /// Whether a text, or the beginning of it, may fit.
    fn may_fit(&self, text: &str) -> bool {
        text.starts_with(&self.start) && (self.whole || text.contains(&self.longest))
    }
}

impl Glob {
    /// For names of functions and processes: `*` is any text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn name(text: &str) -> Result<Self, String> {
        Self::new(text, false)
    }

    /// For paths: `*` ends at a slash, `**` does not.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn path(text: &str) -> Result<Self, String> {
        Self::new(text, true)
    }

    fn new(text: &str, path: bool) -> Result<Self, String> {
        let glob = GlobBuilder::new(text)
            .literal_separator(path)
            .backslash_escape(true)
            .build()
            .map_err(|error| error.kind().to_string())?;
        Ok(Self {
            written: glob,
            matcher: OnceLock::new(),
            has_folder: text.contains('/'),
            literal: Literal::of(text),
        })
    }

    /// Whether it is this text.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        if self.literal.whole {
            return text == self.literal.start;
        }
        self.literal.may_fit(text) && self.matcher().is_match(text)
    }

    fn matcher(&self) -> &GlobMatcher {
        self.matcher.get_or_init(|| self.written.compile_matcher())
    }

    /// What stands in every text that it fits, paths with their folders; may
    /// be empty.
    #[must_use]
    pub fn literal(&self) -> &str {
        let (start, longest) = (&self.literal.start, &self.literal.longest);
        if start.len() > longest.len() {
            start
        } else {
            longest
        }
    }

    /// Whether it is this path or, without a slash in it, its file name.
    #[must_use]
    pub fn is_path(&self, path: &str) -> bool {
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        let file = path.rsplit('/').next().unwrap_or(path);
        self.is(if self.has_folder { path } else { file })
    }

    /// Whether it is this function, with or without its arguments and what
    /// the compiler appends to the parts of one that it split.
    #[must_use]
    pub fn is_function(&self, name: &str) -> bool {
        // The shorter names are all beginnings of it.
        if !self.literal.may_fit(name) {
            return false;
        }
        let bare = without_arguments(name);
        let whole = without_clone(bare);
        let shorter = |long: &str, short: &str| short.len() < long.len() && self.is(short);
        self.is(name) || shorter(name, bare) || shorter(bare, whole)
    }
}

/// A text as a glob that is that text and no other.
#[must_use]
pub fn plain(text: &str) -> String {
    globset::escape(&text.replace('\\', "\\\\"))
}

/// `f(int) const` without what belongs to its call.
fn without_arguments(name: &str) -> &str {
    let end = name.strip_suffix(" const").unwrap_or(name);
    if !end.ends_with(')') {
        return name;
    }
    let mut depth = 0;
    for (at, byte) in end.bytes().enumerate().rev() {
        match byte {
            b')' => depth += 1,
            b'(' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return if at == 0 { name } else { &name[..at] };
        }
    }
    name
}

/// `f.part.0` is a part of `f`.
fn without_clone(name: &str) -> &str {
    const MARKS: [&str; 5] = [".part.", ".constprop.", ".isra.", ".cold", ".lto_priv."];
    let first = MARKS.iter().filter_map(|mark| name.find(mark)).min();
    match first {
        Some(at) if at > 0 => &name[..at],
        _ => name,
    }
}

/// An address, or all that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    bits: u128,
    mask: u128,
}

impl Network {
    /// `10.0.0.9`, `10.0.0.0/8`, `::1`, `fd00::/8`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        // IPv4 lies in the last 32 bits.
        let (width, before) = if address.is_ipv4() {
            (32, 96)
        } else {
            (128, 0)
        };
        let length = length.unwrap_or(width);
        let free = 128 - before - length.min(width);
        let mask = u128::MAX.checked_shl(free).unwrap_or(0);
        (length <= width).then(|| Self {
            bits: bits(address) & mask,
            mask,
        })
    }

    /// Whether the address of `10.0.0.9:443` or `[::1]:443` is in it.
    #[must_use]
    pub fn has(&self, peer: &str) -> bool {
        let address = peer.parse::<SocketAddr>();
        address.is_ok_and(|peer| bits(peer.ip()) & self.mask == self.bits)
    }
}

/// One space for both families; `::ffff:10.0.0.9` is 10.0.0.9.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped().to_bits(),
        IpAddr::V6(six) => Ipv6Addr::to_bits(six),
    }
}

/// The port of `10.0.0.9:443` or `[::1]:443`.
#[must_use]
pub fn port(address: &str) -> Option<u16> {
    address.parse::<SocketAddr>().ok().map(|it| it.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_star_ends_at_a_slash_in_paths_only() {
        let log = Glob::path("/var/log/*.log").unwrap();
        assert!(log.is_path("/var/log/a.log") && log.is_path("/var/log/a.log (deleted)"));
        assert!(!log.is_path("/var/log/x/a.log"));
        assert!(Glob::path("/var/**").unwrap().is_path("/var/log/x/a.log"));
        assert!(Glob::path("*.log").unwrap().is_path("/var/log/x/a.log"));
        assert!(Glob::name("std::*").unwrap().is("std::a/b"));
        assert!(Glob::name("[").is_err());
    }

    #[test]
    fn functions_go_by_their_bare_name_too() {
        let glob = Glob::name("ask_price").unwrap();
        for name in [
            "ask_price",
            "ask_price(int, char*)",
            "ask_price.part.0",
            "ask_price(void (*)(int)) const",
        ] {
            assert!(glob.is_function(name), "{name}");
        }
        for name in ["task_price", "ask_prices", "ask_price::x()", "(ask_price)"] {
            assert!(!glob.is_function(name), "{name}");
        }
        assert!(Glob::name("f(int)").unwrap().is_function("f(int)"));
        assert!(
            Glob::name("A::operator()")
                .unwrap()
                .is_function("A::operator()(int)")
        );
    }

    #[test]
    fn networks_of_both_families() {
        let is = |net: &str, peer: &str| Network::parse(net).unwrap().has(peer);
        assert!(is("10.0.0.9", "10.0.0.9:443") && !is("10.0.0.9", "10.0.0.8:443"));
        assert!(is("10.0.0.0/8", "10.200.0.1:1") && !is("10.0.0.0/8", "11.0.0.1:1"));
        assert!(is("10.0.0.0/8", "[::ffff:10.1.1.1]:9"));
        assert!(is("0.0.0.0/0", "9.9.9.9:1") && !is("0.0.0.0/0", "[::1]:1"));
        assert!(is("fd00::/8", "[fd12::1]:80") && is("::/0", "[::1]:1") && is("::1", "[::1]:5"));
        assert!(!is("10.0.0.0/8", "/run/socket"));
        for bad in [
            "",
            "10.0.0",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/x",
            "localhost",
        ] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
        assert_eq!(
            (port("[::1]:443"), port("10.0.0.9:80"), port("x")),
            (Some(443), Some(80), None)
        );
    }

    #[test]
    fn what_every_text_must_have_is_found() {
        let of = |text| {
            let literal = Literal::of(text);
            (literal.start, literal.longest, literal.whole)
        };
        let is = |start: &str, longest: &str, whole| (start.to_owned(), longest.to_owned(), whole);
        assert_eq!(of("ask_price"), is("ask_price", "ask_price", true));
        assert_eq!(of("std::*::push"), is("std::", "::push", false));
        assert_eq!(of("a\\*b"), is("a*b", "a*b", true));
        assert_eq!(of("a[bc]d"), is("a", "", false));
        assert_eq!(of("/var/**/x"), is("/var", "", false));
        assert_eq!(of("*"), is("", "", false));
    }

    proptest! {
        #[test]
        fn the_short_way_is_as_right_as_the_long_one(
            glob in "[ab/*?.\\\\{},\\[\\]]{0,8}", text in "[ab/.]{0,8}", path: bool
        ) {
            if let Ok(glob) = Glob::new(&glob, path) {
                prop_assert_eq!(glob.is(&text), glob.matcher().is_match(&text), "{:?}", glob.literal);
                prop_assert!(!glob.is(&text) || text.contains(glob.literal()));
            }
        }

        #[test]
        fn a_plain_text_is_itself(text in "[ -~]{1,40}", other in "[ -~]{1,40}") {
            let glob = Glob::name(&plain(&text)).unwrap();
            prop_assert!(glob.is(&text));
            prop_assert_eq!(glob.is(&other), text == other);
        }

        #[test]
        fn any_name_is_survived(name in "\\PC{0,30}") {
            let _ = Glob::name("*").unwrap().is_function(&name);
            let _ = Glob::name(&name).map(|glob| glob.is_path(&name));
            let _ = Network::parse(&name);
        }
    }
}

//! Descriptors: the library's rows checked against the kernel's list.
//!
//! The kernel is the truth. A row whose number is not open is a close that
//! the library did not see: dropped and counted. A number without a row, or
//! whose kind does not fit its row, is of unknown origin, unless the parent has
//! it just so.

use shm_protocol::codes::{Kind as Row, fd_flag};
use shm_protocol::view::DescriptorInfo;

use super::facts::{Facts, FdFact};
use super::{activity, kinds};
use crate::model::Kind;

/// One open descriptor.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Descriptor {
    /// Its number
    pub fd: i32,
    /// The group `--kind` selects by
    pub kind: Option<Kind>,
    /// When it was created, ms since the segment was made
    pub born_ms: Option<u64>,
    /// The second of its last use that a hook saw; none where not all uses
    /// are seen
    pub used_s: Option<u32>,
    /// The latest moment at which that use may have been, ms since the segment
    /// was made
    pub used_ms: Option<u64>,
    /// The segment's number of its site
    pub site: Option<u32>,
    /// Whether it came from the parent, or from before exec
    pub inherited: Option<bool>,
    /// Whether its creation was seen
    pub origin_known: bool,
    /// Another number was made a duplicate of it
    pub duplicated: bool,
    /// The number that it was made a duplicate of
    pub copy_of: Option<i32>,
    /// It belongs to a FILE* or DIR*, whose reads no hook sees
    pub stdio: bool,
    /// Since when, at the latest, its position in the file has not moved; known
    /// by comparing two looks
    pub still_since_ms: Option<u64>,
    /// Others use it too, or libc itself does, where no hook sees it: passed on
    /// or received by SCM_RIGHTS, popen
    pub elsewhere: bool,
    /// Put on its number by dup2(2): the program chose the number
    pub placed: bool,
    /// Mapped by mmap(2)
    pub mapped: bool,
    /// A fix has ended its connection, and only the number is still held; known
    /// by what that fix kept
    pub hung_up: bool,
    /// What the kernel said
    pub fact: Option<FdFact>,
}

/// The outcome of checking.
#[derive(Debug, Default)]
pub struct Reconciled {
    /// Every open descriptor, by number
    pub open: Vec<Descriptor>,
    /// Rows whose descriptor was not open
    pub dropped: u64,
    /// Open ones of unknown origin
    pub unknown: u64,
}

/// Rows read before and after the kernel's list, made one: what was opened or
/// closed in between is then no contradiction.
///
/// A listed number goes by its later row, else its earlier one. One that is
/// not listed counts only if both times saw the very same row: then its close
/// was missed, else it merely came or went.
#[must_use]
pub fn settle(
    before: &[DescriptorInfo],
    after: Option<&[DescriptorInfo]>,
    facts: &Facts,
) -> Vec<DescriptorInfo> {
    let Some(after) = after else {
        return before.to_vec();
    };
    let earlier = |fd: u32| {
        before
            .binary_search_by_key(&fd, |row| row.fd)
            .ok()
            .map(|at| &before[at])
    };
    let listed = |fd: u32| facts.descriptor(fd as i32).is_some();
    let same = |row: &DescriptorInfo| {
        earlier(row.fd).is_some_and(|old| old.info.generation == row.info.generation)
    };
    let later = after
        .iter()
        .filter(|row| listed(row.fd) || same(row))
        .copied();
    let gone = |row: &&DescriptorInfo| after.binary_search_by_key(&row.fd, |row| row.fd).is_err();
    let earlier = before
        .iter()
        .filter(gone)
        .filter(|row| listed(row.fd))
        .copied();
    let mut rows: Vec<DescriptorInfo> = later.chain(earlier).collect();
    rows.sort_by_key(|row| row.fd);
    rows
}

/// Checks the rows against the kernel's list, if there is one.
///
/// For a process that ended, the list is of its last look: what was created
/// after it is believed as it stands.
#[must_use]
pub fn reconcile(rows: &[DescriptorInfo], facts: &Facts) -> Reconciled {
    let Some(seen) = facts.descriptors.as_ref() else {
        let open: Vec<Descriptor> = rows.iter().filter_map(|row| from_row(row, None)).collect();
        return Reconciled {
            open,
            ..Reconciled::default()
        };
    };
    let mut result = Reconciled::default();
    for row in rows {
        let fact = facts.descriptor(row.fd as i32);
        match fact {
            Some(fact) if born_before(row, facts) => result.open.extend(matched(row, fact)),
            _ if facts.alive || born_before(row, facts) => {
                result.dropped += u64::from(fact.is_none())
            }
            _ => result.open.extend(from_row(row, None)),
        }
    }
    let listed = |fd: i32| rows.binary_search_by_key(&fd, |row| row.fd as i32).is_ok();
    let without = seen
        .iter()
        .filter(|fact| !listed(fact.fd) && (facts.alive || !fact.tracked));
    result.open.extend(without.map(without_row));
    result.open.sort_by_key(|descriptor| descriptor.fd);
    result.unknown = result
        .open
        .iter()
        .filter(|descriptor| !descriptor.origin_known)
        .count() as u64;
    result
}

/// Live looks read the segment before the kernel's list, so there every row
/// is older than the list.
fn born_before(row: &DescriptorInfo, facts: &Facts) -> bool {
    facts.alive
        || facts
            .moment_ms
            .is_none_or(|moment| row.info.origin.at_ms <= moment)
}

fn matched(row: &DescriptorInfo, fact: &FdFact) -> Option<Descriptor> {
    let fits = row.kind.is_none_or(|kind| kinds::may_be(kind, &fact.what));
    if fits {
        from_row(row, Some(fact))
    } else {
        Some(without_row(fact))
    }
}

/// None for rows that are not of descriptors.
fn from_row(row: &DescriptorInfo, fact: Option<&FdFact>) -> Option<Descriptor> {
    let kind = row.kind.unwrap_or(Row::Other);
    let site = row.info.origin.site;
    kind.is_descriptor().then(|| Descriptor {
        fd: row.fd as i32,
        kind: fact.and_then(|fact| fact.kind).or(kinds::group_of(kind)),
        born_ms: Some(row.info.origin.at_ms).filter(|_| kind != Row::Inherited),
        used_s: row.used_s.filter(|_| activity::is_stamped(row, fact)),
        used_ms: None,
        site: Some(site).filter(|site| *site != 0),
        inherited: Some(kind == Row::Inherited),
        origin_known: true,
        stdio: row.info.flags & fd_flag::STDIO != 0,
        still_since_ms: None,
        hung_up: false,
        duplicated: row.info.flags & fd_flag::DUPLICATED != 0,
        copy_of: row.info.source.and_then(|fd| i32::try_from(fd).ok()),
        elsewhere: row.info.flags & fd_flag::SENT != 0
            || matches!(kind, Row::Received | Row::Popen),
        placed: row.info.flags & fd_flag::PLACED != 0,
        mapped: row.info.flags & fd_flag::MAPPED != 0,
        fact: fact.cloned(),
    })
}

fn without_row(fact: &FdFact) -> Descriptor {
    Descriptor {
        fd: fact.fd,
        kind: fact.kind,
        inherited: fact.from_parent.then_some(true),
        origin_known: fact.from_parent,
        fact: Some(fact.clone()),
        ..Descriptor::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_protocol::fds::FdInfo;
    use shm_protocol::words::Origin;

    fn row(fd: u32, kind: Row, at_ms: u64) -> DescriptorInfo {
        let origin = Origin { at_ms, site: 5 };
        DescriptorInfo {
            fd,
            info: FdInfo {
                origin,
                kind: kind as u8,
                ..FdInfo::default()
            },
            kind: Some(kind),
            used_s: None,
        }
    }

    fn fact(fd: i32, what: &str, tracked: bool) -> FdFact {
        FdFact {
            fd,
            what: what.into(),
            tracked,
            ..FdFact::default()
        }
    }

    fn look(alive: bool, open: Vec<FdFact>) -> Facts {
        Facts {
            alive,
            moment_ms: Some(100),
            descriptors: Some(open),
            ..Facts::default()
        }
    }

    #[test]
    fn the_kernel_has_the_last_word() {
        let rows = [
            row(3, Row::File, 1),
            row(4, Row::File, 2),
            row(5, Row::Socket, 3),
        ];
        let seen = vec![
            fact(0, "device", false),
            fact(3, "regular", false),
            fact(5, "eventfd", false),
        ];
        let result = reconcile(&rows, &look(true, seen));
        let known: Vec<_> = result
            .open
            .iter()
            .map(|open| (open.fd, open.origin_known))
            .collect();
        assert_eq!(known, [(0, false), (3, true), (5, false)]);
        assert_eq!((result.dropped, result.unknown), (1, 2));
    }

    #[test]
    fn what_the_parent_has_just_so_is_inherited() {
        let shared = FdFact {
            from_parent: true,
            ..fact(900, "regular", false)
        };
        for alive in [true, false] {
            let seen = vec![fact(40, "regular", false), shared.clone()];
            let result = reconcile(&[], &look(alive, seen));
            let said = result.open.iter().map(|open| (open.fd, open.inherited));
            assert!(said.eq([(40, None), (900, Some(true))]), "{result:?}");
            assert_eq!(result.unknown, 1);
        }
    }

    #[test]
    fn after_the_end_the_last_look_counts_for_what_it_saw() {
        // 3: closed unseen before the look; 4: opened after it; 6: unknown
        // then; 7: had a row then, was closed since.
        let rows = [
            row(3, Row::File, 1),
            row(4, Row::File, 200),
            row(5, Row::File, 2),
        ];
        let seen = vec![
            fact(5, "regular", true),
            fact(6, "regular", false),
            fact(7, "regular", true),
        ];
        let result = reconcile(&rows, &look(false, seen));
        assert_eq!(
            result.open.iter().map(|open| open.fd).collect::<Vec<_>>(),
            [4, 5, 6]
        );
        assert_eq!((result.dropped, result.unknown), (1, 1));
    }

    #[test]
    fn what_moves_between_two_looks_is_no_contradiction() {
        let again = |generation| {
            let mut row = row(4, Row::File, 1);
            row.info.generation = generation;
            row
        };
        let facts = look(
            true,
            vec![fact(3, "regular", false), fact(5, "regular", false)],
        );
        // 3 was closed after the list, 5 opened before it, 6 after it; 4 was
        // closed unseen, then (second case) opened anew after the list.
        let before = [row(3, Row::File, 1), again(1)];
        let after = [again(1), row(5, Row::File, 2), row(6, Row::File, 3)];
        let rows = settle(&before, Some(&after), &facts);
        assert_eq!(rows.iter().map(|row| row.fd).collect::<Vec<_>>(), [3, 4, 5]);
        let result = reconcile(&rows, &facts);
        assert_eq!(
            (result.open.len(), result.dropped, result.unknown),
            (2, 1, 0)
        );
        let rows = settle(&before, Some(&[again(2)]), &facts);
        assert_eq!(rows.iter().map(|row| row.fd).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn without_a_look_the_rows_stand() {
        let rows = [row(0, Row::Inherited, 0), row(4, Row::File, 200)];
        let result = reconcile(&rows, &Facts::default());
        assert_eq!(result.open.len(), 2);
        assert_eq!(
            (result.open[0].inherited, result.open[0].born_ms),
            (Some(true), None)
        );
    }
}

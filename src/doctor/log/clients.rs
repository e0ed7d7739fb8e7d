//! Clients and their tries, in bounded memory.
//!
//! A login is 401 and 200 (Kerberos), or 401, 401 and 200 (NTLM): a client that gets a third 401 in a row for a path is not let in.
//! Where a log does not tell connections apart, several logins at once look like more 401s in a row; then their 200s follow.
//! So a 401 is a debt, and anything else pays for two of them: what stays unpaid after three in a row is a loop.

use std::collections::HashMap;

use super::entry::{Entry, hash};
use super::evidence::Evidence;

/// 401s in a row that no single login has.
const TRIES_MAX: u32 = 3;

/// A pause after which a further request is another attempt, in seconds.
const PAUSE_SECONDS: u64 = 60;

/// Most clients that are followed at once.
const CLIENTS_MAX: usize = 16 * 1024;

/// Most paths of a client that are followed at once.
const PATHS_MAX: usize = 4;

/// Most bytes kept of a client's name, or of a path.
const TEXT_BYTES_MAX: usize = 120;

/// 401s of a client for a path, or for all of them before anything else.
#[derive(Debug)]
struct Tries {
    path: u64,
    in_words: Box<str>,
    debt: u32,
    in_a_row: u32,
    most_in_a_row: u32,
    refused: u32,
    since: Option<u64>,
    until: Option<u64>,
    /// The number of its last line.
    line: u64,
    evidence: Evidence,
}

impl Tries {
    fn new(path: u64, entry: &Entry<'_>) -> Self {
        Self {
            path,
            in_words: cut(&entry.path),
            debt: 0,
            in_a_row: 0,
            most_in_a_row: 0,
            refused: 0,
            since: entry.at,
            until: None,
            line: 0,
            evidence: Evidence::default(),
        }
    }

    fn refuse(&mut self, entry: &Entry<'_>, line: u64) {
        self.debt += 1;
        self.in_a_row += 1;
        self.most_in_a_row = self.most_in_a_row.max(self.in_a_row);
        self.refused += 1;
        self.until = entry.at;
        self.line = line;
        self.evidence.add(entry);
    }

    fn is_after_a_pause(&self, at: Option<u64>) -> bool {
        matches!((self.until, at), (Some(until), Some(at)) if at > until + PAUSE_SECONDS)
    }

    fn is_loop(&self) -> bool {
        self.most_in_a_row >= TRIES_MAX && self.debt > 0
    }
}

/// The loops of a client.
#[derive(Debug, Default)]
pub(super) struct Loops {
    /// 401s in them.
    pub refused: u64,
    /// How many.
    pub times: u64,
    /// A path.
    pub path: Box<str>,
    /// Whether one was over several paths.
    pub paths_vary: bool,
    pub since: Option<u64>,
    pub until: Option<u64>,
    pub evidence: Evidence,
}

impl Loops {
    fn add(&mut self, tries: Tries, paths_vary: bool) {
        if self.times == 0 {
            self.path = tries.in_words;
            self.since = tries.since;
        }
        self.paths_vary |= paths_vary;
        self.refused += u64::from(tries.refused);
        self.times += 1;
        self.since = self.since.min(tries.since).or(self.since).or(tries.since);
        self.until = self.until.max(tries.until);
        self.evidence.merge(&tries.evidence);
    }
}

/// A client's requests.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// 401s.
    pub refused: u64,
    /// Other replies.
    pub others: u64,
    pub loops: Option<Box<Loops>>,
    /// All 401s, as long as there is nothing else.
    first: Option<Box<Tries>>,
    open: Vec<Tries>,
    line: u64,
}

impl Client {
    fn take(&mut self, entry: &Entry<'_>, line: u64) {
        self.line = line;
        let path = hash(&entry.path);
        if let Some(paused) =
            self.open.iter().position(|tries| tries.path == path && tries.is_after_a_pause(entry.at))
        {
            let tries = self.open.swap_remove(paused);
            self.end(tries, false);
        }
        let place = self.open.iter().position(|tries| tries.path == path);
        if entry.status != 401 {
            self.others += 1;
            self.first = None;
            if let Some(place) = place {
                let tries = &mut self.open[place];
                tries.in_a_row = 0;
                tries.debt = tries.debt.saturating_sub(2);
                tries.line = line;
                if tries.debt == 0 {
                    self.open.swap_remove(place);
                }
            }
            return;
        }
        self.refused += 1;
        if self.others == 0 {
            self.first.get_or_insert_with(|| Box::new(Tries::new(path, entry))).refuse(entry, line);
        }
        let place = place.unwrap_or_else(|| {
            if self.open.len() == PATHS_MAX
                && let Some(oldest) = (0..self.open.len()).min_by_key(|place| self.open[*place].line)
            {
                let tries = self.open.swap_remove(oldest);
                self.end(tries, false);
            }
            self.open.push(Tries::new(path, entry));
            self.open.len() - 1
        });
        self.open[place].refuse(entry, line);
    }

    fn end(&mut self, tries: Tries, paths_vary: bool) {
        if tries.is_loop() {
            self.loops.get_or_insert_default().add(tries, paths_vary);
        }
    }

    fn end_all(&mut self) {
        for tries in std::mem::take(&mut self.open) {
            self.end(tries, false);
        }
        if let Some(first) = self.first.take()
            && self.loops.is_none()
        {
            self.end(*first, true);
        }
    }

    /// 401s that may be part of a loop.
    fn unpaid(&self) -> u64 {
        let open = self.open.iter().map(|tries| u64::from(tries.debt)).sum();
        self.loops.as_ref().map_or(0, |loops| loops.refused).max(open)
    }
}

/// The clients of a log.
#[derive(Debug)]
pub(super) struct Clients {
    by_name: HashMap<Box<str>, Client>,
    max: usize,
    /// Clients that had no room any more, and how many of them were in a loop.
    pub forgotten: u64,
    pub forgotten_loops: u64,
}

impl Default for Clients {
    fn default() -> Self {
        Self::with_room_for(CLIENTS_MAX)
    }
}

impl Clients {
    fn with_room_for(max: usize) -> Self {
        Self { by_name: HashMap::new(), max, forgotten: 0, forgotten_loops: 0 }
    }

    /// Counts a request.
    pub(super) fn take(&mut self, entry: &Entry<'_>, line: u64) {
        // Neither let in nor refused: a client that left, or no reply at all.
        if matches!(entry.status, 0 | 100..=199 | 408 | 499) && entry.status != 101 {
            return;
        }
        let name = head(&entry.client);
        if !self.by_name.contains_key(name) && self.by_name.len() >= self.max {
            self.make_room();
        }
        match self.by_name.get_mut(name) {
            Some(client) => client.take(entry, line),
            None => self.by_name.entry(name.into()).or_default().take(entry, line),
        }
    }

    /// Forgets the half of the clients with the fewest 401s in loops; of equals those that were seen last longest ago.
    fn make_room(&mut self) {
        let mut order: Vec<_> = self.by_name.values().map(|client| (client.unpaid(), client.line)).collect();
        let middle = order.len() / 2;
        let (_, least_kept, _) = order.select_nth_unstable(middle);
        let least_kept = *least_kept;
        let (mut forgotten, mut loops) = (0, 0);
        self.by_name.retain(|_, client| {
            let is_kept = (client.unpaid(), client.line) >= least_kept;
            if !is_kept {
                client.end_all();
                forgotten += 1;
                loops += u64::from(client.loops.is_some());
            }
            is_kept
        });
        self.forgotten += forgotten;
        self.forgotten_loops += loops;
    }

    /// All that are left, the one with the most 401s in loops first.
    pub(super) fn finish(self) -> Vec<(Box<str>, Client)> {
        let mut clients: Vec<_> = self.by_name.into_iter().collect();
        for (_, client) in &mut clients {
            client.end_all();
        }
        clients.sort_by_cached_key(|(name, client)| (std::cmp::Reverse(client.unpaid()), name.clone()));
        clients
    }
}

fn cut(text: &str) -> Box<str> {
    let kept = head(text);
    if kept.len() < text.len() { format!("{kept}…").into() } else { kept.into() }
}

fn head(text: &str) -> &str {
    let end = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 401s in loops after these statuses, each for a path, a second apart.
    fn looped(requests: &[(&str, u16)]) -> u64 {
        let mut clients = Clients::default();
        for (nth, (path, status)) in requests.iter().enumerate() {
            let nth = nth as u64;
            clients.take(&entry("192.0.2.7", path, *status, nth), nth);
        }
        clients
            .finish()
            .first()
            .and_then(|(_, client)| client.loops.as_ref())
            .map_or(0, |loops| loops.refused)
    }

    fn entry<'a>(client: &'a str, path: &'a str, status: u16, at: u64) -> Entry<'a> {
        Entry { client: client.into(), path: path.into(), status, at: Some(at), ..Entry::default() }
    }

    #[test]
    fn logins_that_are_let_in_are_no_loops() {
        assert_eq!(looped(&[("/", 401), ("/", 200)]), 0, "Kerberos");
        assert_eq!(looped(&[("/", 401), ("/", 401), ("/", 200)]), 0, "NTLM");
        assert_eq!(looped(&[("/", 401), ("/", 401), ("/", 404)]), 0, "logged in, and not found");
        assert_eq!(looped(&[("/", 401), ("/", 401), ("/", 302), ("/a", 401), ("/a", 401), ("/a", 200)]), 0);
        let at_once = [("/", 401), ("/", 401), ("/", 401), ("/", 401), ("/", 200), ("/", 200)];
        assert_eq!(looped(&at_once), 0, "two at once");
        let interleaved =
            [("/a", 401), ("/b", 401), ("/a", 401), ("/c", 401), ("/b", 401), ("/c", 401), ("/a", 200)];
        assert_eq!(looped(&interleaved), 0, "a browser with three connections");
        assert_eq!(looped(&[("/", 401), ("/", 499), ("/", 401), ("/", 200)]), 0);
    }

    #[test]
    fn a_third_401_in_a_row_is_a_loop() {
        assert_eq!(looped(&[("/", 401), ("/", 401), ("/", 401)]), 3);
        assert_eq!(looped(&[("/", 401), ("/", 401), ("/", 401), ("/", 200)]), 3, "let in at last");
        assert_eq!(looped(&[("/", 401); 50]), 50);
        let with_style =
            [("/", 401), ("/a.css", 200), ("/", 401), ("/a.css", 200), ("/", 401), ("/a.css", 200)];
        assert_eq!(looped(&with_style), 3, "what needs no login does not pay");
        assert_eq!(looped(&[("/", 401), ("/a", 401), ("/b", 401), ("/c", 401), ("/d", 401), ("/e", 401)]), 6);
        let aborted = [("/", 401), ("/", 401), ("/", 499), ("/", 401), ("/", 0)];
        assert_eq!(looped(&aborted), 3, "a client that left was not let in");
    }

    #[test]
    fn what_comes_after_a_pause_does_not_pay() {
        let mut clients = Clients::default();
        for (nth, status) in [401, 401, 401, 401].into_iter().enumerate() {
            clients.take(&entry("a", "/", status, nth as u64), 1);
        }
        for at in 1000..1010 {
            clients.take(&entry("a", "/", 200, at), 2);
        }
        let [(_, client)] = &clients.finish()[..] else { panic!("one client") };
        let loops = client.loops.as_ref().expect("a loop");
        assert_eq!((loops.refused, loops.times, loops.since, loops.until), (4, 1, Some(0), Some(3)));
        assert_eq!((client.refused, client.others), (4, 10));
    }

    #[test]
    fn memory_is_bounded_and_loops_outlast_the_rest() {
        let mut clients = Clients::with_room_for(64);
        for nth in 0..10_000_u64 {
            let name = format!("10.0.{}.{}", nth / 250, nth % 250);
            let long = "/".repeat(5000);
            clients.take(&entry(&name, &long, 401, nth), nth);
            clients.take(&entry(&name, &long, 200, nth), nth);
            if nth % 100 == 0 {
                clients.take(&entry("192.0.2.7", "/", 401, nth / 100), nth);
            }
            assert!(clients.by_name.len() <= 64);
        }
        assert!(clients.forgotten > 9_900 && clients.forgotten_loops == 0);
        let found = clients.finish();
        assert_eq!(
            (&*found[0].0, found[0].1.loops.as_ref().map(|loops| loops.refused)),
            ("192.0.2.7", Some(100))
        );
    }

    #[test]
    fn a_client_has_a_bounded_number_of_open_paths() {
        let mut client = Client::default();
        for nth in 0..1000 {
            client.take(&entry("a", &format!("/{nth}"), 401, 0), nth);
        }
        assert!(client.open.len() <= PATHS_MAX);
        assert_eq!(head(&"ä".repeat(100)).len(), 120);
    }
}

//! Keys of session tickets: they outlive configurations, so that clients resume after a reload,
//! and all workers have the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::server::ProducesTickets;

use super::say;
use crate::snapshot::Snapshot;
use crate::tls::{Digest, tickets};

/// By what has to be the same for a ticket to count: the listener, and what it asks of clients.
#[derive(Debug, Default)]
pub struct Tickets {
    keys: BTreeMap<Digest, Arc<dyn ProducesTickets>>,
}

impl Tickets {
    /// Gives a configuration's listeners their keys. Those that no listener has any more are
    /// forgotten: a list of revoked certificates that changes ends all that was granted before it.
    pub fn give(&mut self, snapshot: &Snapshot) {
        let before = std::mem::take(&mut self.keys);
        for terms in snapshot.listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
            let known = before.get(&terms.ticket_key).cloned();
            let keys = match known.map_or_else(tickets::fresh, Ok) {
                Ok(keys) => keys,
                Err(e) => {
                    say(&format!("warning: TLS sessions can't be resumed: {e}"));
                    continue;
                }
            };
            terms.ticketer.give(keys.clone());
            self.keys.insert(terms.ticket_key, keys);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::*;
    use crate::config::{Files, Input, MemoryFile, load_from};
    use crate::tls::made::Authority;

    fn snapshot(tls: &str, files: &[(&str, &str)]) -> Snapshot {
        let file = |(name, text): &(&str, &str)| {
            let bytes = text.as_bytes().to_vec();
            (PathBuf::from(*name), MemoryFile { bytes, mode: 0o600 })
        };
        let files = Files::Memory(files.iter().map(file).collect::<BTreeMap<_, _>>());
        let text = format!(
            "[listener.web]\naddress = \"127.0.0.1:1\"\ntls = {{ cert = \"a.pem\", \
             key = \"a.key\"{tls} }}\n[route.a]\nrespond = \"a\"\n"
        );
        let (name, base_dir) = ("busbar.toml".to_owned(), Some(PathBuf::new()));
        let input = Input { text, name, base_dir, sets: Vec::new(), env: &|_| None };
        let loaded = load_from(input, &files);
        loaded.snapshot.unwrap_or_else(|| panic!("{}", loaded.diagnostics.render(false)))
    }

    /// A ticket of one configuration is read by the next, unless that asks clients for something
    /// else: what a ticket says of a client was found out under the terms of its time.
    #[test]
    fn tickets_count_over_reloads_until_the_terms_of_clients_change() {
        let ca = Authority::new("CA");
        let (pair, renewed) = (ca.leaf(&["a.example"]), ca.leaf(&["a.example"]));
        let mut tickets = Tickets::default();
        let mut last: Option<Vec<u8>> = None;
        let [before, after] = [ca.crl(&[1]), ca.crl(&[1, 2])];
        let mtls = ", client_ca = \"ca.pem\", client_crl = \"a.crl\"";
        let rows = [
            ("", &pair, &before, false),
            ("", &pair, &before, true),
            ("", &renewed, &before, true),
            (mtls, &renewed, &before, false),
            (mtls, &pair, &before, true),
            (mtls, &pair, &after, false),
            ("", &pair, &after, false),
        ];
        for (i, (tls, pair, crl, is_read)) in rows.into_iter().enumerate() {
            let files = [
                ("a.pem", &*pair.cert),
                ("a.key", &*pair.key),
                ("ca.pem", &*ca.pem),
                ("a.crl", crl),
            ];
            let snapshot = snapshot(tls, &files);
            tickets.give(&snapshot);
            let ticketer = &snapshot.listeners[0].tls.as_ref().expect("TLS").ticketer;
            assert!(ticketer.enabled());
            let plain = last.as_ref().and_then(|ticket| ticketer.decrypt(ticket));
            assert_eq!(plain.as_deref(), is_read.then_some(&b"a session"[..]), "row {i}");
            last = ticketer.encrypt(b"a session");
        }
    }
}

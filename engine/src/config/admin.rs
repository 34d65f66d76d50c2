//! Tree → model: `[admin]`.

use super::address;
use super::diagnostic::{At, Diagnostics};
use super::files::Outside;
use super::model::Admin;
use super::read::fault;
use super::reader::Section;
use super::secret;
use crate::snapshot::{Choice, ListenAddress};

pub(super) fn read(section: &Section<'_>, outside: &Outside<'_>, out: &mut Diagnostics) -> Admin {
    let mut admin =
        Admin { token: secret::read(section, "token", outside, out), ..Admin::default() };
    if let Some((text, at)) = section.text("socket", out) {
        admin.socket = match text {
            "none" => Choice::Off,
            path => given(address::unix(path), at, out),
        };
    }
    if let Some((text, at)) = section.text("address", out) {
        admin.address_at = Some(at);
        let unix = || address::bad("this is for `socket`", "write socket = \"/path\"");
        admin.address = match text {
            "none" => Choice::Off,
            text if text.starts_with("unix:") => given(unix(), at, out),
            text => match given(address::listen(text), at, out) {
                Choice::Given(ListenAddress::Tcp(list)) => Choice::Given(list),
                _ => Choice::Default,
            },
        };
    }
    admin
}

fn given<T>(read: Result<T, address::Fault>, at: At, out: &mut Diagnostics) -> Choice<T> {
    match read {
        Ok(value) => Choice::Given(value),
        Err(error) => {
            let mut error = fault("E125", at, error);
            error.note = error.note.replace("unix:", "");
            out.push(error);
            Choice::Default
        }
    }
}

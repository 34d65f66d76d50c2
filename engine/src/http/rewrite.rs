//! What is sent upstream in place of the request's own path, query and host.

use parser::path::{self, Canonical, PathOptions};
use parser::target::check_authority;

use crate::http::template::{Facts, Place, Template};

/// Longest target that a rewrite makes: four times the longest that a listener takes by default.
const TARGET_BYTES_MAX: usize = 64 << 10;

/// `None`: as it came.
#[derive(Debug, Default)]
pub struct Rewrite {
    pub path: Option<Template>,
    /// Without `?`. An empty text means that no query is sent.
    pub query: Option<Template>,
    pub host: Option<Template>,
    /// What of path and query came from the environment: nobody is shown it.
    pub hidden: Box<[Box<str>]>,
}

/// What a request would be sent with.
#[derive(Debug)]
pub struct Target<'a> {
    pub path: &'a [u8],
    pub query: Option<&'a [u8]>,
    /// `OPTIONS *`: there is no path to rewrite.
    pub is_asterisk: bool,
}

/// Why a request can't be sent as the rewrite says. The client chose the values that go in, so it
/// is the client's mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Gateway and service could read the path differently: dot segments, `%2F`, NUL.
    Path,
    Host,
    TooLong,
}

impl Rewrite {
    /// Appends the target to `out`, which is empty, and the host behind it; gives the place where
    /// the host begins, which is the end when the rewrite has none. `spare` is overwritten.
    ///
    /// Whatever the values hold, the path is one that a request could have come with: `//` is
    /// merged (unless `options` keep it), and values that would make a dot segment are refused,
    /// since they would lead out of where the rewrite leads.
    pub fn write(
        &self,
        facts: &Facts<'_>,
        target: &Target<'_>,
        options: PathOptions,
        out: &mut Vec<u8>,
        spare: &mut Vec<u8>,
    ) -> Result<usize, Refused> {
        debug_assert!(out.is_empty());
        match &self.path {
            Some(path) if !target.is_asterisk => {
                path.render(facts, Place::Path, out);
                settle(out, options, spare)?;
            }
            _ => out.extend_from_slice(target.path),
        }
        let path_len = out.len();
        out.push(b'?');
        match (&self.query, target.query) {
            (Some(query), _) => query.render(facts, Place::Query, out),
            (None, Some(query)) => out.extend_from_slice(query),
            (None, None) => {}
        }
        let keeps_mark = self.query.is_none() && target.query.is_some();
        if out.len() == path_len + 1 && !keeps_mark {
            out.pop();
        }
        if out.len() > TARGET_BYTES_MAX {
            return Err(Refused::TooLong);
        }
        let host_at = out.len();
        if let Some(host) = &self.host {
            host.render(facts, Place::Host, out);
            check_authority(&out[host_at..]).map_err(|_| Refused::Host)?;
        }
        Ok(host_at)
    }
}

/// Makes of a rendered path one that can be read in one way only.
fn settle(out: &mut Vec<u8>, options: PathOptions, spare: &mut Vec<u8>) -> Result<(), Refused> {
    if out.len() > TARGET_BYTES_MAX {
        return Err(Refused::TooLong);
    }
    let kept = PathOptions { slashes_keep: true, ..options };
    let facts = path::canonical(out, kept, spare).map_err(|_| Refused::Path)?;
    // With `//` kept, only dot segments change more than the spelling.
    if facts.canonical == Canonical::Rewritten {
        return Err(Refused::Path);
    }
    if facts.had_double_slash && !options.slashes_keep {
        out.dedup_by(|b, a| *a == b'/' && *b == b'/');
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use parser::{Fields, Span};

    use super::*;

    /// The params `a` and `rest` hold `a` and `rest`.
    fn write(
        rewrite: &Rewrite,
        a: &str,
        rest: &str,
        query: Option<&str>,
    ) -> Result<String, Refused> {
        let path = format!("/{a}/{rest}");
        let rest_at = 2 + a.len();
        let facts = Facts {
            client: b"",
            host: b"h",
            path: path.as_bytes(),
            query: query.unwrap_or_default().as_bytes(),
            method: b"GET",
            consumer: b"",
            request_id: b"",
            route: b"",
            params: &[Span::new(1, 1 + a.len()), Span::new(rest_at, rest_at + rest.len())],
            fields: &Fields::default(),
            head: b"",
        };
        let query = query.map(str::as_bytes);
        let target = Target { path: path.as_bytes(), query, is_asterisk: false };
        let (mut out, mut spare) = (Vec::new(), Vec::new());
        let options = PathOptions::default();
        let host_at = rewrite.write(&facts, &target, options, &mut out, &mut spare)?;
        let text = String::from_utf8(out).expect("ASCII");
        let (target, host) = text.split_at(host_at);
        Ok(format!("{target} {host}").trim_end().to_owned())
    }

    fn template(text: &str, place: Place) -> Option<Template> {
        Some(Template::parse(text, &["a", "rest"], place).expect(text))
    }

    #[test]
    fn each_part_is_replaced_and_the_others_stay() {
        let path = || template("/v2/{rest}", Place::Path);
        let query = |text| template(text, Place::Query);
        let host = || template("{a}.example.com", Place::Host);
        let plain = Rewrite::default;
        let rows = [
            (Rewrite { path: path(), ..plain() }, Some("q=1"), "/v2/x/y?q=1"),
            (Rewrite { path: path(), ..plain() }, None, "/v2/x/y"),
            (Rewrite { path: path(), ..plain() }, Some(""), "/v2/x/y?"),
            (Rewrite { query: query("w={query.q}"), ..plain() }, Some("q=1"), "/a/x/y?w=1"),
            (Rewrite { query: query(""), ..plain() }, Some("q=1"), "/a/x/y"),
            (Rewrite { query: query("{query}"), ..plain() }, None, "/a/x/y"),
            (Rewrite { host: host(), ..plain() }, None, "/a/x/y a.example.com"),
        ];
        for (rewrite, given, expect) in rows {
            assert_eq!(write(&rewrite, "a", "x/y", given), Ok(expect.to_owned()), "{rewrite:?}");
        }
    }

    #[test]
    fn values_never_lead_out_of_the_path() {
        let rows = [
            ("/v/{rest}", "a", "x", Ok("/v/x")),
            ("/v/{rest}", "a", "", Ok("/v/")),
            ("/v/{rest}/w", "a", "", Ok("/v/w")),
            ("/v/{rest}/w", "a", "x//y", Ok("/v/x/y/w")),
            ("/v/.{a}/w", "x", "", Ok("/v/.x/w")),
            ("/v/.{a}/w", ".", "", Err(Refused::Path)),
            ("/v/{a}./w", ".", "", Err(Refused::Path)),
            ("/v/{a}", "..;x", "", Err(Refused::Path)),
            ("/v/%{a}", "2e", "", Err(Refused::Path)),
            ("/v/{query.q}", "a", "", Ok("/v/%0D%0A%20x%3F")),
            ("/v/{query.up}", "a", "", Err(Refused::Path)),
            ("/v/{query.dots}", "a", "", Err(Refused::Path)),
            ("/v/{query.nul}", "a", "", Err(Refused::Path)),
        ];
        let query = "q=%0d%0a%20x?&up=..%2f..%2fadmin&dots=%2e%2e&nul=%00";
        for (text, a, rest, expect) in rows {
            let rewrite = Rewrite { path: template(text, Place::Path), ..Rewrite::default() };
            let expect = expect.map(|path| format!("{path}?{query}"));
            assert_eq!(write(&rewrite, a, rest, Some(query)), expect, "{text} {a} {rest}");
        }
        let long = Rewrite { path: template("/{rest}", Place::Path), ..Rewrite::default() };
        assert_eq!(write(&long, "a", &"x".repeat(70_000), None), Err(Refused::TooLong));
    }

    #[test]
    fn a_host_of_values_is_a_host_or_refused() {
        let rewrite = Rewrite { host: template("{a}.h", Place::Host), ..Rewrite::default() };
        assert_eq!(write(&rewrite, "x", "", None), Ok("/x/ x.h".to_owned()));
        for a in ["a%2Fb", "a@b", "a;b", "a:1", ""] {
            let expect = if a.is_empty() { Ok("// .h".to_owned()) } else { Err(Refused::Host) };
            assert_eq!(write(&rewrite, a, "", None), expect, "{a}");
        }
    }
}

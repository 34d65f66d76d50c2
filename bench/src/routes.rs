//! Configurations of many routes, and requests spread over them.
//!
//! Route N takes what is below `/rN/`; all lead to the same origin, so that only the choice
//! differs from the other scenarios. A path of no route is refused by every proxy.

use std::fmt::Write as _;
use std::path::Path;

use crate::client::Client;
use crate::peers::Peer;

/// Coprime to every number of routes used here: neighbouring requests ask for distant routes.
const STRIDE: usize = 7919;

/// What stands in the place of routes in each proxy's file.
#[derive(Default)]
pub struct Texts {
    pub busbar: String,
    pub nginx: String,
    /// Outside of nginx' server.
    pub nginx_http: String,
    pub haproxy: String,
}

/// One route for everything.
pub fn one() -> Texts {
    Texts {
        busbar: "[route.all]\nto = \"origin\"\n".to_owned(),
        nginx: "        location / { proxy_pass http://origin; }\n".to_owned(),
        nginx_http: String::new(),
        haproxy: "    default_backend origin\n".to_owned(),
    }
}

/// `count` routes. HAProxy looks them up in a map, whose file is written to `dir`.
pub fn many(count: usize, dir: &Path) -> Result<Texts, String> {
    let file = dir.join(format!("haproxy-{count}.map"));
    std::fs::write(&file, map(count)).map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(Texts {
        busbar: busbar(count),
        nginx: nginx(count),
        nginx_http: String::new(),
        haproxy: format!("    use_backend %[path,map_beg({})]\n", file.display()),
    })
}

fn lines(count: usize, mut line: impl FnMut(&mut String, usize)) -> String {
    let mut text = String::new();
    (0..count).for_each(|n| line(&mut text, n));
    text
}

fn busbar(count: usize) -> String {
    lines(count, |text, n| {
        _ = writeln!(text, "[route.r{n}]\npath = \"/r{n}/*\"\nto = \"origin\"");
    })
}

/// Prefixes without regular expressions beside them: nginx keeps them in a search tree.
fn nginx(count: usize) -> String {
    lines(count, |text, n| {
        _ = writeln!(text, "        location /r{n}/ {{ proxy_pass http://origin; }}");
    }) + "        location / { return 404; }\n"
}

/// `map_beg` finds the longest prefix in a tree.
fn map(count: usize) -> String {
    lines(count, |text, n| _ = writeln!(text, "/r{n}/ origin"))
}

/// A wrk script that asks for every route in turn. All requests are written beforehand.
pub fn script(count: usize) -> String {
    format!(
        "local all, at = {{}}, 0\n\
         init = function()\n\
         \x20 for n = 1, {count} do\n\
         \x20   all[n] = wrk.format('GET', '/r' .. (n * {STRIDE} % {count}) .. '/x')\n\
         \x20 end\n\
         end\n\
         request = function()\n\
         \x20 at = at % {count} + 1\n\
         \x20 return all[at]\n\
         end\n"
    )
}

/// Asks for every route once, and for one that there is not.
pub fn check(peer: &Peer, count: usize) -> Result<(), String> {
    let mut client = Client::connect(peer.port)?;
    for n in 0..count {
        let status = client.get(&format!("/r{n}/x"))?;
        if status != 200 {
            return Err(format!("{}: route {n} of {count} answers {status}", peer.name));
        }
    }
    match client.get(&format!("/r{count}/x"))? {
        200 => Err(format!("{}: a path of no route is answered", peer.name)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_stands_in_every_file() {
        assert_eq!(
            busbar(2),
            "[route.r0]\npath = \"/r0/*\"\nto = \"origin\"\n\
             [route.r1]\npath = \"/r1/*\"\nto = \"origin\"\n"
        );
        assert_eq!(map(2), "/r0/ origin\n/r1/ origin\n");
        assert!(nginx(2).contains("location /r1/ { proxy_pass http://origin; }"));
        assert_eq!(nginx(10_000).matches("proxy_pass").count(), 10_000);
    }

    #[test]
    fn requests_reach_every_route() {
        for count in [200, 10_000] {
            let mut asked = vec![false; count];
            (1..=count).for_each(|n| asked[n * STRIDE % count] = true);
            assert!(asked.iter().all(|asked| *asked));
        }
        assert!(script(200).contains("all[n] = wrk.format('GET', '/r' .. (n * 7919 % 200)"));
    }
}

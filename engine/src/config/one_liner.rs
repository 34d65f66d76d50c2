//! The file that `--to`, `--route`, `--host` and `--listen` mean.

/// The flags of a one-liner.
#[derive(Debug, Clone, Default)]
pub struct OneLiner {
    pub to: Option<String>,
    /// Pattern and URL.
    pub routes: Vec<(String, String)>,
    pub host: Option<String>,
    pub listen: Option<String>,
}

/// A TOML basic string: a flag can't add keys.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// `localhost:3000` is meant as a URL.
fn url(text: &str) -> String {
    match text.contains("://") || text.starts_with("unix:") {
        true => text.to_owned(),
        false => format!("http://{text}"),
    }
}

/// The configuration as text; it checks clean when the flags' values are good.
pub fn one_liner(flags: &OneLiner) -> String {
    let listen = flags.listen.as_deref().unwrap_or(":8080");
    let mut out = format!("[listener.web]\naddress = {}\n", quoted(listen));
    let host = flags.host.as_ref().map(|h| format!("host = {}\n", quoted(h))).unwrap_or_default();
    if let Some(to) = &flags.to {
        out.push_str(&format!("\n[route.app]\n{host}to = {}\n", quoted(&url(to))));
    }
    for (n, (pattern, to)) in flags.routes.iter().enumerate() {
        let name = n + 1;
        let (pattern, to) = (quoted(pattern), quoted(&url(to)));
        out.push_str(&format!("\n[route.r{name}]\n{host}path = {pattern}\nto = {to}\n"));
    }
    out
}

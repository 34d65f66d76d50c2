//! The same origin behind access control: API keys of 1,000 consumers, a rate limit for each of
//! them that is never reached, and a list of 1,000 prefixes that may not.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use ring::digest;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

use crate::routes::Texts;

const CONSUMERS: usize = 1000;
const PREFIXES: usize = 1000;
/// Requests of one consumer in a second: more than any can send here.
const RATE: usize = 1_000_000;

fn key(n: usize) -> String {
    format!("key-{n:04}-0123456789abcdef0123456789abcdef")
}

fn prefix(n: usize) -> String {
    format!("203.{}.{}.0/24", n / 250, n % 250)
}

fn lines(count: usize, mut line: impl FnMut(&mut String, usize)) -> String {
    let mut text = String::new();
    (0..count).for_each(|n| line(&mut text, n));
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Configurations with all three; what they name is written to `dir`.
pub fn keys(dir: &Path) -> Result<Texts, String> {
    let write = |name: &str, text: String| {
        let path = dir.join(name);
        fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok::<String, String>(path.display().to_string())
    };
    let consumers = lines(CONSUMERS, |text, n| {
        let digest = digest::digest(&digest::SHA256, key(n).as_bytes());
        _ = writeln!(text, "consumer-{n},sha256:{}", hex(digest.as_ref()));
    });
    let csv = write("consumers.csv", format!("name,api_key\n{consumers}"))?;
    let denied = write("denied", lines(PREFIXES, |text, n| _ = writeln!(text, "{}", prefix(n))))?;
    let pairs = |end: &'static str| {
        lines(CONSUMERS, move |text, n| _ = writeln!(text, "{} consumer-{n}{end}", key(n)))
    };
    let (nginx_keys, haproxy_keys) =
        (write("nginx.keys", pairs(";"))?, write("haproxy.keys", pairs(""))?);
    let geo = write("nginx.denied", lines(PREFIXES, |t, n| _ = writeln!(t, "{} 1;", prefix(n))))?;
    Ok(Texts {
        busbar: format!(
            "[auth.keys]\nmethod = \"api_key\"\n[consumers]\nfile = \"{csv}\"\n\
             [route.all]\nto = \"origin\"\nauth = \"keys\"\nip = {{ deny = [\"file:{denied}\"] }}\n\
             rate_limit = {{ rate = \"{RATE}/s\", per = \"consumer\" }}\n"
        ),
        nginx_http: format!(
            "    map_hash_bucket_size 128;\n\
             \x20   map $http_x_api_key $consumer {{ default \"\"; include {nginx_keys}; }}\n\
             \x20   geo $denied {{ default 0; include {geo}; }}\n\
             \x20   limit_req_zone $consumer zone=consumers:10m rate={RATE}r/s;\n"
        ),
        nginx: "        location / {\n\
                \x20           if ($denied) { return 403; }\n\
                \x20           if ($consumer = \"\") { return 401; }\n\
                \x20           limit_req zone=consumers burst=100000 nodelay;\n\
                \x20           proxy_set_header X-Api-Key \"\";\n\
                \x20           proxy_set_header Connection \"\";\n\
                \x20           proxy_set_header Host $host;\n\
                \x20           proxy_set_header X-Forwarded-For $remote_addr;\n\
                \x20           proxy_set_header X-Forwarded-Proto $scheme;\n\
                \x20           proxy_set_header X-Forwarded-Host $http_host;\n\
                \x20           proxy_set_header X-Request-Id $request_id;\n\
                \x20           proxy_set_header X-Consumer-Name $consumer;\n\
                \x20           proxy_pass http://origin;\n        }\n"
            .to_owned(),
        haproxy: format!(
            "    stick-table type string len 32 size 100k expire 10s store http_req_rate(1s)\n\
             \x20   http-request deny deny_status 403 if {{ src -f {denied} }}\n\
             \x20   http-request set-var(txn.consumer) req.hdr(X-Api-Key),map_str({haproxy_keys})\n\
             \x20   http-request deny deny_status 401 unless {{ var(txn.consumer) -m found }}\n\
             \x20   http-request track-sc0 var(txn.consumer)\n\
             \x20   http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {RATE} }}\n\
             \x20   http-request del-header X-Api-Key\n\
             \x20   http-request set-header X-Consumer-Name %[var(txn.consumer)]\n\
             \x20   default_backend origin\n"
        ),
    })
}

/// A wrk script whose requests come from each consumer in turn.
pub fn keys_script() -> String {
    script(&format!(
        "  for n = 1, {CONSUMERS} do\n\
         \x20   local key = string.format('key-%04d-0123456789abcdef0123456789abcdef', n - 1)\n\
         \x20   all[n] = wrk.format('GET', '/128', {{ ['X-Api-Key'] = key }})\n\
         \x20 end\n"
    ))
}

fn script(fill: &str) -> String {
    format!(
        "local all, at = {{}}, 0\ninit = function()\n{fill}end\n\
         request = function()\n  at = at % #all + 1\n  return all[at]\nend\n"
    )
}

/// Busbar's configuration for tokens (ES256), and a script whose requests bring one.
pub fn tokens(dir: &Path) -> Result<(Texts, String), String> {
    let failed = |e: &dyn std::fmt::Display| format!("a key for tokens can't be made: {e}");
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(|e| failed(&e))?;
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random);
    let pair = pair.map_err(|e| failed(&e))?;
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let jwks = format!(
        "{{\"keys\":[{{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"one\",\"x\":\"{}\",\"y\":\"{}\"}}]}}",
        base64url(x),
        base64url(y)
    );
    let path = dir.join("jwks.json");
    fs::write(&path, jwks).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut tokens = String::new();
    for n in 0..100 {
        let head = base64url(b"{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"one\"}");
        let claims = format!(
            "{{\"iss\":\"https://id.example.com/\",\"sub\":\"user-{n}\",\"aud\":\"shop\",\
             \"scope\":\"orders:read orders:write\",\"exp\":4102444800}}"
        );
        let signed = format!("{head}.{}", base64url(claims.as_bytes()));
        let signature = pair.sign(&random, signed.as_bytes()).map_err(|e| failed(&e))?;
        let token = format!("{signed}.{}", base64url(signature.as_ref()));
        _ = writeln!(
            tokens,
            "  all[{}] = wrk.format('GET', '/128', {{ ['Authorization'] = 'Bearer {token}' }})",
            n + 1
        );
    }
    let busbar = format!(
        "[auth.tokens]\nmethod = \"jwt\"\njwks = \"file:{}\"\nissuer = \"https://id.example.com/\"\n\
         audience = \"shop\"\n[route.all]\nto = \"origin\"\nauth = \"tokens\"\n",
        path.display()
    );
    Ok((Texts { busbar, ..Texts::default() }, script(&tokens)))
}

/// RFC 4648 §5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, b| bits << 8 | u32::from(*b));
        let bits = bits << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * place)) as usize & 63]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_what_each_proxy_reads() {
        assert_eq!(base64url(b"f"), "Zg");
        assert_eq!(base64url(b"fo"), "Zm8");
        assert_eq!(base64url(b"foo\xff\xfe"), "Zm9v__4");
        assert_eq!((prefix(0), prefix(999)), ("203.0.0.0/24".into(), "203.3.249.0/24".into()));
        assert!(keys_script().contains("wrk.format('GET', '/128', { ['X-Api-Key'] = key })"));
    }
}

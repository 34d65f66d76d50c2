//! Users of an htpasswd file: `name:hash` a line, `#` begins a comment.

use super::consumers::Builder;
use super::mistakes::Mistakes;

/// Adds the users of `text` as consumers without groups. With any mistake the builder holds some
/// of them and is to be thrown away.
pub fn read(text: &[u8], into: &mut Builder) -> Result<(), Mistakes> {
    let mut mistakes = Mistakes::default();
    let first = into.len();
    let mut lines_of = Vec::new(); // of each user that was added
    for (number, line) in (1u32..).zip(text.split(|&b| b == b'\n')) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let Some(colon) = memchr::memchr(b':', line) else {
            mistakes.add(number, line, 0, || "`name:hash` is expected".to_owned());
            continue;
        };
        if std::str::from_utf8(&line[..colon]).is_err() {
            mistakes.add(number, line, 0, || "a name is UTF-8".to_owned());
            continue;
        }
        let id = match into.add(&line[..colon], [], [], None) {
            Ok(id) => id,
            Err(why) => {
                mistakes.add(number, line, 0, || super::csv::with_line(&why, first, &lines_of));
                continue;
            }
        };
        lines_of.push(number);
        if let Err(why) = into.set_basic(id, &line[colon + 1..]) {
            mistakes.add(number, line, colon + 1, || why.to_string());
        }
    }
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
}

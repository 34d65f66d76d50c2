//! Programs that are asked something and end: their words, within a time.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::PATIENCE;

/// What a program said, and how it ended.
#[derive(Debug, Clone)]
pub struct Said {
    /// `None`: by a signal.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Its standard output, if it ended well.
    pub fn well(self) -> String {
        assert_eq!(self.code, Some(0), "it failed: {self:#?}");
        self.out
    }

    /// Both outputs, for those who look for a word.
    pub fn all(&self) -> String {
        format!("{}\n{}", self.out, self.err)
    }
}

/// Runs a program to its end. One that takes longer than the tests wait is killed, and the test
/// fails.
pub fn run(command: &mut Command) -> Said {
    run_with(command, b"", PATIENCE)
}

/// The same with something to read on its standard input, which ends after it.
pub fn run_with(command: &mut Command, input: &[u8], patience: Duration) -> Said {
    let program = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{program}: {e} (tests/run installs it)"));
    let out = read_all(child.stdout.take().expect("piped"));
    let err = read_all(child.stderr.take().expect("piped"));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // One that ends before it has read everything has said why.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let code = end(&mut child, patience);
    let text = |thread: JoinHandle<Vec<u8>>| {
        let bytes = thread.join().expect("it only reads");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let said = Said { code: code.unwrap_or(None), out: text(out), err: text(err) };
    writer.join().expect("it only writes");
    assert!(code.is_some(), "{program} took longer than {patience:?} and said {said:#?}");
    said
}

/// The exit code, if it ended by itself in time.
fn end(child: &mut Child, patience: Duration) -> Option<Option<i32>> {
    let end = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().expect("our child") {
            return Some(status.code());
        }
        if Instant::now() >= end {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        crate::pause();
    }
}

fn read_all(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_read_to_its_end() {
        let large = vec![b'x'; 1 << 20];
        let said = run_with(&mut Command::new("cat"), &large, PATIENCE);
        assert_eq!((said.code, said.out.len()), (Some(0), large.len()));
        let said = run(Command::new("sh").args(["-c", "echo no >&2; exit 3"]));
        assert_eq!((said.code, said.err.as_str()), (Some(3), "no\n"));
    }

    #[test]
    #[should_panic(expected = "took longer than")]
    fn one_that_does_not_end_is_killed() {
        let mut command = Command::new("sh");
        command.args(["-c", "exec sleep 1000"]);
        run_with(&mut command, b"", Duration::from_millis(50));
    }
}

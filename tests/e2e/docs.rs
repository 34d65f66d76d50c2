//! Every example in the documents is run.

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::gateway::binary;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn documents() -> Vec<(String, String)> {
    let mut paths = vec![root().join("README.md"), root().join("tuning.md")];
    for entry in std::fs::read_dir(root().join("docs")).unwrap() {
        paths.push(entry.unwrap().path());
    }
    let read = |p: PathBuf| (p.display().to_string(), std::fs::read_to_string(&p).unwrap());
    paths.into_iter().filter(|p| p.extension().is_some_and(|e| e == "md")).map(read).collect()
}

/// The fenced blocks with this info string.
fn blocks(text: &str, info: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == format!("```{info}") {
            let block: Vec<&str> = lines.by_ref().take_while(|l| *l != "```").collect();
            blocks.push(block.join("\n") + "\n");
        }
    }
    blocks
}

#[test]
fn every_configuration_in_the_documents_checks() {
    let dir = tempfile::tempdir().unwrap();
    // For examples that include `conf.d/*.toml`.
    std::fs::create_dir(dir.path().join("conf.d")).unwrap();
    std::fs::write(dir.path().join("conf.d/more.toml"), "").unwrap();
    crate::policies::files_of_examples(dir.path());
    crate::certificates::files_of_examples(dir.path());
    let mut count = 0;
    for (name, text) in documents() {
        for block in blocks(&text, "toml") {
            let file = dir.path().join("example.toml");
            std::fs::write(&file, &block).unwrap();
            let mut command = Command::new(binary());
            command.arg("check").arg(&file).env("ADMIN_TOKEN", "of the examples");
            let out = command.output().unwrap();
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(out.status.success(), "{name}:\n{block}\n{said}");
            // Examples are about one thing, not about who may come in and how.
            let warnings = said.lines().filter(|line| line.starts_with('W'));
            let others =
                warnings.filter(|line| !line.starts_with("W201 ") && !line.starts_with("W207 "));
            assert_eq!(others.collect::<Vec<_>>(), [""; 0], "{name}:\n{block}");
            count += 1;
        }
    }
    assert!(count >= 2, "the documents have examples");
}

/// What a script says in a folder of its own, with the gateway on its path.
fn run_script(script: &str) -> (String, String) {
    let path =
        format!("{}:{}", binary().parent().unwrap().display(), std::env::var("PATH").unwrap());
    let dir = tempfile::tempdir().unwrap();
    let out = Command::new("bash")
        .args(["-e", "-m", "-c", script])
        .env("PATH", path)
        .env_remove("BUSBAR_CONFIG")
        .current_dir(dir.path())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&out.stdout), text(&out.stderr))
}

#[test]
fn the_first_five_minutes_run() {
    let (port, admin) = (harness::free_port(), harness::free_port());
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let block = &blocks(&readme, "sh runs")[0];
    let run = format!(
        "busbar run --set 'listener.web.address=\"127.0.0.1:{port}\"' \
         --set 'admin.address=\"127.0.0.1:{admin}\"'"
    );
    let script = block.replace("busbar run", &run).replace("8080", &port.to_string());
    let script = script.replace("9911", &admin.to_string());
    let (said, err) = run_script(&script);
    assert!(said.contains("HTTP/1.1 200 OK") && said.contains("Busbar runs."), "{said}{err}");
    assert!(said.contains("GET /echo/hello?from=me HTTP/1.1"), "{said}{err}");
    assert!(said.contains("urn:busbar:problem:not-found"), "{said}{err}");
    assert!(said.contains("busbar_requests_total{route=\"echo\",class=\"2xx\"} 1"), "{said}{err}");
    assert!(said.contains("busbar_refusals_total{reason=\"no_route\"} 1"), "{said}{err}");
    assert!(said.contains("\"path\":\"/nowhere\"") && !said.contains("from=me\""), "{said}{err}");
    assert!(err.contains("served 3 requests"), "{err}");
}

#[test]
fn https_with_a_certificate_of_ones_own_runs() {
    let (port, admin) = (harness::free_port(), harness::free_port());
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let block = &blocks(&readme, "sh runs")[1];
    let run = format!("busbar run --set 'admin.address=\"127.0.0.1:{admin}\"'");
    let script = block.replace("busbar run", &run).replace("8443", &port.to_string());
    let (said, err) = run_script(&script);
    assert!(
        said.contains("HTTP/1.1 200 OK") && said.contains("GET /hello HTTP/1.1"),
        "{said}{err}"
    );
    assert!(said.contains("Strict-Transport-Security: max-age=86400"), "{said}{err}");
    assert!(said.contains("urn:busbar:problem:https-required"), "{said}{err}");
    assert!(!err.contains("own.pem"), "the certificate is good: {err}");
}

/// The lines of the section called `title`.
fn section(text: &str, title: &str) -> String {
    let lines = text.lines().skip_while(|line| *line != title).skip(1);
    lines.take_while(|line| !line.starts_with("## ")).map(|line| format!("{line}\n")).collect()
}

/// Each fenced block with its info string.
fn fenced(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|l| *l != "```").collect();
            found.push((info.to_owned(), block.join("\n") + "\n"));
        }
    }
    found
}

/// In one folder with the section's own `busbar.toml`; a block of text says what the commands
/// before it print.
#[test]
fn the_commands_of_the_operations_page_run() {
    let port = harness::free_port().to_string();
    let here = |text: &str| text.replace("8080", &port);
    let page = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let blocks = fenced(&section(&page, "## Commands"));
    let path =
        format!("{}:{}", binary().parent().unwrap().display(), std::env::var("PATH").unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut count = 0;
    for (i, (info, block)) in blocks.iter().enumerate() {
        match info.as_str() {
            "toml" => std::fs::write(dir.path().join("busbar.toml"), here(block)).unwrap(),
            "sh runs" => {
                let out = Command::new("bash")
                    .args(["-e", "-m", "-c", &here(block)])
                    .env("PATH", &path)
                    .env("RUNTIME_DIRECTORY", dir.path())
                    .env_remove("BUSBAR_CONFIG")
                    .current_dir(dir.path())
                    .output()
                    .unwrap();
                let said = String::from_utf8_lossy(&out.stdout).into_owned();
                let err = String::from_utf8_lossy(&out.stderr);
                assert!(out.status.success(), "{block}\n{said}{err}");
                match blocks.get(i + 1) {
                    Some((info, shown)) if info == "text" => {
                        // Where a number has another width, columns behind it move.
                        let plain = |text: &str| {
                            let words = text
                                .lines()
                                .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
                            words.collect::<Vec<_>>().join("\n")
                        };
                        assert_eq!(plain(&said), plain(&here(shown)), "{block}\n{err}");
                    }
                    _ => assert!(!said.is_empty(), "{block}\n{err}"),
                }
                count += 1;
            }
            _ => {}
        }
    }
    assert!(count >= 7, "the commands have examples");
}

#[test]
fn the_mistake_shown_in_the_readme_is_what_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("busbar.toml");
    std::fs::write(&file, "[route.app]\nto = \"http://127.0.0.1:3000\"\ntime_out = \"5s\"\n")
        .unwrap();
    let out = Command::new(binary())
        .args(["check", "busbar.toml"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let shown = blocks(&readme, "text").into_iter().find(|b| b.starts_with("E101")).unwrap();
    assert!(said.contains(shown.trim_end()), "{said}");
}

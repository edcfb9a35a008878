//! The runbook, built into the binary: an alert's link must work even if nothing else does.

/// The runbook's text: one entry per alert, under a second-level heading.
pub const TEXT: &str = include_str!("../deploy/runbook.md");

/// The entry of an alert, ignoring case; None: there is no such alert.
pub fn entry(alert: &str) -> Option<&'static str> {
    let mut entries = TEXT.split("\n## ").skip(1);
    let is_it = |entry: &&str| entry.lines().next().is_some_and(|heading| heading.eq_ignore_ascii_case(alert));
    entries.find(is_it).map(str::trim_end)
}

/// The names of all entries.
pub fn entries() -> impl Iterator<Item = &'static str> {
    TEXT.lines().filter_map(|line| line.strip_prefix("## "))
}

/// The text as an HTML page. Each heading has the anchor that GitHub would give it: its name in lower case.
pub fn page() -> String {
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Doorbuster: runbook</title>\n<style>body{max-width:\
         75em;margin:2em auto;padding:0 1em;color:#222;background:#fff}pre{white-space:pre-wrap;font-size:1rem;line-height:1.5}\
         b:target{background:#fe9}</style>\n<pre>\n",
    );
    for line in TEXT.lines() {
        let escaped = line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        match line.strip_prefix("## ") {
            Some(name) => {
                let anchor: String = name.to_lowercase().replace(' ', "-");
                page += &format!("<b id=\"{anchor}\">{escaped}</b>\n");
            }
            None => page += &format!("{escaped}\n"),
        }
    }
    page + "</pre></html>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_found_and_has_an_anchor() {
        let page = page();
        assert!(entries().count() > 10);
        for name in entries() {
            let found = entry(&name.to_uppercase()).unwrap();
            assert!(found.starts_with(name) && !found.contains("\n## "), "{found}");
            assert!(page.contains(&format!("id=\"{}\"", name.to_lowercase().replace(' ', "-"))), "{name}");
        }
        assert_eq!(entry("DoorbusterNothing"), None);
        assert!(!page.contains(" 2>/dev/null") && page.contains(" 2&gt;/dev/null"), "what the page shows is text");
    }
}

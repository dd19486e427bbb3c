use std::fmt::Write as _;

use super::{Reason, TYPES};

/// The part of `docs/operator.md` that is made from the types: conditions, reasons and what to do about them, as Markdown.
pub fn page() -> String {
    let mut page = String::from("| Condition | Of | `True` means |\n|---|---|---|\n");
    for (name, kinds, meaning) in TYPES {
        let _ = writeln!(page, "| `{name}` | {kinds} | {meaning} |");
    }
    page.push_str("\n| Reason | Means | What to do |\n|---|---|---|\n");
    for reason in Reason::ALL {
        let remedy = if reason.remedy().is_empty() { "nothing: all is well" } else { reason.remedy() };
        let _ = writeln!(page, "| `{}` | {} | {remedy} |", reason.as_str(), reason.meaning());
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_and_every_type_is_on_the_page_as_one_row() {
        let page = page();
        for name in Reason::ALL.iter().map(|reason| reason.as_str()).chain(TYPES.iter().map(|of| of.0)) {
            assert!(
                page.lines().filter(|line| line.starts_with(&format!("| `{name}` |"))).count() >= 1,
                "{name}"
            );
        }
        assert!(
            page.lines()
                .all(|line| line.is_empty() || line.starts_with("|---") || line.matches(" | ").count() == 2),
            "{page}"
        );
    }
}

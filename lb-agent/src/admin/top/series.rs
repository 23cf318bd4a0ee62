//! Counters in an agent's metrics, as it writes them: one line a series.

use std::collections::HashMap;

/// Values by series, as the text names them.
#[derive(Clone, Debug, Default)]
pub(super) struct Series(HashMap<String, u64>);

impl Series {
    /// Those of a scrape; what is no whole number is left out.
    pub(super) fn read(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let series = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(series.collect())
    }

    /// A counter with these labels, in the order in which they are written; 0 if there is none.
    pub(super) fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        self.0.get(&format!("{name}_total{{{}}}", labels.join(","))).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_name_and_labels() {
        let text = "# HELP a b.\na_total{x=\"1\"} 2\na_total{x=\"1\",y=\"2\"} 3\na_ratio 0.5\n# EOF\n";
        let series = Series::read(text);
        assert_eq!(series.count("a", &[("x", "1")]), 2);
        assert_eq!(series.count("a", &[("x", "1"), ("y", "2")]), 3);
        assert_eq!(series.count("a", &[("x", "7")]), 0);
    }
}

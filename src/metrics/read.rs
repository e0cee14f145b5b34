//! The series as they stand, for those who show them otherwise than as text.

use std::collections::BTreeMap;

use prometheus::proto::MetricType;

use super::Metrics;

/// A series: its labels and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Series {
    /// The value of a label; empty where it has no such label.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

impl Metrics {
    /// A counter's series as they stand: labels and value.
    pub fn counters(&self, name: &str) -> Vec<(Vec<(String, String)>, f64)> {
        let families = self.registry.gather();
        let series = families.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
        series
            .map(|metric| {
                let labels = metric.get_label().iter().map(|l| (l.name().to_owned(), l.value().to_owned())).collect();
                (labels, metric.get_counter().get_value())
            })
            .collect()
    }

    /// All gauges' series, by name. It gathers everything, as a scrape does: for once a second at most.
    pub fn gauges(&self) -> BTreeMap<String, Vec<Series>> {
        let mut gauges: BTreeMap<String, Vec<Series>> = BTreeMap::new();
        let families = self.registry.gather();
        for family in families.iter().filter(|family| family.get_field_type() == MetricType::GAUGE) {
            let series = family.get_metric().iter().map(|metric| {
                let labels = metric.get_label().iter().map(|l| (l.name().to_owned(), l.value().to_owned())).collect();
                Series { labels, value: metric.get_gauge().get_value() }
            });
            gauges.insert(family.name().to_owned(), series.collect());
        }
        gauges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_are_told_with_their_labels_and_nothing_else_is() {
        let metrics = Metrics::new();
        metrics.in_flight.set(3);
        metrics.contracts.with_label_values(&["orders"]).set(2);
        metrics.connections_refused.inc();
        let gauges = metrics.gauges();
        assert_eq!(gauges["meshgate_records_in_flight"][0].value, 3.0);
        let contracts = &gauges["meshgate_contracts"][0];
        assert_eq!((contracts.label("domain"), contracts.label("nothing"), contracts.value), ("orders", "", 2.0));
        assert!(!gauges.contains_key("meshgate_connections_refused_total"));
    }
}

//! Gauges of the cards that compute, as NVML tells them when somebody scrapes.

use std::fmt;
use std::sync::{Arc, OnceLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use tokio::sync::Semaphore;
use weighbridge_cuda::device::{CardGauges, DeviceDescription, Reading};

/// Scrapes that ask the card at once: a driver that hangs holds so many threads, and later scrapes go without the card.
const AT_ONCE: usize = 4;

/// The cards that compute, once it is known that some do.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched(Arc<OnceLock<Vec<Box<dyn CardGauges>>>>);

impl Watched {
    /// From here on scrapes ask `cards`; who comes later is dropped.
    pub(super) fn set(&self, cards: Vec<Box<dyn CardGauges>>) {
        self.0.set(cards).ok();
    }

    /// What asks the cards at each scrape.
    pub(super) fn collector(&self) -> Box<dyn Collector> {
        Box::new(Asking { cards: self.clone(), places: Semaphore::new(AT_ONCE) })
    }
}

#[derive(Debug)]
struct Asking {
    cards: Watched,
    places: Semaphore,
}

impl Collector for Asking {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(cards) = self.cards.0.get() else { return Ok(()) };
        let Ok(_place) = self.places.try_acquire() else { return Ok(()) };
        let said: Vec<_> =
            cards.iter().map(|card| (CardLabels::of(card.description()), card.read())).collect();
        write(encoder, &said)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CardLabels {
    uuid: String,
    name: String,
}

impl CardLabels {
    fn of(card: &DeviceDescription) -> Self {
        Self { uuid: card.uuid.clone(), name: card.name.clone() }
    }
}

/// A gauge: its name, what it tells, its unit, and where a reading has it.
type Gauge = (&'static str, &'static str, Unit, fn(&Reading) -> Option<f64>);

fn gauges() -> [Gauge; 6] {
    let other = |unit: &str| Unit::Other(unit.to_owned());
    [
        (
            "gpu_memory_used",
            "Memory in use by all processes on the card, or on its slice",
            Unit::Bytes,
            |said| said.memory_used.map(|bytes| bytes as f64),
        ),
        ("gpu_memory_total", "Memory of the card, or of its slice", Unit::Bytes, |said| {
            said.memory_total.map(|bytes| bytes as f64)
        }),
        ("gpu_power", "What the card draws", other("watts"), |said| said.power),
        (
            "gpu_utilization",
            "Share of the driver's last sampling period in which a kernel ran on the card",
            other("ratio"),
            |said| said.compute,
        ),
        (
            "gpu_memory_copy_utilization",
            "Share of the driver's last sampling period in which the card's memory was read or written",
            other("ratio"),
            |said| said.memory_copy,
        ),
        ("gpu_temperature", "Temperature of the card", Unit::Celsius, |said| said.temperature),
    ]
}

/// Writes what was read, and nothing of what was not: a 0 would be taken for a measurement.
fn write(mut encoder: DescriptorEncoder<'_>, said: &[(CardLabels, Reading)]) -> fmt::Result {
    let told = |of: fn(&Reading) -> Option<f64>| -> Vec<(&CardLabels, f64)> {
        said.iter().filter_map(|(labels, reading)| Some((labels, of(reading)?))).collect()
    };
    for (name, help, unit, of) in gauges() {
        let values = told(of);
        if values.is_empty() {
            continue;
        }
        let mut gauge = encoder.encode_descriptor(name, help, Some(&unit), MetricType::Gauge)?;
        for (labels, value) in values {
            ConstGauge::new(value).encode(gauge.encode_family(labels)?)?;
        }
    }
    let values = told(|said| said.energy);
    if values.is_empty() {
        return Ok(());
    }
    let help = "What the card has drawn since its driver was loaded";
    let mut counter =
        encoder.encode_descriptor("gpu_energy", help, Some(&Unit::Joules), MetricType::Counter)?;
    for (labels, value) in values {
        ConstCounter::new(value).encode(counter.encode_family(labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use std::sync::{Arc, Mutex};

    use weighbridge_cuda::device::{CardGauges, DeviceDescription, Reading};

    use super::AT_ONCE;
    use crate::metrics::{EngineMetrics, Metrics};

    /// A card that says what it was told to.
    #[derive(Debug)]
    struct Said(DeviceDescription, Reading);

    impl CardGauges for Said {
        fn description(&self) -> &DeviceDescription {
            &self.0
        }

        fn read(&self) -> Reading {
            self.1
        }
    }

    fn description(uuid: &str, name: &str) -> DeviceDescription {
        let (uuid, name) = (uuid.to_owned(), name.to_owned());
        DeviceDescription { name, uuid, capability: (9, 0), memory: 1 }
    }

    /// The lines of `/metrics` that tell of a card.
    fn scraped(metrics: &Metrics) -> Vec<String> {
        let text = metrics.render(None);
        text.lines().filter(|line| line.contains("weighbridge_gpu_")).map(str::to_owned).collect()
    }

    #[test]
    fn a_card_is_shown_with_units_and_labels() {
        let metrics = Metrics::new(&EngineMetrics::default());
        assert_eq!(scraped(&metrics), Vec::<String>::new(), "no card computes");
        let reading = Reading {
            memory_used: Some(85_899_345_920),
            memory_total: Some(150_754_820_096),
            power: Some(412.5),
            compute: Some(0.98),
            memory_copy: Some(0.5),
            temperature: Some(61.0),
            energy: Some(1234.5),
        };
        metrics.watch(vec![Box::new(Said(description("GPU-1", "NVIDIA H200"), reading))]);
        let wanted = [
            ("memory_used", "bytes", "gauge", "", "85899345920.0"),
            ("memory_total", "bytes", "gauge", "", "150754820096.0"),
            ("power", "watts", "gauge", "", "412.5"),
            ("utilization", "ratio", "gauge", "", "0.98"),
            ("memory_copy_utilization", "ratio", "gauge", "", "0.5"),
            ("temperature", "celsius", "gauge", "", "61.0"),
            ("energy", "joules", "counter", "_total", "1234.5"),
        ];
        let lines = scraped(&metrics);
        for (name, unit, kind, end, value) in wanted {
            let name = format!("weighbridge_gpu_{name}_{unit}");
            for line in [
                format!("# TYPE {name} {kind}"),
                format!("# UNIT {name} {unit}"),
                format!("{name}{end}{{uuid=\"GPU-1\",name=\"NVIDIA H200\"}} {value}"),
            ] {
                assert!(lines.contains(&line), "{line} is not in {lines:#?}");
            }
            assert!(lines.iter().any(|line| line.starts_with(&format!("# HELP {name} "))), "{name}");
        }
        assert_eq!(lines.len(), 4 * wanted.len(), "{lines:#?}");
    }

    #[test]
    fn what_a_card_does_not_tell_is_left_out() {
        let metrics = Metrics::new(&EngineMetrics::default());
        let reading = Reading { memory_used: Some(0), ..Reading::default() };
        let full = Reading { power: Some(1.0), ..reading };
        let cards: Vec<Box<dyn CardGauges>> = vec![
            Box::new(Said(description("MIG-1", "NVIDIA H200 MIG 1g.18gb"), reading)),
            Box::new(Said(description("GPU-2", "NVIDIA H200"), full)),
        ];
        metrics.watch(cards);
        let lines = scraped(&metrics);
        // Three lines of what a metric is, once, and a value of each card that tells it.
        assert_eq!(lines.len(), 3 + 2 + 3 + 1, "{lines:#?}");
        let wanted = "weighbridge_gpu_memory_used_bytes{uuid=\"MIG-1\",name=\"NVIDIA H200 MIG 1g.18gb\"} 0.0";
        assert!(lines.iter().any(|line| line == wanted), "{lines:#?}");
        let wanted = "weighbridge_gpu_power_watts{uuid=\"GPU-2\",name=\"NVIDIA H200\"} 1.0";
        assert_eq!(lines.last().map(String::as_str), Some(wanted));
    }

    /// A card whose driver hangs until it is told to go on.
    #[derive(Debug)]
    struct Hangs {
        description: DeviceDescription,
        asked: SyncSender<()>,
        go_on: Mutex<Receiver<()>>,
    }

    impl CardGauges for Hangs {
        fn description(&self) -> &DeviceDescription {
            &self.description
        }

        fn read(&self) -> Reading {
            self.asked.send(()).unwrap();
            self.go_on.lock().unwrap().recv().ok();
            Reading { memory_used: Some(1), ..Reading::default() }
        }
    }

    #[test]
    fn a_driver_that_hangs_holds_few_scrapes() {
        let metrics = Arc::new(Metrics::new(&EngineMetrics::default()));
        let ((asked, heard), (go_on, told)) = (sync_channel(AT_ONCE), sync_channel(0));
        let description = description("GPU-1", "NVIDIA H200");
        metrics.watch(vec![Box::new(Hangs { description, asked, go_on: Mutex::new(told) })]);
        let hanging: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                let metrics = Arc::clone(&metrics);
                std::thread::spawn(move || scraped(&metrics))
            })
            .collect();
        (0..AT_ONCE).for_each(|_| heard.recv().unwrap());
        assert!(scraped(&metrics).is_empty(), "one more goes without the card");
        assert!(metrics.render(None).contains("weighbridge_queue_tokens"), "and has all else");
        drop(go_on);
        for scrape in hanging {
            assert_eq!(scrape.join().unwrap().len(), 4);
        }
    }
}

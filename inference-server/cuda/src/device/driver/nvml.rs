//! NVML, the driver's other library: which identifiers are slices', and how a card does. It is looked for when there is a
//! card; without it cards compute as well, slices are listed as cards, and there are no gauges.

use std::sync::Arc;

use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::error::NvmlError;

use super::super::{CardGauges, DeviceDescription, Reading};

/// NVML, where it is there and starts.
pub(super) fn open() -> Option<Arc<Nvml>> {
    match Nvml::init() {
        Ok(nvml) => Some(Arc::new(nvml)),
        Err(error) => {
            tracing::debug!(%error, "no NVML: no gauges of the card, and slices are listed as GPU-");
            None
        }
    }
}

/// Whether `uuid` is a slice's.
pub(super) fn is_slice(nvml: &Nvml, uuid: &str) -> bool {
    nvml.device_by_uuid(uuid).and_then(|device| device.mig_is_mig_device_handle()).unwrap_or(false)
}

/// A card as NVML shows it.
#[derive(Debug)]
pub(super) struct Gauges {
    nvml: Arc<Nvml>,
    description: DeviceDescription,
}

impl Gauges {
    pub(super) fn new(nvml: Arc<Nvml>, description: DeviceDescription) -> Self {
        Self { nvml, description }
    }

    fn ask(&self) -> Result<Reading, NvmlError> {
        let device = self.nvml.device_by_uuid(self.description.uuid.as_str())?;
        let memory = device.memory_info().ok();
        let busy = device.utilization_rates().ok();
        let celsius = device.temperature(TemperatureSensor::Gpu).ok();
        Ok(Reading {
            memory_used: memory.as_ref().map(|memory| memory.used),
            memory_total: memory.map(|memory| memory.total),
            power: device.power_usage().ok().map(|milliwatts| f64::from(milliwatts) / 1e3),
            compute: busy.as_ref().map(|busy| f64::from(busy.gpu) / 100.0),
            memory_copy: busy.map(|busy| f64::from(busy.memory) / 100.0),
            temperature: celsius.map(f64::from),
            energy: device.total_energy_consumption().ok().map(|millijoules| millijoules as f64 / 1e3),
        })
    }
}

impl CardGauges for Gauges {
    fn description(&self) -> &DeviceDescription {
        &self.description
    }

    fn read(&self) -> Reading {
        // A card that is lost tells nothing; the engine that computed on it says why.
        self.ask().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::Arc;

    use nvml_wrapper::Nvml;

    use super::{Gauges, is_slice};
    use crate::device::{CardGauges, DeviceDescription, Reading};

    /// A library with NVML's symbols: one card, GPU-1, one slice of it, MIG-2, which refuses what NVML refuses of slices.
    const STAND_IN: &str = r#"
        #include <string.h>
        enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, VERSION_MISMATCH = 25 };
        typedef struct { int slice; } *device;
        static struct { int slice; } card = {0}, slice = {1};
        struct memory { unsigned version; unsigned long long total, reserved, free, used; };
        struct utilization { unsigned gpu, memory; };
        int nvmlInit_v2(void) { return SUCCESS; }
        int nvmlShutdown(void) { return SUCCESS; }
        int nvmlDeviceGetHandleByUUID(const char *uuid, device *found) {
            if (strcmp(uuid, "GPU-1") == 0) *found = (device)&card;
            else if (strcmp(uuid, "MIG-2") == 0) *found = (device)&slice;
            else return NOT_FOUND;
            return SUCCESS;
        }
        int nvmlDeviceIsMigDeviceHandle(device of, unsigned *is) { *is = of->slice; return SUCCESS; }
        int nvmlDeviceGetMemoryInfo_v2(device of, struct memory *memory) {
            if (memory->version != (sizeof *memory | 2 << 24)) return VERSION_MISMATCH;
            memory->total = of->slice ? 1000 : 8000;
            memory->used = of->slice ? 10 : 80;
            return SUCCESS;
        }
        int nvmlDeviceGetUtilizationRates(device of, struct utilization *busy) {
            if (of->slice) return NOT_SUPPORTED;
            busy->gpu = 75;
            busy->memory = 50;
            return SUCCESS;
        }
        int nvmlDeviceGetPowerUsage(device of, unsigned *milliwatts) {
            if (of->slice) return NOT_SUPPORTED;
            *milliwatts = 412500;
            return SUCCESS;
        }
        int nvmlDeviceGetTemperature(device of, unsigned sensor, unsigned *celsius) {
            if (of->slice || sensor != 0) return INVALID_ARGUMENT;
            *celsius = 61;
            return SUCCESS;
        }
        int nvmlDeviceGetTotalEnergyConsumption(device of, unsigned long long *millijoules) {
            if (of->slice) return NOT_SUPPORTED;
            *millijoules = 1500;
            return SUCCESS;
        }
    "#;

    fn stand_in() -> Arc<Nvml> {
        let folder = tempfile::tempdir().unwrap();
        let (source, library) = (folder.path().join("nvml.c"), folder.path().join("libnvidia-ml.so.1"));
        std::fs::write(&source, STAND_IN).unwrap();
        let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
        assert!(built.unwrap().success(), "cc makes the stand-in");
        Arc::new(Nvml::builder().lib_path(library.as_os_str()).init().unwrap())
    }

    fn read(nvml: &Arc<Nvml>, uuid: &str) -> Reading {
        let (name, uuid) = ("Card".to_owned(), uuid.to_owned());
        let description = DeviceDescription { name, uuid, capability: (9, 0), memory: 1 };
        Gauges::new(Arc::clone(nvml), description).read()
    }

    #[test]
    fn a_card_tells_all_and_a_slice_its_memory() {
        let nvml = stand_in();
        let card = Reading {
            memory_used: Some(80),
            memory_total: Some(8000),
            power: Some(412.5),
            compute: Some(0.75),
            memory_copy: Some(0.5),
            temperature: Some(61.0),
            energy: Some(1.5),
        };
        assert_eq!(read(&nvml, "GPU-1"), card);
        let slice = Reading { memory_used: Some(10), memory_total: Some(1000), ..Reading::default() };
        assert_eq!(read(&nvml, "MIG-2"), slice);
        assert_eq!(read(&nvml, "GPU-3"), Reading::default(), "a card that is gone tells nothing");
    }

    #[test]
    fn a_slice_is_known_by_its_own_name_alone() {
        let nvml = stand_in();
        let slices = ["MIG-2", "GPU-2", "MIG-1", "GPU-1"].map(|uuid| is_slice(&nvml, uuid));
        assert_eq!(slices, [true, false, false, false]);
    }
}

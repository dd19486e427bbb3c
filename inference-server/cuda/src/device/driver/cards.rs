//! Which cards there are, and which one is meant.

use std::str::FromStr;
use std::sync::Arc;

use cudarc::driver::{result, sys};
use nvml_wrapper::Nvml;

use super::super::{CardGauges, DeviceDescription};
use super::{in_words, nvml};
use crate::sources::hex;

/// The version of CUDA that this program was made for, as drivers count: 13.0.
const CUDA_VERSION: i32 = 13_000;

/// The least compute capability that kernels were made for: `mma` with bfloat16.
const LEAST_CAPABILITY: (u32, u32) = (8, 0);

/// Why there is no card to compute on: the CPU serves, and whoever asked for a card is told this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDevice {
    /// No driver.
    #[error(
        "no CUDA driver: libcuda.so.1 was not found; install NVIDIA's driver, or in a container let the NVIDIA runtime mount it"
    )]
    NoDriver,
    /// A driver that is older than this program.
    #[error(
        "the CUDA driver is for CUDA {}.{}, and {}.{} or later is needed: install driver 580 or later",
        found / 1000, found % 1000 / 10, CUDA_VERSION / 1000, CUDA_VERSION % 1000 / 10
    )]
    OldDriver {
        /// Its version, as `cuDriverGetVersion` counts.
        found: i32,
    },
    /// The driver did not begin.
    #[error("the CUDA driver does not start: {problem}")]
    Driver {
        /// Its words.
        problem: String,
    },
    /// Others have the card's memory.
    #[error("the card has no room for one more: {problem}")]
    NoRoom {
        /// The driver's words.
        problem: String,
    },
    /// A driver without a card.
    #[error("the CUDA driver has no card: ask for one (nvidia.com/gpu), or look at CUDA_VISIBLE_DEVICES")]
    NoCard,
    /// The card that was named is not there.
    #[error("there is no card {wanted}; there are: {}", found.join(", "))]
    NotFound {
        /// What was asked for.
        wanted: String,
        /// The identifiers of those that are there.
        found: Vec<String>,
    },
    /// An older card.
    #[error(
        "{name} has compute capability {}.{}, and {}.{} or later (Ampere) is needed",
        capability.0, capability.1, LEAST_CAPABILITY.0, LEAST_CAPABILITY.1
    )]
    OldCard {
        /// Its name.
        name: String,
        /// Its capability.
        capability: (u32, u32),
    },
    /// Fewer than are to compute together.
    #[error(
        "{wanted} cards are to compute together, and the driver shows {found}: ask for more, or for fewer at once"
    )]
    TooFew {
        /// How many were asked for.
        wanted: usize,
        /// How many there are.
        found: usize,
    },
    /// One that was named twice.
    #[error("card {uuid} is named twice: each of the cards that compute together is another")]
    Twice {
        /// Its identifier.
        uuid: String,
    },
    /// Cards that don't compute the same.
    #[error(
        "{first} has compute capability {}.{} and {other} has {}.{}: cards that compute together have the same",
        capabilities[0].0, capabilities[0].1, capabilities[1].0, capabilities[1].1
    )]
    Unlike {
        /// The name of the first.
        first: String,
        /// The name of one that is unlike it.
        other: String,
        /// Their capabilities.
        capabilities: [(u32, u32); 2],
    },
}

/// Which card to take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first on which kernels run.
    #[default]
    First,
    /// The one of this identifier, as `nvidia-smi -L` prints it: `GPU-…`, or `MIG-…` of a slice.
    Uuid(String),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = text.starts_with("GPU-") || text.starts_with("MIG-");
        let shape =
            text.len() == 40 && text[4..].bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        if known && shape {
            return Ok(Self::Uuid(text.to_owned()));
        }
        Err(format!("{text:?} is no card's identifier: take one that `nvidia-smi -L` prints, GPU-… or MIG-…"))
    }
}

/// A card, with its context held.
#[derive(Clone, Debug)]
pub struct Card {
    description: DeviceDescription,
    context: Arc<Context>,
    nvml: Option<Arc<Nvml>>,
}

/// A card's primary context.
#[derive(Debug)]
struct Context {
    device: sys::CUdevice,
    context: sys::CUcontext,
}

// SAFETY: handles of the driver, which any thread may use.
unsafe impl Send for Context {}
// SAFETY: nothing here changes what they name.
unsafe impl Sync for Context {}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once by `Cards::open`; a card's devices hold this, so nothing of it is used any more.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}

impl Card {
    /// What it is.
    pub fn description(&self) -> &DeviceDescription {
        &self.description
    }

    /// What it says of itself while it computes; `None` without NVML.
    pub fn gauges(&self) -> Option<Box<dyn CardGauges>> {
        let nvml = Arc::clone(self.nvml.as_ref()?);
        Some(Box::new(nvml::Gauges::new(nvml, self.description.clone())))
    }

    pub(super) fn context(&self) -> sys::CUcontext {
        self.context.context
    }
}

/// The cards that the driver shows.
#[derive(Clone, Debug)]
pub struct Cards {
    cards: Vec<(sys::CUdevice, DeviceDescription)>,
    /// What names slices, and what gauges ask; a card computes without it.
    nvml: Option<Arc<Nvml>>,
}

impl Cards {
    /// Looks for the driver and its cards.
    ///
    /// # Errors
    /// [`NoDevice`] says why there is none to use.
    pub fn probe() -> Result<Self, NoDevice> {
        // SAFETY: the driver's own code runs as it is loaded, as for every program that uses CUDA.
        if !unsafe { sys::is_culib_present() } {
            return Err(NoDevice::NoDriver);
        }
        let mut found = 0;
        // SAFETY: writes one number; every driver has it, and it may be called first.
        let asked = unsafe { sys::cuDriverGetVersion(&raw mut found) }.result();
        // Before anything else: an older driver lacks functions, and a missing one is a panic in the bindings.
        if asked.is_ok() && found < CUDA_VERSION {
            return Err(NoDevice::OldDriver { found });
        }
        match result::init() {
            Ok(()) => {}
            Err(error) if error.0 == sys::CUresult::CUDA_ERROR_NO_DEVICE => return Err(NoDevice::NoCard),
            Err(error) => return Err(NoDevice::Driver { problem: in_words(error) }),
        }
        let said = |error| NoDevice::Driver { problem: in_words(error) };
        let count = result::device::get_count().map_err(said)?;
        if count == 0 {
            return Err(NoDevice::NoCard);
        }
        let nvml = nvml::open();
        let is_slice = |uuid: &str| nvml.as_ref().is_some_and(|nvml| nvml::is_slice(nvml, uuid));
        let cards = (0..count).map(|ordinal| {
            let device = result::device::get(ordinal).map_err(said)?;
            Ok((device, describe(device, is_slice).map_err(said)?))
        });
        Ok(Self { cards: cards.collect::<Result<_, NoDevice>>()?, nvml })
    }

    /// What there is.
    pub fn descriptions(&self) -> impl Iterator<Item = &DeviceDescription> {
        self.cards.iter().map(|(_, description)| description)
    }

    /// Opens the chosen card.
    ///
    /// # Errors
    /// [`NoDevice`] when it is not there, too old, or does not open.
    pub fn open(&self, choice: &DeviceChoice) -> Result<Card, NoDevice> {
        let (device, description) = choose(&self.cards, choice)?;
        self.held(device, description)
    }

    /// Opens those of `named`, in this order, or the first `count` on which kernels run where none is named: cards that
    /// compute together.
    ///
    /// # Errors
    /// As [`Self::open`], and when they are too few or unlike each other.
    pub fn open_several(&self, named: &[String], count: usize) -> Result<Vec<Card>, NoDevice> {
        let chosen = choose_several(&self.cards, named, count)?;
        chosen.into_iter().map(|(device, description)| self.held(device, description)).collect()
    }

    /// A card that was chosen, with its context.
    fn held(&self, device: sys::CUdevice, description: DeviceDescription) -> Result<Card, NoDevice> {
        // SAFETY: the device is one that the driver showed; released with the card.
        let context = unsafe { result::primary_ctx::retain(device) };
        let context = context.map_err(|error| {
            let problem = in_words(error);
            match error.0 {
                sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => NoDevice::NoRoom { problem },
                _ => NoDevice::Driver { problem },
            }
        })?;
        let (context, nvml) = (Arc::new(Context { device, context }), self.nvml.clone());
        Ok(Card { description, context, nvml })
    }
}

/// Those of `named` among `cards`, or the first `count` on which kernels run where none is named, if they can compute
/// together.
fn choose_several<D: Copy>(
    cards: &[(D, DeviceDescription)],
    named: &[String],
    count: usize,
) -> Result<Vec<(D, DeviceDescription)>, NoDevice> {
    let chosen: Vec<_> = if named.is_empty() {
        let new_enough = cards.iter().filter(|(_, card)| capable(card).is_ok());
        let first: Vec<_> = new_enough.take(count).cloned().collect();
        if first.len() < count {
            // An older one is why, unless with it they would be too few as well.
            if first.is_empty() || cards.len() >= count {
                cards.iter().try_for_each(|(_, card)| capable(card))?;
            }
            return Err(NoDevice::TooFew { wanted: count, found: cards.len() });
        }
        first
    } else {
        let each = named.iter().map(|uuid| choose(cards, &DeviceChoice::Uuid(uuid.clone())));
        each.collect::<Result<_, _>>()?
    };
    for (index, (_, card)) in chosen.iter().enumerate() {
        if chosen[..index].iter().any(|(_, before)| before.uuid == card.uuid) {
            return Err(NoDevice::Twice { uuid: card.uuid.clone() });
        }
        let first = &chosen[0].1;
        if card.capability != first.capability {
            let capabilities = [first.capability, card.capability];
            return Err(NoDevice::Unlike {
                first: first.name.clone(),
                other: card.name.clone(),
                capabilities,
            });
        }
    }
    Ok(chosen)
}

/// The chosen of `cards`, if kernels run on it.
fn choose<D: Copy>(
    cards: &[(D, DeviceDescription)],
    choice: &DeviceChoice,
) -> Result<(D, DeviceDescription), NoDevice> {
    let (device, description) = match choice {
        DeviceChoice::First => {
            let first = cards.iter().find(|(_, card)| capable(card).is_ok());
            first.or(cards.first()).ok_or(NoDevice::NoCard)?
        }
        DeviceChoice::Uuid(uuid) => {
            let not_found = || NoDevice::NotFound {
                wanted: uuid.clone(),
                found: cards.iter().map(|(_, card)| card.uuid.clone()).collect(),
            };
            // A slice and its card have the same digits: the driver shows a process one or the other.
            let digits = |uuid: &str| uuid.get(4..).map(str::to_ascii_lowercase);
            cards.iter().find(|(_, card)| digits(&card.uuid) == digits(uuid)).ok_or_else(not_found)?
        }
    };
    capable(description)?;
    Ok((*device, description.clone()))
}

/// That kernels run on `card`.
fn capable(card: &DeviceDescription) -> Result<(), NoDevice> {
    if card.capability < LEAST_CAPABILITY {
        return Err(NoDevice::OldCard { name: card.name.clone(), capability: card.capability });
    }
    Ok(())
}

fn describe(
    device: sys::CUdevice,
    is_slice: impl Fn(&str) -> bool,
) -> Result<DeviceDescription, result::DriverError> {
    use sys::CUdevice_attribute as Attribute;
    let mut uuid = sys::CUuuid { bytes: [0; 16] };
    // SAFETY: the device is one that the driver showed; the call fills 16 bytes. Of a slice, this version gives its own.
    unsafe { sys::cuDeviceGetUuid_v2(&raw mut uuid, device) }.result()?;
    let attribute = |attribute| {
        // SAFETY: as above; the call writes one number.
        unsafe { result::device::get_attribute(device, attribute) }.map(|value| value.unsigned_abs())
    };
    let capability = (
        attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    );
    Ok(DeviceDescription {
        name: result::device::get_name(device)?,
        uuid: written(&uuid.bytes.map(|byte| byte as u8), is_slice),
        capability,
        // SAFETY: as above.
        memory: unsafe { result::device::total_mem(device) }? as u64,
    })
}

/// An identifier as `nvidia-smi` prints it. The bytes do not say whether they are a slice's: `is_slice` knows those by name.
fn written(bytes: &[u8; 16], is_slice: impl Fn(&str) -> bool) -> String {
    let parts = [&bytes[..4], &bytes[4..6], &bytes[6..8], &bytes[8..10], &bytes[10..]];
    let digits = parts.map(hex).join("-");
    let slice = format!("MIG-{digits}");
    if is_slice(&slice) { slice } else { format!("GPU-{digits}") }
}

#[cfg(test)]
mod tests {
    use super::{DeviceChoice, DeviceDescription, NoDevice, choose, choose_several, written};

    fn card(uuid: &str, capability: (u32, u32)) -> (i32, DeviceDescription) {
        (7, DeviceDescription { name: "Card".to_owned(), uuid: uuid.to_owned(), capability, memory: 1 })
    }

    /// The identifier of a whole card whose bytes are all `byte`.
    fn whole(byte: u8) -> String {
        written(&[byte; 16], |_| false)
    }

    #[test]
    fn identifiers_are_written_as_nvidia_smi_does() {
        let bytes = std::array::from_fn(|at| at as u8 * 0x11);
        let digits = "00112233-4455-6677-8899-aabbccddeeff";
        assert_eq!(written(&bytes, |_| false), format!("GPU-{digits}"));
        let slice = format!("MIG-{digits}");
        assert_eq!(written(&bytes, |uuid| uuid == slice), slice);
    }

    #[test]
    fn a_slice_is_listed_by_its_own_name_and_taken_by_either() {
        let slice = written(&[1; 16], |uuid| uuid.starts_with("MIG-"));
        let cards = [card(&slice, (9, 0))];
        for asked in [slice.clone(), slice.replace("MIG-", "GPU-")] {
            assert_eq!(choose(&cards, &asked.parse().unwrap()).unwrap().1.uuid, slice, "{asked}");
        }
        let missing = whole(2).parse().unwrap();
        let said = choose(&cards, &missing).unwrap_err().to_string();
        assert_eq!(said, format!("there is no card {}; there are: {slice}", whole(2)));
    }

    #[test]
    fn a_card_is_chosen_by_its_identifier_and_refused_in_words() {
        let first = whole(1);
        let cards = [card(&first, (9, 0)), card(&whole(2), (7, 5))];
        assert_eq!(choose(&cards, &DeviceChoice::First).unwrap().1.uuid, first);
        let named: DeviceChoice = first.to_uppercase().replace("GPU", "MIG").parse().unwrap();
        assert_eq!(choose(&cards, &named).unwrap().1.uuid, first);
        let old = whole(2).parse().unwrap();
        let said = choose(&cards, &old).unwrap_err().to_string();
        assert_eq!(said, "Card has compute capability 7.5, and 8.0 or later (Ampere) is needed");
        let missing = whole(3).parse().unwrap();
        assert!(
            matches!(choose(&cards, &missing).unwrap_err(), NoDevice::NotFound { found, .. } if found.len() == 2)
        );
        assert_eq!(choose::<i32>(&[], &DeviceChoice::First).unwrap_err(), NoDevice::NoCard);
    }

    #[test]
    fn cards_that_compute_together_are_several_and_alike() {
        let uuids: Vec<String> = (1..5).map(|byte| written(&[byte; 16], |_| false)).collect();
        let capabilities = [(9, 0), (9, 0), (9, 0), (8, 9)];
        let cards: Vec<_> = uuids.iter().zip(capabilities).map(|(uuid, at)| card(uuid, at)).collect();
        let chosen = |named: &[usize], count| {
            let named: Vec<String> = named.iter().map(|index| uuids[*index].clone()).collect();
            choose_several(&cards, &named, count)
                .map(|chosen| chosen.into_iter().map(|(_, card)| card.uuid).collect::<Vec<_>>())
        };
        assert_eq!(chosen(&[], 3).unwrap(), uuids[..3]);
        assert_eq!(chosen(&[2, 0], 2).unwrap(), [uuids[2].clone(), uuids[0].clone()]);
        let said = |named: &[usize], count| chosen(named, count).unwrap_err().to_string();
        assert_eq!(
            said(&[], 5),
            "5 cards are to compute together, and the driver shows 4: ask for more, or for fewer at once"
        );
        assert_eq!(
            said(&[], 4),
            "Card has compute capability 9.0 and Card has 8.9: cards that compute together have the same"
        );
        assert!(said(&[1, 1], 2).contains("is named twice"));
    }

    #[test]
    fn older_cards_are_passed_over_unless_there_are_no_others() {
        let uuids: Vec<String> = (1..5).map(whole).collect();
        let capabilities = [(7, 5), (9, 0), (7, 0), (9, 0)];
        let cards: Vec<_> = uuids.iter().zip(capabilities).map(|(uuid, at)| card(uuid, at)).collect();
        assert_eq!(choose(&cards, &DeviceChoice::First).unwrap().1.uuid, uuids[1]);
        let several = |count| choose_several(&cards, &[], count);
        let taken: Vec<_> = several(2).unwrap().into_iter().map(|(_, card)| card.uuid).collect();
        assert_eq!(taken, [uuids[1].clone(), uuids[3].clone()]);
        let old = "Card has compute capability 7.5, and 8.0 or later (Ampere) is needed";
        assert_eq!(several(3).unwrap_err().to_string(), old);
        assert_eq!(several(5).unwrap_err(), NoDevice::TooFew { wanted: 5, found: 4 });
        let alone = &cards[..1];
        assert_eq!(choose(alone, &DeviceChoice::First).unwrap_err().to_string(), old);
        for count in [1, 2] {
            assert_eq!(choose_several(alone, &[], count).unwrap_err().to_string(), old);
        }
        assert_eq!(choose_several::<i32>(&[], &[], 2).unwrap_err(), NoDevice::TooFew { wanted: 2, found: 0 });
    }

    #[test]
    fn what_is_no_identifier_is_refused_with_the_fix() {
        for wrong in [
            "0",
            "",
            "GPU-1",
            "GPU-00112233-4455-6677-8899-aabbccddeefg",
            "ROC-00112233-4455-6677-8899-aabbccddeeff",
        ] {
            assert!(wrong.parse::<DeviceChoice>().unwrap_err().contains("nvidia-smi -L"), "{wrong}");
        }
    }

    #[test]
    fn an_old_driver_is_told_its_version_and_the_one_to_have() {
        let said = NoDevice::OldDriver { found: 12_040 }.to_string();
        assert_eq!(
            said,
            "the CUDA driver is for CUDA 12.4, and 13.0 or later is needed: install driver 580 or later"
        );
    }
}

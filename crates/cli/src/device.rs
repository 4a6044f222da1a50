//! Selection of the device, from the compiled-in backends and the available hardware.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;

use burn::tensor::{Device, DeviceType, Tensor};

use crate::error::{CliError, CliResult};

/// A backend of burn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Cuda,
    Rocm,
    Metal,
    Vulkan,
    Wgpu,
    Flex,
    NdArray,
}

impl Backend {
    /// Every backend; `auto` tries them in this order.
    pub(crate) const ALL: [Backend; 7] =
        [Backend::Cuda, Backend::Rocm, Backend::Metal, Backend::Vulkan, Backend::Wgpu, Backend::Flex, Backend::NdArray];

    /// The name on the command line, and of the cargo feature that compiles it in.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Backend::Cuda => "cuda",
            Backend::Rocm => "rocm",
            Backend::Metal => "metal",
            Backend::Vulkan => "vulkan",
            Backend::Wgpu => "wgpu",
            Backend::Flex => "flex",
            Backend::NdArray => "ndarray",
        }
    }

    /// Whether it computes on the CPU, and so has only one device.
    pub(crate) fn is_cpu(self) -> bool {
        matches!(self, Backend::Flex | Backend::NdArray)
    }

    /// Burn's device; `None` if the backend is not compiled in.
    fn device_type(self) -> Option<DeviceType> {
        match self {
            #[cfg(feature = "cuda")]
            Backend::Cuda => Some(DeviceType::Cuda),
            #[cfg(feature = "rocm")]
            Backend::Rocm => Some(DeviceType::Rocm),
            #[cfg(feature = "metal")]
            Backend::Metal => Some(DeviceType::Metal),
            #[cfg(feature = "vulkan")]
            Backend::Vulkan => Some(DeviceType::Vulkan),
            #[cfg(feature = "wgpu")]
            Backend::Wgpu => Some(DeviceType::Wgpu),
            #[cfg(feature = "flex")]
            Backend::Flex => Some(DeviceType::Flex),
            #[cfg(feature = "ndarray")]
            Backend::NdArray => Some(DeviceType::NdArray),
            #[allow(unreachable_patterns)]
            _ => None,
        }
    }

    /// Whether it was compiled in.
    pub(crate) fn is_compiled(self) -> bool {
        self.device_type().is_some()
    }

    /// The devices of this backend on this machine.
    fn enumerate(self) -> Vec<Device> {
        // A backend whose driver is missing may panic instead of finding nothing.
        self.device_type().and_then(|kind| quietly(|| Device::enumerate(kind).into_vec())).unwrap_or_default()
    }
}

/// A device that can be requested.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) backend: Backend,
    pub(crate) index: usize,
    pub(crate) device: Device,
    /// The name of the hardware.
    pub(crate) hardware: Option<String>,
    /// Whether it is a graphics card, not a CPU that emulates one.
    pub(crate) is_gpu: bool,
}

impl Found {
    /// The value of `--device` that selects it.
    pub(crate) fn name(&self) -> String {
        if self.backend.is_cpu() {
            self.backend.name().into()
        } else {
            format!("{}:{}", self.backend.name(), self.index)
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hardware {
            Some(hardware) => write!(f, "{} ({hardware})", self.name()),
            None => f.write_str(&self.name()),
        }
    }
}

/// Every device that this build can use on this machine.
pub(crate) fn list() -> Vec<Found> {
    Backend::ALL.into_iter().flat_map(found).collect()
}

fn found(backend: Backend) -> Vec<Found> {
    let devices = backend.enumerate();
    devices
        .into_iter()
        .enumerate()
        .map(|(index, device)| {
            let (hardware, is_gpu) = if backend.is_cpu() { (None, false) } else { identity(&device) };
            Found { backend, index, device, hardware, is_gpu }
        })
        .collect()
}

#[cfg(any(feature = "wgpu", feature = "cuda", feature = "rocm"))]
fn identity(device: &Device) -> (Option<String>, bool) {
    match quietly(|| device.identity()).flatten() {
        Some(identity) => (Some(identity.name), identity.physical.is_some()),
        None => (None, false),
    }
}

#[cfg(not(any(feature = "wgpu", feature = "cuda", feature = "rocm")))]
fn identity(_device: &Device) -> (Option<String>, bool) {
    (None, false)
}

/// The value of `--device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The best available device.
    Auto,
    /// The CPU.
    Cpu,
    /// A backend, and which of its devices.
    Of(Backend, Option<usize>),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => return Ok(Choice::Auto),
            "cpu" => return Ok(Choice::Cpu),
            _ => {}
        }
        let (name, index) = match text.split_once(':') {
            Some((name, index)) => (name, Some(index)),
            None => (text, None),
        };
        let Some(backend) = Backend::ALL.into_iter().find(|backend| backend.name() == name) else {
            return Err(
                "expected auto, cpu, flex, ndarray, wgpu[:N], vulkan[:N], metal[:N], cuda[:N] or rocm[:N]".into()
            );
        };
        let index = match index {
            Some(_) if backend.is_cpu() => return Err(format!("{name} has one device only: leave the number out")),
            Some(index) => {
                Some(index.parse().map_err(|_| format!("`{index}` is not the number of a device, as in {name}:0"))?)
            }
            None => None,
        };
        Ok(Choice::Of(backend, index))
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Auto => f.write_str("auto"),
            Choice::Cpu => f.write_str("cpu"),
            Choice::Of(backend, None) => f.write_str(backend.name()),
            Choice::Of(backend, Some(index)) => write!(f, "{}:{index}", backend.name()),
        }
    }
}

/// Finds the requested device, and tests it.
pub(crate) fn open(choice: Choice) -> CliResult<Found> {
    match choice {
        Choice::Auto => {
            let gpu = Backend::ALL
                .into_iter()
                .filter(|backend| !backend.is_cpu() && backend.is_compiled())
                .flat_map(found)
                .find(|found| found.is_gpu && works(&found.device));
            gpu.map_or_else(|| open(Choice::Cpu), Ok)
        }
        Choice::Cpu => {
            let backend = [Backend::Flex, Backend::NdArray].into_iter().find(|backend| backend.is_compiled());
            backend.map_or_else(|| Err(not_compiled(Backend::Flex)), |backend| open(Choice::Of(backend, None)))
        }
        Choice::Of(backend, _) if !backend.is_compiled() => Err(not_compiled(backend)),
        Choice::Of(backend, index) => {
            let mut devices = found(backend);
            let name = backend.name();
            if devices.is_empty() {
                return Err(CliError::mistake(format!("no device for {name} was found on this machine")).with_help(
                    "`burn-adapters devices` lists the available ones; a missing driver is the usual reason",
                ));
            }
            let count = devices.len();
            // Without a number: a card before a processor that stands in for one.
            let wanted = index.unwrap_or_else(|| devices.iter().position(|found| found.is_gpu).unwrap_or(0));
            if wanted >= count {
                let last = count - 1;
                return Err(CliError::mistake(format!(
                    "{name} has no device {wanted}: there are {count}, the last is {name}:{last}"
                ))
                .with_help("`burn-adapters devices` lists the available ones"));
            }
            let found = devices.swap_remove(wanted);
            if works(&found.device) {
                Ok(found)
            } else {
                Err(CliError::failure(format!("the device {found} was found but does not compute"))
                    .with_help("its driver may be too old; `--device cpu` works everywhere"))
            }
        }
    }
}

fn not_compiled(backend: Backend) -> CliError {
    let name = backend.name();
    let compiled: Vec<&str> =
        Backend::ALL.into_iter().filter(|backend| backend.is_compiled()).map(Backend::name).collect();
    let known = if compiled.is_empty() { "no backends".into() } else { compiled.join(", ") };
    CliError::mistake(format!("this build has no {name}: it was compiled with {known}"))
        .with_help(format!("build it in with `cargo build --release --features {name}`"))
}

/// Whether a small computation gives the right result.
fn works(device: &Device) -> bool {
    let sum = quietly(|| {
        let ones = Tensor::<2>::ones([2, 3], device);
        let sum = ones.clone().matmul(ones.transpose()).sum();
        sum.into_data().convert::<f32>().try_to_vec::<f32>()
    });
    matches!(sum, Some(Ok(values)) if values == [12.0])
}

/// Runs code that may panic if a driver is missing, without printing the panic's message.
fn quietly<T>(work: impl FnOnce() -> T) -> Option<T> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = catch_unwind(AssertUnwindSafe(work)).ok();
    std::panic::set_hook(hook);
    result
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_read_and_written_alike() {
        for text in ["auto", "cpu", "flex", "ndarray", "wgpu", "wgpu:1", "cuda:0", "rocm", "vulkan:2", "metal"] {
            assert_eq!(text.parse::<Choice>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_device_is_refused() {
        for text in ["", "gpu", "wgpu:", "wgpu:-1", "wgpu:x", "flex:0", "cpu:1", "CUDA"] {
            assert!(text.parse::<Choice>().is_err(), "{text}");
        }
    }

    #[test]
    #[cfg(feature = "flex")]
    fn flex_is_the_processor_and_computes() {
        assert_eq!(open(Choice::Cpu).unwrap().name(), "flex");
    }

    #[test]
    #[cfg(not(feature = "rocm"))]
    fn a_backend_that_is_not_compiled_in_names_its_cargo_feature() {
        let error = open(Choice::Of(Backend::Rocm, None)).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.help.unwrap().contains("--features rocm"));
    }
}

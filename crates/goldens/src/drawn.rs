//! Weights that follow from a formula over their names, which the scripts of the goldens compute as well
//! (`tests/python/common.py`).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// The seed of all goldens.
const SEED: u64 = 20_240_711;

/// Where values belong in a file: the byte at which they begin, their name, their number, mean and deviation.
type Place = (usize, String, usize, f64, f64);

/// Numbers for a name: SplitMix64 from the name's FNV-1a.
pub fn mixed(name: &str, salt: u64) -> impl Iterator<Item = u64> {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
    let start = name.bytes().fold(0xCBF2_9CE4_8422_2325, step).wrapping_add(salt << 32);
    (1_u64..).map(move |position| {
        let mut value = start.wrapping_add(position).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ (value >> 31)
    })
}

/// Nearly normal numbers, multiples of 1/1024: the sum of four numbers of 16 bits has a mean of 131,070 and a deviation
/// of 37,837.2.
fn normal(name: &str, mean: f64, deviation: f64) -> impl Iterator<Item = f32> {
    let sum = |bits: u64| [0, 16, 32, 48].map(|shift| (bits >> shift & 0xFFFF) as f64).iter().sum::<f64>();
    let (scale, shift) = (deviation * 1024.0 / 37837.2, mean * 1024.0);
    mixed(name, SEED).map(move |bits| (((sum(bits) - 131_070.0) * scale + shift).round_ties_even() / 1024.0) as f32)
}

/// Fills the files of an unpacked archive with the values that it left out, as its `drawn.json` says.
pub(crate) fn fill(folder: &Path) -> io::Result<()> {
    let list = folder.join("drawn.json");
    let files: BTreeMap<String, Vec<Place>> = serde_json::from_slice(&fs::read(&list)?)?;
    for (name, places) in files {
        let path = folder.join(name);
        let mut data = fs::read(&path)?;
        for (start, name, count, mean, deviation) in places {
            let values = normal(&name, mean, deviation).take(count).flat_map(f32::to_le_bytes);
            data[start..start + 4 * count].iter_mut().zip(values).for_each(|(byte, value)| *byte = value);
        }
        fs::write(path, data)?;
    }
    fs::remove_file(list)
}

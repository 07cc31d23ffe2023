//! Linear layers to ternary formats: exactly, or not at all unless asked.

use super::{Error, Options, Ternarize, rows};
use crate::gguf::{File, Tensor};
use crate::quant::{Format, absmean, quantize};

/// The tensor in a ternary format.
pub(super) fn pack(file: &File, tensor: &Tensor, to: Format, options: &Options) -> Result<Vec<u8>, Error> {
    let mut values = rows::values(file, tensor, options.threads)?;
    // I2_S has one scale for the whole tensor, the others one per block.
    let group = if to == Format::I2_S { values.len() } else { to.block_len() };
    if let Some(odd) = values.chunks(group).find_map(not_ternary) {
        match options.ternarize {
            Ternarize::Absmean => absmean(&mut values),
            Ternarize::Refuse => {
                let what = format!(
                    "is not ternary: it has the values {} and {} under one scale. A base that was not trained with ternary \
                     weights does not work with them; `--ternarize` rounds it all the same",
                    odd.0, odd.1
                );
                return Err(file.tensor_error(&tensor.name, what).into());
            }
        }
    }
    Ok(quantize(to, &values, tensor.dims[0]))
}

/// Two magnitudes, neither of them 0, that cannot share a scale.
fn not_ternary(values: &[f32]) -> Option<(f32, f32)> {
    let first = values.iter().copied().find(|&v| v != 0.0)?;
    let other = values.iter().copied().find(|&v| v != 0.0 && v.abs() != first.abs())?;
    Some((first, other))
}

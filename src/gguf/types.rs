//! ggml's tensor type ids.

use crate::quant::Format;

/// `Q2_0` has one id and two layouts; the reader tells them apart by length.
pub(super) const Q2_0: u32 = 42;

/// The format of a type id (`Q2_0` stands for both group sizes).
pub(super) fn format(id: u32) -> Option<Format> {
    Some(match id {
        0 => Format::F32,
        1 => Format::F16,
        2 => Format::Q4_0,
        8 => Format::Q8_0,
        12 => Format::Q4_K,
        13 => Format::Q5_K,
        14 => Format::Q6_K,
        30 => Format::BF16,
        34 => Format::TQ1_0,
        35 => Format::TQ2_0,
        36 => Format::I2_S,
        Q2_0 => Format::Q2_0,
        _ => return None,
    })
}

/// The type id of a format.
pub(super) fn id(format: Format) -> u32 {
    match format {
        Format::F32 => 0,
        Format::F16 => 1,
        Format::Q4_0 => 2,
        Format::Q8_0 => 8,
        Format::Q4_K => 12,
        Format::Q5_K => 13,
        Format::Q6_K => 14,
        Format::BF16 => 30,
        Format::TQ1_0 => 34,
        Format::TQ2_0 => 35,
        Format::I2_S => 36,
        Format::Q2_0 | Format::Q2_0_G128 => Q2_0,
    }
}

/// The usual name of a type that exists but is not supported here, so that an error can say more than a number.
pub(super) fn unsupported_name(id: u32) -> Option<&'static str> {
    Some(match id {
        3 => "Q4_1",
        6 => "Q5_0",
        7 => "Q5_1",
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        31 => "Q4_0_4_4",
        32 => "Q4_0_4_8",
        33 => "Q4_0_8_8",
        38 => "TL1",
        39 => "MXFP4",
        40 => "NVFP4",
        41 => "Q1_0",
        142 => "PQ2_0",
        143 => "PTQ1_0",
        _ => return None,
    })
}

//! Values that are ternary, and values that are made so.

/// Codes and scale of values that all are −s, 0 or s for one s; `None` for any others.
pub fn ternary_codes(values: &[f32]) -> Option<(Vec<i8>, f32)> {
    let scale = values.iter().fold(0.0f32, |a, w| a.max(w.abs()));
    let code = |w: &f32| match *w {
        0.0 => Some(0),
        w if w == scale => Some(1),
        w if w == -scale => Some(-1),
        _ => None,
    };
    Some((values.iter().map(code).collect::<Option<_>>()?, scale))
}

/// Rounds all values of a tensor to −s, 0 or s with s = mean |w|, at least 1e-5: how BitNet b1.58 makes weights of its masters
/// (arXiv 2402.17764, equations 1 to 3), in f32 as Hugging Face's `WeightQuant` computes it.
pub fn absmean(values: &mut [f32]) {
    let mean = values.iter().map(|w| f64::from(w.abs())).sum::<f64>() / values.len() as f64;
    let inverse = 1.0 / (mean as f32).max(1e-5);
    let scale = 1.0 / inverse;
    values.iter_mut().for_each(|w| *w = (*w * inverse).round_ties_even().clamp(-1.0, 1.0) * scale);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_one_magnitude_are_ternary() {
        assert_eq!(ternary_codes(&[0.5, 0.0, -0.5]), Some((vec![1, 0, -1], 0.5)));
        assert_eq!(ternary_codes(&[0.5, 0.25, -0.5]), None);
        assert_eq!(ternary_codes(&[0.0, -0.0]), Some((vec![0, 0], 0.0)));
        assert_eq!(ternary_codes(&[0.5, f32::NAN]), None);
    }

    #[test]
    fn master_weights_become_codes_times_their_mean() {
        let mut values = [1.0, -0.2, 0.3, -0.5];
        absmean(&mut values);
        assert_eq!(values, [0.5, 0.0, 0.5, -0.5]);
    }
}

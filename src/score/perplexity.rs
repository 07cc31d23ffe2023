//! Perplexity over overlapping windows, as the documentation of Hugging Face transformers describes it
//! ("Perplexity of fixed-length models"): each token is scored once, with at least `context − stride` tokens before it.
//!
//! Their example multiplies each window's mean by one token too few in all windows but the first; here every scored
//! token counts once.

use super::{Error, Scorer, log_sum_exp};
use crate::text::Token;

/// How a long text is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Tokens per window.
    pub context: usize,
    /// Tokens from one window's beginning to the next one's.
    pub stride: usize,
    /// Where the beginning-of-sequence token stands.
    pub bos: Bos,
}

/// Where the beginning-of-sequence token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bos {
    /// Nowhere, or wherever the tokens have it: the first window only.
    AsGiven,
    /// Before each window. Bases that always saw it in training (Gemma) do badly without.
    EachWindow(Token),
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Perplexity {
    /// Tokens that were scored, the text's last ones: all but the first, if nothing stands before it.
    pub scored: usize,
    /// Mean negative log-likelihood of a token, in nats.
    pub nll: f64,
    /// 95 % interval of `nll`; `None` for too few tokens.
    pub interval: Option<Interval>,
}

/// A 95 % confidence interval.
///
/// The losses of neighbouring tokens are correlated, so their plain standard error is too small. The losses are
/// cut into √n blocks of √n neighbours, whose means are nearly independent; the interval is Student's t on those
/// means ("batch means").
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end, in nats.
    pub low: f64,
    /// Upper end, in nats.
    pub high: f64,
}

/// Fewest blocks that an interval is made from.
const MIN_BLOCKS: usize = 6;

/// Scores all tokens but the first. `progress(scored, mean so far)` is called after each window.
///
/// # Errors
/// If the windows make no sense, the tokens are too few or not the base's, or a logit is not finite.
pub fn perplexity(
    scorer: &mut Scorer,
    tokens: &[Token],
    windows: Windows,
    progress: &mut dyn FnMut(usize, f64),
) -> Result<Perplexity, Error> {
    let bos = match windows.bos {
        Bos::EachWindow(bos) => Some(bos),
        Bos::AsGiven => None,
    };
    // Tokens of the text per window.
    let context = windows.context.saturating_sub(usize::from(bos.is_some()));
    let stride = windows.stride.min(context);
    if windows.stride == 0 || windows.stride > windows.context || windows.context < 2 {
        return Err(Error::Windows { context: windows.context, stride: windows.stride });
    }
    // With a token before the first, that one can be scored too.
    let mut scored_to = usize::from(bos.is_none());
    if tokens.len() <= scored_to {
        return Err(Error::TooShort(tokens.len()));
    }
    let mut losses = Vec::with_capacity(tokens.len());
    let mut sum = 0.0;
    for begin in (0..tokens.len()).step_by(stride) {
        let end = tokens.len().min(begin + context);
        let window: Vec<Token> = bos.into_iter().chain(tokens[begin..end].iter().copied()).collect();
        // The logits at a position speak of the next token; this is the first position whose next token is new.
        let first = (scored_to - begin + usize::from(bos.is_some())).saturating_sub(1);
        let scoring = scorer.each(
            &window,
            |p| p >= first && p + 1 < window.len(),
            |p, logits| {
                let loss = log_sum_exp(logits) - f64::from(logits[window[p + 1] as usize]);
                sum += loss;
                losses.push(loss);
                Ok::<(), Error>(())
            },
        );
        scoring.map_err(|e| match e {
            // Of the text, not of the window.
            Error::NotFinite { position } => {
                Error::NotFinite { position: (begin + position).saturating_sub(usize::from(bos.is_some())) }
            }
            other => other,
        })?;
        progress(losses.len(), sum / losses.len() as f64);
        scored_to = end;
        if end == tokens.len() {
            break;
        }
    }
    let nll = sum / losses.len() as f64;
    Ok(Perplexity { scored: losses.len(), nll, interval: interval(&losses, nll) })
}

fn interval(losses: &[f64], mean: f64) -> Option<Interval> {
    let length = losses.len().isqrt();
    let blocks = losses.len().checked_div(length)?;
    if blocks < MIN_BLOCKS {
        return None;
    }
    let means: Vec<f64> = losses.chunks_exact(length).map(|b| b.iter().sum::<f64>() / length as f64).collect();
    let centre = means.iter().sum::<f64>() / means.len() as f64;
    let freedom = (means.len() - 1) as f64;
    let variance = means.iter().map(|m| (m - centre).powi(2)).sum::<f64>() / freedom;
    let half = student_975(freedom) * (variance / means.len() as f64).sqrt();
    Some(Interval { low: mean - half, high: mean + half })
}

/// 97.5 % point of Student's t (Abramowitz and Stegun 26.7.5), good to 0.002 from five degrees of freedom on.
fn student_975(freedom: f64) -> f64 {
    let z: f64 = 1.959_963_984_540_054;
    z + (z.powi(3) + z) / (4.0 * freedom)
        + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * freedom.powi(2))
        + (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / (384.0 * freedom.powi(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values: any printed table of Student's t.
    #[test]
    fn students_t_is_near_its_tables() {
        for (freedom, t) in [(5.0, 2.5706), (10.0, 2.2281), (30.0, 2.0423), (1000.0, 1.9623)] {
            assert!((student_975(freedom) - t).abs() < 0.003, "{freedom}: {} instead of {t}", student_975(freedom));
        }
    }

    /// Nearly all the variance lies between blocks: tokens taken as independent would give an interval five times too narrow.
    #[test]
    fn correlated_losses_widen_the_interval() {
        let losses: Vec<f64> = (0..900).map(|i| f64::from((i / 30 * 7919) % 13)).collect();
        let mean = losses.iter().sum::<f64>() / 900.0;
        let interval = interval(&losses, mean).unwrap();
        let variance = losses.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / 899.0;
        let naive = 1.96 * (variance / 900.0).sqrt();
        assert!((interval.high - mean) / naive > 5.0, "{interval:?}, naive ±{naive}");
        assert!((interval.high + interval.low - 2.0 * mean).abs() < 1e-12);
    }

    #[test]
    fn a_handful_of_tokens_has_no_interval() {
        assert_eq!(interval(&[1.0, 2.0, 3.0], 2.0), None);
        assert_eq!(interval(&[], 0.0), None);
    }
}

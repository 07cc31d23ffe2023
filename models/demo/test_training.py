"""Network, batches, scores and files on a tiny untrained model. Run: python -m unittest test_training"""
import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch

import data
import evaluate
import export
import gguf_file as gg
from corpus import mix
from network import Model, Shape, TernaryProduct, ternary

TINY = Shape(dim=128, layers=2, heads=2, kv_heads=1, ffn=256)


def tiny(precision="ternary"):
    torch.manual_seed(0)
    return Model(TINY, precision)


class Network(unittest.TestCase):
    def test_codes_are_ternary_and_scale_is_the_mean(self):
        w = torch.tensor([[0.9, -0.1, -2.0, 1.0]])
        codes, scale = ternary(w)
        self.assertEqual(codes.tolist(), [[1, 0, -1, 1]])
        self.assertAlmostEqual(float(scale), 1.0)

    def test_product_is_that_of_rounded_values_and_gradients_pass_straight_through(self):
        torch.manual_seed(1)
        x, w = torch.randn(3, 128, requires_grad=True), torch.randn(8, 128, requires_grad=True)
        y = TernaryProduct.apply(x, w, True)
        codes, scale = ternary(w.detach())
        step = x.detach().abs().amax(1, keepdim=True) / 127
        rounded = (x.detach() / step).round() * step
        torch.testing.assert_close(y.detach(), rounded @ (codes * scale.half().float()).t(), rtol=1e-5, atol=1e-5)
        y.sum().backward()
        torch.testing.assert_close(w.grad, rounded.sum(0).expand(8, -1), rtol=1e-4, atol=1e-4)

    def test_a_token_does_not_see_what_comes_after_it(self):
        m, a = tiny(), torch.randint(6, 3000, (1, 20))
        b = a.clone()
        b[0, 12:] = 7
        torch.testing.assert_close(m(a)[0, :12], m(b)[0, :12])


class Batches(unittest.TestCase):
    def test_a_batch_depends_on_seed_and_step_alone(self):
        one, again, other = (data.batch(3, s, mix.STAGES[1], 512)[0] for s in (5, 5, 6))
        self.assertTrue(np.array_equal(one, again))
        self.assertFalse(np.array_equal(one, other))

    def test_only_answers_and_their_ends_weigh_fully(self):
        ids = data.tokenizer().encode(data.render([("Hello!", "Good morning!")])).ids
        w = data.loss_weights(np.array([ids + [data.PAD]]))[0]
        answer = data.tokenizer().encode("Good morning!").ids
        self.assertEqual([i for i, x in zip(ids, w) if x == 1], answer + [data.EOT])
        self.assertEqual(w[-1], 0)

    def test_text_survives_the_tokenizer_and_digits_are_single(self):
        t = data.tokenizer()
        self.assertEqual(t.decode(t.encode("Tom has 12 apples.").ids), "Tom has 12 apples.")
        self.assertEqual([t.id_to_token(i) for i in t.encode("123").ids], ["1", "2", "3"])


class Scores(unittest.TestCase):
    def test_exact_match_is_what_greedy_decoding_says(self):
        m, tok = tiny().eval(), data.tokenizer()
        ids = tok.encode(data.prompt_of([("Hello!", "")])).ids
        m.token_embd.weight.data[data.EOT] = 0  # an answer that surely begins with another token
        said, gap = evaluate.greedy(m, ids, 3)
        self.assertEqual(len(said), 3)
        self.assertGreaterEqual(gap, 0)
        self.assertEqual(evaluate.exact_match(m, [[("Hello!", "surely not this")]])[0], 0)

    def test_wilson_interval_of_a_half_of_a_hundred(self):
        self.assertEqual(evaluate.wilson(.5, 100), [.404, .596])


class Files(unittest.TestCase):
    def test_ternary_codes_read_back(self):
        codes = np.random.default_rng(0).integers(-1, 2, 512).astype(np.int8)
        got, scale = gg.unpack_i2_s(gg.pack_i2_s(codes, 0.25), 512)
        self.assertTrue(np.array_equal(got, codes))
        self.assertEqual(scale, 0.25)

    def test_a_model_reads_back_the_same_and_a_changed_byte_is_found(self):
        with tempfile.TemporaryDirectory() as folder:
            export.save_latent(tiny(), Path(folder) / "latent.safetensors")
            model = export.load_latent(Path(folder) / "latent.safetensors", TINY)
            path = export.files(model, folder, "ternary")
            keys = gg.Reader(path).keys
            self.assertEqual(keys["general.architecture"], "bitnet-b1.58")
            raw = bytearray(path.read_bytes())
            raw[-100] ^= 255  # inside the last gain or matrix
            path.write_bytes(raw)
            with self.assertRaises(ValueError):
                export.check(path, model)


if __name__ == "__main__":
    unittest.main()

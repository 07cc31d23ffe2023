"""Network, batches, scores and files on a tiny untrained model. Run: python -m unittest test_training"""
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

import data
import evaluate
import export
import gguf_file as gg
import training
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


class Runs(unittest.TestCase):
    def updates(self, folder, steps):
        """A run in `folder` taken `steps` steps further, uncompiled, and saved. Returns its weights."""
        o = SimpleNamespace(run=folder, twin="ternary", like=None, init=None, cycle=1, batch=256, widest=512, books=None, workers=0, lr=3e-3, muon=6e-3, seed=1, threads=1, plus=False,
                            minutes=None, steps=100)
        trainer = training.Trainer(o)
        trainer.use(trainer.plain)
        for _ in range(steps):
            ids, counts = (torch.from_numpy(a) for a in data.batch(1, trainer.step, mix.STAGES[0], 256))
            trainer.update(ids, counts, trainer.progress.share(trainer.step))
        trainer.save()
        return trainer.model.state_dict()

    def test_a_twin_has_the_stages_and_rates_of_the_run_it_repeats(self):
        options = lambda folder, like=None, **o: SimpleNamespace(
            **{**dict(run=folder, like=like, cycle=1, seed=1, batch=256, widest=512, books=None, steps=100, minutes=None), **o})
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
            run = training.Schedule(options(one))
            steps = [(step, share := run.share(step), run.stage(step, share, step > 20).name) for step in range(100)]
            self.assertEqual(len({name for _, _, name in steps}), 4)
            run.save()
            twin = training.Schedule(options(two, one, steps=None))
            for step, share, name in steps:
                self.assertEqual((twin.share(step), twin.stage(step, share, True).name), (share, name))
            with self.assertRaisesRegex(SystemExit, "seed is 2 here and 1"):
                training.Schedule(options(two, one, seed=2))

    def test_a_run_that_was_interrupted_goes_on_as_if_it_had_not_been(self):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
            whole = self.updates(one, 4)
            self.updates(two, 2)
            resumed = self.updates(two, 2)
        for name, weight in whole.items():
            torch.testing.assert_close(resumed[name], weight, rtol=0, atol=0)


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


    def test_a_twin_reads_back_as_bf16(self):
        with tempfile.TemporaryDirectory() as folder:
            export.save_latent(tiny("full"), Path(folder) / "latent.safetensors")
            model = export.load_latent(Path(folder) / "latent.safetensors", TINY, "full")
            path = export.files(model, folder, "full")
            self.assertEqual(gg.Reader(path).keys["general.architecture"], "bitnet-fp")


if __name__ == "__main__":
    unittest.main()

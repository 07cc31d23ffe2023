"""The service with the real `openai` and `ollama` packages, and with lm-evaluation-harness's way of scoring.

    pip install -r tests/clients/requirements.txt
    LOCO=target/release/loco python3 tests/clients/test_clients.py
"""

import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import unittest

import httpx
import ollama
import openai

LOCO = os.environ.get("LOCO", "target/release/loco")
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
ANSWER = "The capital of France is Paris."
ENDLESS = {"1": -100}  # the demo base's end token, ruled out


def setUpModule():
    global server, url, api, chat
    server = subprocess.Popen([LOCO, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True)
    for line in server.stdout:
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            url = found[0]
            break
    api = openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0)
    chat = ollama.Client(host=url)


def tearDownModule():
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=20) == 0, "SIGTERM must end the server with exit code 0"


def live():
    return httpx.get(url + "/health").json()["live"]


class OpenAI(unittest.TestCase):
    def test_list(self):
        self.assertEqual([m.id for m in api.models.list()], ["demo"])
        self.assertEqual(api.models.retrieve("demo").id, "demo")

    def test_chat(self):
        answer = api.chat.completions.create(model="demo", messages=QUESTION)
        self.assertEqual(answer.choices[0].message.content, ANSWER)
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)

    def test_stream(self):
        stream = api.chat.completions.create(
            model="demo", messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(text, ANSWER)
        self.assertGreater(len(chunks), 5)
        self.assertGreater(chunks[-1].usage.completion_tokens, 5)

    def test_stop_seed_and_choices(self):
        stopped = api.chat.completions.create(model="demo", messages=QUESTION, stop=[" is"])
        self.assertEqual(stopped.choices[0].message.content, "The capital of France")
        tell = dict(model="demo", messages=[{"role": "user", "content": "Tell me a story about Anna and a fox."}])
        one, two = (api.chat.completions.create(temperature=1.4, seed=3, n=2, **tell) for _ in range(2))
        texts = [[c.message.content for c in answer.choices] for answer in (one, two)]
        self.assertEqual(texts[0], texts[1])
        self.assertNotEqual(texts[0][0], texts[0][1])

    def test_logprobs(self):
        answer = api.chat.completions.create(model="demo", messages=QUESTION, logprobs=True, top_logprobs=2)
        content = answer.choices[0].logprobs.content
        self.assertEqual("".join(t.token for t in content), ANSWER)
        self.assertTrue(all(t.logprob <= 0 and len(t.top_logprobs) == 2 for t in content))

    def test_cancel(self):
        stream = api.completions.create(model="demo", prompt="Anna", stream=True, logit_bias=ENDLESS)
        next(iter(stream))
        stream.close()
        for _ in range(2000):
            if live() == 0:
                break
        self.assertEqual(live(), 0)

    def test_errors(self):
        with self.assertRaises(openai.NotFoundError) as e:
            api.chat.completions.create(model="gpt-5", messages=QUESTION)
        self.assertEqual((e.exception.code, e.exception.param), ("model_not_found", "model"))
        with self.assertRaises(openai.BadRequestError) as e:
            api.chat.completions.create(model="demo", messages=QUESTION, response_format={"type": "json_object"})
        self.assertEqual((e.exception.code, e.exception.param), ("unsupported_parameter", "response_format"))
        with self.assertRaises(openai.BadRequestError) as e:
            api.chat.completions.create(model="demo", messages=[{"role": "user", "content": "word " * 2000}])
        self.assertEqual(e.exception.code, "context_length_exceeded")

    def test_thirty_at_once(self):
        ask = lambda _: api.chat.completions.create(model="demo", messages=QUESTION).choices[0].message.content
        with concurrent.futures.ThreadPoolExecutor(30) as pool:
            self.assertEqual(set(pool.map(ask, range(60))), {ANSWER})


class Ollama(unittest.TestCase):
    def test_list(self):
        models = chat.list().models
        self.assertEqual([m.model for m in models], ["demo:latest"])
        self.assertEqual(models[0].modified_at.utcoffset().total_seconds(), 0)

    def test_chat(self):
        answer = chat.chat(model="demo", messages=QUESTION, options={"temperature": 0, "num_ctx": 4096})
        self.assertEqual((answer.message.content, answer.done_reason), (ANSWER, "stop"))
        self.assertGreater(answer.eval_count, 5)
        self.assertGreater(answer.eval_duration, 1000)

    def test_stream(self):
        parts = list(chat.chat(model="demo:latest", messages=QUESTION, stream=True))
        self.assertEqual("".join(p.message.content for p in parts), ANSWER)
        self.assertEqual([p.done for p in parts], [False] * (len(parts) - 1) + [True])
        self.assertGreater(len(parts), 5)

    def test_generate_and_stop(self):
        answer = chat.generate(model="demo", prompt=QUESTION[0]["content"], options={"stop": [" is"]})
        self.assertEqual(answer.response, "The capital of France")
        self.assertEqual(chat.generate(model="demo").done_reason, "load")

    def test_cancel(self):
        stream = chat.generate(model="demo", prompt="Anna", raw=True, stream=True, options={"temperature": 1.9})
        next(stream)
        stream.close()
        for _ in range(2000):
            if live() == 0:
                break
        self.assertEqual(live(), 0)

    def test_errors(self):
        with self.assertRaises(ollama.ResponseError) as e:
            chat.chat(model="llama3", messages=QUESTION)
        self.assertEqual(e.exception.status_code, 404)
        with self.assertRaises(ollama.ResponseError) as e:
            chat.chat(model="demo", messages=QUESTION, format="json")
        self.assertIn("format", e.exception.error)


class Harness(unittest.TestCase):
    def test_scores_as_lm_eval_reads_them(self):
        """`lm_eval/models/openai_completions.py`, `parse_logprobs`, in short."""
        prompts = [[0, 2, 861, 6, 1, 3, 861, 6], [0, 451, 340, 346, 36]]
        body = dict(model="demo", prompt=prompts, temperature=0, max_tokens=1, logprobs=1, seed=1234, echo=True)
        reply = httpx.post(url + "/v1/completions", json=body).json()
        for choice, prompt in zip(sorted(reply["choices"], key=lambda c: c["index"]), prompts):
            begin = len(prompt) - 2
            own = choice["logprobs"]["token_logprobs"][begin:-1]
            top = choice["logprobs"]["top_logprobs"][begin:-1]
            self.assertEqual((len(own), len(top)), (2, 2))
            greedy = all(o == max(t.values()) for o, t in zip(own, top))
            self.assertEqual(greedy, prompt is prompts[0])  # "Hello!" is what the demo base says to "Hello!"


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=[sys.argv[0]] + sys.argv[1:])

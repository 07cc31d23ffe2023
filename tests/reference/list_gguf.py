"""Lists what llama.cpp's converter makes of the golden folders, for tests/import.rs.

    for case in llama-untied …; do
        python convert_hf_to_gguf.py ../golden/$case --outtype f32 --outfile OUT/$case.gguf    # of llama.cpp
    done
    pip install gguf==0.19.0
    python list_gguf.py OUT/*.gguf > ../golden/llama_cpp.json

The tiny tokenizers are unknown to the converter: `get_vocab_base_pre` was made to return "llama-bpe" for all of them.
Converter: the one in llama-cpp-python 0.3.36. Tokenizer keys are left out (see the tokenizer's own tests).
"""

import hashlib
import json
import sys
from pathlib import Path

from gguf import GGUFReader

SKIPPED = ("GGUF.", "tokenizer.", "general.name")

listing = {}
for path in sys.argv[1:]:
    reader = GGUFReader(path)
    tensors = {}
    for tensor in reader.tensors:
        entry = [[int(n) for n in tensor.shape], tensor.tensor_type.name]
        if tensor.name == "rope_freqs.weight":
            entry.append([float(v) for v in tensor.data])
        else:
            entry.append(hashlib.sha256(tensor.data.tobytes()).hexdigest())
        tensors[tensor.name] = entry
    metadata = {key: [field.types[0].name, field.contents()] for key, field in reader.fields.items() if not key.startswith(SKIPPED)}
    listing[Path(path).stem] = dict(metadata=metadata, tensors=tensors)
print(json.dumps(listing, indent=0, sort_keys=True))

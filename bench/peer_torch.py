"""The peer: training steps in PyTorch on the CPU, one thread, beside bench_train's numbers.

usage: peer_torch.py --family F --layers L --width C --heads H --vocabulary V --batch B --context T --steps N
                     [--rows NAME,…] [--seconds S]

Prints one JSON line per row. A row's name says which model, number type and way of running it is:
    transformers-f32            Hugging Face transformers' model, the family's own, scaled-dot-product attention
    transformers-bf16           the same under torch.autocast to bfloat16
    plain-f32, plain-bf16       gpt2 alone: the same network in a page of PyTorch, without transformers
    …-compiled                  the same under torch.compile; compiling happens before the first measured step
A step is what bench_train's is: forward, backward, clip_grad_norm_ and AdamW (PyTorch's fused one, its fastest), dropout 0,
new random tokens each time. Three steps come before the ones that count, of which the median is given. What is fed:
    gpt2, llama      T tokens, all but the last of which are predicted by transformers, all by ours and by `plain`
    bert             T tokens, labels on 15 % of them; the others -100
    t5               what span_corruption (trainer/objective_span.c) makes of T tokens: noise = round(0.15 T) of them in
                     spans = round(noise / 3), T - noise + spans + 1 for the encoder, noise + spans + 1 for the decoder
"""
import argparse
import json
import time
import warnings

import torch
import torch.nn.functional as functional
import transformers

WARM_UP = 3
IGNORED = -100


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--family", default="gpt2")
    for name, default in (("layers", 6), ("width", 384), ("heads", 6), ("vocabulary", 256), ("batch", 8), ("context", 256),
                          ("steps", 10)):
        parser.add_argument("--" + name, type=int, default=default)
    parser.add_argument("--rows", default="transformers-f32", type=lambda text: text.split(","))
    return parser.parse_args()


# ---- the page of PyTorch: GPT-2 as its paper and nobody's framework has it


class Block(torch.nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.qkv, self.out = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
        self.up, self.down = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)

    def forward(self, x):
        rows, context, width = x.shape
        split = self.qkv(self.norm_1(x)).view(rows, context, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(rows, context, width))
        return x + self.down(functional.gelu(self.up(self.norm_2(x)), approximate="tanh"))


class Plain(torch.nn.Module):
    def __init__(self, a):
        super().__init__()
        self.tokens = torch.nn.Embedding(a.vocabulary, a.width)
        self.positions = torch.nn.Embedding(a.context, a.width)
        self.blocks = torch.nn.ModuleList(Block(a.width, a.heads) for _ in range(a.layers))
        self.norm = torch.nn.LayerNorm(a.width)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.02)

    def forward(self, input_ids, targets):
        x = self.tokens(input_ids) + self.positions.weight
        for block in self.blocks:
            x = block(x)
        logits = functional.linear(self.norm(x), self.tokens.weight)
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


# ---- transformers' models, and what each family reads


def gpt2(a):
    return transformers.GPT2LMHeadModel, transformers.GPT2Config(
        n_layer=a.layers, n_embd=a.width, n_head=a.heads, n_positions=a.context, vocab_size=a.vocabulary, resid_pdrop=0,
        embd_pdrop=0, attn_pdrop=0, bos_token_id=None, eos_token_id=None)


def llama(a):
    return transformers.LlamaForCausalLM, transformers.LlamaConfig(
        num_hidden_layers=a.layers, hidden_size=a.width, num_attention_heads=a.heads,
        intermediate_size=a.width * 8 // 3 // 16 * 16, vocab_size=a.vocabulary, max_position_embeddings=a.context,
        tie_word_embeddings=True, bos_token_id=None, eos_token_id=None)


def bert(a):
    return transformers.BertForMaskedLM, transformers.BertConfig(
        num_hidden_layers=a.layers, hidden_size=a.width, num_attention_heads=a.heads, intermediate_size=4 * a.width,
        vocab_size=a.vocabulary, max_position_embeddings=a.context, hidden_dropout_prob=0, attention_probs_dropout_prob=0,
        pad_token_id=None)


def t5(a):
    return transformers.T5ForConditionalGeneration, transformers.T5Config(
        num_layers=a.layers, num_decoder_layers=a.layers, d_model=a.width, d_kv=a.width // a.heads, num_heads=a.heads,
        d_ff=4 * a.width, vocab_size=a.vocabulary, n_positions=a.context, feed_forward_proj="relu", dropout_rate=0,
        tie_word_embeddings=True, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)


def causal_batch(a):
    tokens = torch.randint(a.vocabulary, (a.batch, a.context))
    return {"input_ids": tokens, "labels": tokens}


def masked_batch(a):
    tokens = torch.randint(a.vocabulary, (a.batch, a.context))
    return {"input_ids": tokens, "labels": tokens.masked_fill(torch.rand(tokens.shape) >= 0.15, IGNORED)}


def span_batch(a):
    noise = round(0.15 * a.context)
    spans = round(noise / 3)
    draw = lambda length: torch.randint(2, a.vocabulary, (a.batch, length))
    return {"input_ids": draw(a.context - noise + spans + 1), "labels": draw(noise + spans + 1)}


def plain_batch(a):
    tokens = torch.randint(a.vocabulary, (a.batch, a.context + 1))
    return {"input_ids": tokens[:, :-1].contiguous(), "targets": tokens[:, 1:].contiguous()}


FAMILIES = {"gpt2": (gpt2, causal_batch), "llama": (llama, causal_batch), "bert": (bert, masked_batch), "t5": (t5, span_batch)}


def transformers_model(a):
    """With scaled-dot-product attention where the model knows it."""
    kind, config = FAMILIES[a.family][0](a)
    config.use_cache = False
    for attention in ("sdpa", "eager"):
        try:
            config._attn_implementation = attention
            return kind(config), attention
        except ValueError:
            pass
    raise SystemExit(f"no attention for {a.family}")


# ---- measuring


def measure(a, name):
    model_name, dtype, *way = name.split("-")
    torch.manual_seed(0)
    if model_name == "plain":
        model, attention, batch_of = Plain(a), "sdpa", plain_batch
    else:
        (model, attention), batch_of = transformers_model(a), FAMILIES[a.family][1]
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    run = torch.compile(model) if way else model
    times = []
    begin = time.perf_counter()
    for _ in range(WARM_UP + a.steps):
        batch = batch_of(a)
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bf16"):
            out = run(**batch)
            loss = out if model_name == "plain" else out.loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        times.append(time.perf_counter() - start)
    median = sorted(times[WARM_UP:])[a.steps // 2]
    lengths = [values.shape[1] for values in batch.values()]
    return {"peer": name, "family": a.family, "layers": a.layers, "width": a.width,
            "parameters": sum(p.numel() for p in model.parameters()), "inputs": lengths[0], "targets": lengths[1],
            "steps": a.steps, "step_ms": round(median * 1e3, 2), "tokens_per_second": round(a.batch * a.context / median),
            "first_step_s": round(times[0], 1), "all_s": round(time.perf_counter() - begin, 1), "attention": attention,
            "optimizer": "AdamW fused", "threads": torch.get_num_threads(), "torch": torch.__version__,
            "transformers": transformers.__version__}


def main():
    a = parse()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    for name in a.rows:
        print(json.dumps(measure(a, name), separators=(",", ":")), flush=True)
        torch.compiler.reset()


if __name__ == "__main__":
    main()

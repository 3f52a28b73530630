"""The peer: one training step in PyTorch on the CPU, one thread, beside bench_train's numbers.

usage: peer_torch.py --family F --layers L --width C --heads H --vocabulary V --batch B --context T --steps N
                     [--dtype f32|bf16] [--compile]

Models are Hugging Face transformers' own (the ones whose checkpoints lag trains), with scaled-dot-product attention where
the family has it. A step is forward, backward, clip_grad_norm_ and AdamW. Prints one JSON line; the FLOPs come in by
--flops-per-token, so that both sides are counted by the same function.
"""
import argparse
import json
import time

import torch
import transformers


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--family", default="gpt2")
    for name, default in (("layers", 6), ("width", 384), ("heads", 6), ("vocabulary", 256), ("batch", 8), ("context", 256), ("steps", 10)):
        parser.add_argument("--" + name, type=int, default=default)
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--flops-per-token", type=float, default=0)
    return parser.parse_args()


def build(a):
    if a.family == "gpt2":
        config = transformers.GPT2Config(n_layer=a.layers, n_embd=a.width, n_head=a.heads, n_positions=a.context,
                                         vocab_size=a.vocabulary, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
        return transformers.GPT2LMHeadModel(config)
    if a.family == "llama":
        config = transformers.LlamaConfig(num_hidden_layers=a.layers, hidden_size=a.width, num_attention_heads=a.heads,
                                          intermediate_size=a.width * 8 // 3 // 16 * 16, vocab_size=a.vocabulary,
                                          max_position_embeddings=a.context, tie_word_embeddings=True)
        return transformers.LlamaForCausalLM(config)
    if a.family == "bert":
        config = transformers.BertConfig(num_hidden_layers=a.layers, hidden_size=a.width, num_attention_heads=a.heads,
                                         intermediate_size=4 * a.width, vocab_size=a.vocabulary,
                                         max_position_embeddings=a.context, hidden_dropout_prob=0,
                                         attention_probs_dropout_prob=0)
        return transformers.BertForMaskedLM(config)
    raise SystemExit(f"no peer for {a.family}")


def main():
    a = parse()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build(a).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1)
    run = torch.compile(model) if a.compile else model
    times = []
    for _ in range(a.steps + 3):
        tokens = torch.randint(a.vocabulary, (a.batch, a.context))
        begin = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=a.dtype == "bf16"):
            loss = run(input_ids=tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        times.append(time.perf_counter() - begin)
    median = sorted(times[3:])[a.steps // 2]
    tokens = a.batch * a.context
    print(json.dumps({"peer": f"torch {torch.__version__} {a.dtype}{' compiled' if a.compile else ''}", "family": a.family,
                      "step_ms": round(median * 1e3, 2), "tokens_per_second": round(tokens / median),
                      "gflops": round(a.flops_per_token * tokens / median * 1e-9, 2)}))


if __name__ == "__main__":
    main()

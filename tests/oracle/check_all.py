"""Makes checkpoints in every way there is, with `lag` and with Hugging Face transformers, and passes each through check_load.

    python tests/oracle/check_all.py [--lag ./lag] > tests/oracle/check_load.log

Trained, continued and grown by `lag`, of every family, and searched; saved by transformers in every layout (sharded, 16 bits,
without prefix, untied, with old buffers, with tokenizers) and then read, grown and trained by `lag`; and what must be refused.
All of it in a temporary directory, a minute or two on two cores.
"""
import argparse
import filecmp
import inspect
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, BertConfig, BertForPreTraining, GPT2Config, GPT2ForSequenceClassification
from transformers import GPT2LMHeadModel, GPT2Model, MixtralConfig, MixtralForCausalLM, PreTrainedTokenizerFast
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import check_load
from check_load import load_optimizer, load_schedule_free, load_sgd, require, run_lag, within

BATCH, CONTEXT, RATE = 8, 32, 1e-3
TRAINING = {"batch": BATCH, "context": CONTEXT, "steps": 1000, "learning_rate": RATE, "clip": 1.0, "seed": 1,
            "schedule": {"name": "constant", "warmup_steps": 10}}
SIZES = dict(n_layer=2, n_embd=48, n_head=3, n_positions=CONTEXT, vocab_size=300)
STACK, WIDEN = [{"op": "stack", "layers": 4}], [{"op": "hyperclone", "width": 96}]


class World:
    """A directory with a corpus in it, and how many checks passed and failed."""

    def __init__(self, lag, directory):
        self.lag, self.root = lag, pathlib.Path(directory)
        self.passed = self.failed = 0
        # The C library's headers, as in the demo: text with something to learn in it.
        headers = sorted(pathlib.Path("/usr/include").glob("*.h"))
        corpus = b"".join(path.read_bytes() for path in headers)[:400_000]
        require(len(corpus) == 400_000, "no C headers in /usr/include")
        (self.root / "train.bin").write_bytes(corpus[:380_000])
        (self.root / "valid.bin").write_bytes(corpus[380_000:])
        (self.root / "training.json").write_text(json.dumps(TRAINING))

    def path(self, name):
        return self.root / name

    def case(self, title, function, *arguments):
        print(title)
        try:
            function(self, *arguments)
            self.passed += 1
        except Exception as failure:     # of any kind: the other cases go on
            print(f"    FAILED: {type(failure).__name__}: {str(failure).replace(str(self.root) + '/', '')}")
            self.failed += 1

    def check(self, name):
        return check_load.check(self.lag, self.path(name))

    def train(self, source, out, steps, objective=None, training=TRAINING):
        """objective: members of a study's data object, for those that need tokens of their own."""
        self.path("training.json").write_text(json.dumps(training))
        data = ["--data", self.path("train.bin"), "--valid", self.path("valid.bin"), "--format", "bytes"]
        if objective:
            data = ["--data", self.path("data.json")]
            files = dict(train=str(self.path("train.bin")), valid=str(self.path("valid.bin")), format="bytes")
            self.path("data.json").write_text(json.dumps({**files, **objective}))
        run_lag(self.lag, "train", *source, *data, "--sampler", "sequential", "--training", self.path("training.json"), "--steps",
                steps, "--valid-tokens", 2000, "--out", self.path(out))

    def grow(self, name, out, operators, *flags):
        answer = json.loads(run_lag(self.lag, "grow", "--checkpoint", self.path(name), "--operators", json.dumps(operators),
                                    "--out", self.path(out), "--check", "--json", *flags))
        print(f"    grown by {', '.join(step['op'] for step in operators)}: preservation {answer['preservation']:.1e}")
        return answer["preservation"]


def documented(world):
    """docs/checkpoints.md shows the function that is run here, character by character."""
    page = pathlib.Path(__file__).resolve().parents[2] / "docs" / "checkpoints.md"
    for function in (load_optimizer, load_schedule_free, load_sgd):
        name = function.__name__
        require(inspect.getsource(function).strip() in page.read_text(), f"docs/checkpoints.md shows another {name}")
        print(f"    {name} is the one of docs/checkpoints.md")


# ---- written by lag

def trained(world):
    config = dict(model_type="gpt2", n_layer=3, n_embd=48, n_head=3, n_positions=CONTEXT, vocab_size=256)
    world.path("shape.json").write_text(json.dumps(config))
    world.train(["--shape", world.path("shape.json")], "base", 120)
    world.check("base")


def continued(world):
    """PyTorch goes on from optimizer.safetensors for ten steps, and so does lag: the same weights."""
    world.train(["--checkpoint", world.path("base")], "later", 130)
    model = check_load.load(world.path("base")).float()
    optimizer = load_optimizer(model, world.path("base"))
    corpus = torch.tensor(list(world.path("train.bin").read_bytes()))
    for step in range(120, 130):
        starts = (step * BATCH + torch.arange(BATCH)) * CONTEXT
        rows = corpus[(starts[:, None] + torch.arange(CONTEXT + 1)) % len(corpus)]
        optimizer.zero_grad()
        logits = model(input_ids=rows[:, :-1]).logits
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    state = load_file(world.path("later") / "optimizer.safetensors")
    worst = 0
    for name, parameter in model.named_parameters():
        actual, expected, bias = state[f"{name}.w"], parameter.detach(), "c_attn.bias" in name
        if bias:      # key biases: gradients zero but for rounding, of which Adam makes steps
            keys = slice(parameter.numel() // 3, 2 * parameter.numel() // 3)
            within_keys = (actual[keys] - expected[keys]).abs().max().item()
            require(within_keys <= 10 * RATE, "key biases moved too far")
            actual[keys], expected[keys] = 0, 0
        worst = max(worst, ((actual - expected).norm() / expected.norm()).item())
        require(state[f"{name}.step"].item() == optimizer.state[parameter]["step"].item() == 130, "steps")
    embedding = "transformer.wte.weight"
    before = load_file(world.path("base") / "model.safetensors")[embedding]
    moved = ((state[f"{embedding}.w"] - before).norm() / before.norm()).item()
    print(f"    in these steps the embedding moved by {moved:.1e} of itself")
    within("weights after ten more steps in PyTorch and in lag", worst, 1e-4)


def continued_by(world, name, loader, rate, values):
    """The same with another optimizer, from scratch, without weight decay and clipping."""
    training = {**TRAINING, "learning_rate": rate, "clip": 0, "optimizer": {"name": name, "weight_decay": 0, **values}}
    world.train(["--shape", world.path("shape.json")], f"{name}-base", 60, training=training)
    world.check(f"{name}-base")
    world.train(["--checkpoint", world.path(f"{name}-base")], f"{name}-later", 70, training=training)
    model = check_load.load(world.path(f"{name}-base")).float()
    optimizer = loader(model, world.path(f"{name}-base"))
    for group in optimizer.param_groups:
        group.update(lr=rate, weight_decay=0.0)
        if "warmup_steps" in group:
            group["warmup_steps"] = TRAINING["schedule"]["warmup_steps"]
    corpus = torch.tensor(list(world.path("train.bin").read_bytes()))
    for step in range(60, 70):
        starts = (step * BATCH + torch.arange(BATCH)) * CONTEXT
        rows = corpus[(starts[:, None] + torch.arange(CONTEXT + 1)) % len(corpus)]
        optimizer.zero_grad()
        logits = model(input_ids=rows[:, :-1]).logits
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()).backward()
        optimizer.step()
    if hasattr(optimizer, "eval"):
        optimizer.eval()
    state = load_file(world.path(f"{name}-later") / "optimizer.safetensors")
    worst = 0
    for key, parameter in model.named_parameters():
        actual, expected = state[f"{key}.w"], parameter.detach()
        if "c_attn.bias" in key:     # key biases, as above
            keys = slice(parameter.numel() // 3, 2 * parameter.numel() // 3)
            actual[keys], expected[keys] = 0, 0
        worst = max(worst, ((actual - expected).norm() / expected.norm()).item())
    within(f"weights after ten more steps of {name} in PyTorch and in lag", worst, 1e-4)


def grown(world, out, operators, promised, *flags):
    preservation = world.grow("base", out, operators, *flags)
    if promised:
        within("preservation", preservation, 1e-4)
    world.check(out)


# Heads that share keys, a head size of its own, a window, biases: what sets the families apart.
LLAMA = dict(num_hidden_layers=2, hidden_size=48, num_attention_heads=6, num_key_value_heads=2, intermediate_size=80,
             max_position_embeddings=CONTEXT, vocab_size=256)
BERT = dict(model_type="bert", num_hidden_layers=2, hidden_size=48, num_attention_heads=3, intermediate_size=96,
            max_position_embeddings=CONTEXT, vocab_size=257, type_vocab_size=2)
T5 = dict(model_type="t5", num_layers=2, num_decoder_layers=2, d_model=48, d_kv=20, num_heads=3, d_ff=96, n_positions=CONTEXT,
          vocab_size=290)
MLM = dict(objective="mlm", mask_token=256)
SPANS = dict(objective="span_corruption", pad_token=256, eos_token=257, sentinel_first=289, sentinel_count=30)
FAMILIES = {
    "llama": (dict(model_type="llama", **LLAMA), None),
    "llama, tied, llama3 angles": (dict(
        model_type="llama", tie_word_embeddings=True, head_dim=10, attention_bias=True, mlp_bias=True, rope_theta=300.0,
        rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=0.1, high_freq_factor=1.2,
                          original_max_position_embeddings=8), **LLAMA), None),
    "mistral": (dict(model_type="mistral", head_dim=12, sliding_window=7, **LLAMA), None),
    "qwen2": (dict(model_type="qwen2", tie_word_embeddings=True, **LLAMA), None),
    "mixtral": (dict(model_type="mixtral", num_local_experts=5, num_experts_per_tok=2, router_aux_loss_coef=0.02, **LLAMA), None),
    "mixtral, one of three, tied, window": (dict(model_type="mixtral", num_local_experts=3, num_experts_per_tok=1, head_dim=12,
                                                 sliding_window=7, tie_word_embeddings=True, **LLAMA), None),
    "bert": (BERT, MLM),
    "bert, with pooler and next-sentence head": (dict(architectures=["BertForPreTraining"], **BERT), MLM),
    "t5": (T5, SPANS),
    "t5, gated, head of its own": ({**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}, SPANS),
}


def of_family(world, title):
    """From scratch, by depth, by width, and on from the optimizer's state."""
    config, objective = FAMILIES[title]
    name = title.replace(",", "").replace(" ", "-")
    source = ["--shape", world.path(f"{name}.json")]
    world.path(f"{name}.json").write_text(json.dumps(config))
    if "architectures" in config:      # what lag has no use for and keeps: transformers starts it
        source = ["--checkpoint", world.path(f"{name}-start")]
        torch.manual_seed(4)
        BertForPreTraining(BertConfig(**config)).save_pretrained(source[1])
    world.train(source, name, 60, objective)
    world.check(name)
    both = [{"op": "stack", "encoder_layers": 4, "decoder_layers": 6}]
    world.grow(name, f"{name}-deep", both if config["model_type"] == "t5" else STACK, "--moments", "carry")
    world.check(f"{name}-deep")
    within("preservation", world.grow(name, f"{name}-wide", [{**WIDEN[0], "noise_db": None}]), 1e-4)
    world.check(f"{name}-wide")
    world.train(["--checkpoint", world.path(f"{name}-deep")], f"{name}-later", 75, objective)
    world.check(f"{name}-later")


def upcycled(world, title):
    """What of_family left becomes a mixtral, and is trained further."""
    name = title.replace(",", "").replace(" ", "-")
    for experts, top_k in ((4, 2), (3, 1)):
        out = f"{name}-of-{experts}"
        within("preservation", world.grow(name, out, [{"op": "upcycle", "experts": experts, "top_k": top_k}], "--moments", "carry"),
               1e-4)
        model = world.check(out)
        require(model.config.model_type == "mixtral" and model.config.num_local_experts == experts, "no mixtral")
        world.train(["--checkpoint", world.path(out)], f"{out}-later", 75)
        world.check(f"{out}-later")


def searched(world):
    study = {"checkpoint": "base", "data": {"train": "train.bin", "valid": "valid.bin", "format": "bytes"},
             "candidates": [{"name": "stack", "operators": [{"op": "stack", "layers": 6}]},
                            {"name": "middle", "operators": [{"op": "middle", "layers": 6, "block": 1}]}],
             "training": {**TRAINING, "schedule": {"name": "constant", "warmup_steps": 5}},
             "selection": {"k": 60, "valid_tokens": 2000}}
    world.path("study.json").write_text(json.dumps(study))
    answer = json.loads(run_lag(world.lag, "run", world.path("study.json"), "--store", world.path("store"), "--out",
                                world.path("winner"), "--json"))
    winner = next(row for row in answer["ranking"] if row["candidate"] == answer["choice"]["candidate"])
    files = f"winner/{winner['candidate']}"
    again = json.loads(run_lag(world.lag, "eval", "--checkpoint", world.path(files), "--data", world.path("valid.bin"), "--json"))
    within("reported loss, measured again on the saved files", abs(again["loss"] - winner["loss"]), 1e-5)
    world.check(files)


# ---- written by transformers

def random_model(kind=GPT2LMHeadModel, seed=3, **sizes):
    """transformers' own initialisation, wider: a model whose logits are not all alike."""
    torch.manual_seed(seed)
    return kind(GPT2Config(**{**SIZES, "initializer_range": 0.15, **sizes})).eval()


def random_mixtral(**sizes):
    torch.manual_seed(3)
    return MixtralForCausalLM(MixtralConfig(**{
        **LLAMA, "num_local_experts": 4, "initializer_range": 0.15, "bos_token_id": None, "eos_token_id": None, **sizes})).eval()


def rounded(model):
    """Its parameters in bfloat16; bfloat16() would round the rotary frequencies, too."""
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16()
    return model


def saved(world, name, model, **options):
    model.save_pretrained(world.path(name), **options)
    through_lag(world, name, model)


def logits_of(model, inputs):
    with torch.no_grad():
        return model.double()(input_ids=inputs).logits


def through_lag(world, name, model):
    """inspect, logits against the model in memory, grow by depth and by width, train; all of them still load."""
    files = sorted(path.name for path in world.path(name).iterdir() if path.suffix == ".safetensors")
    first = run_lag(world.lag, "inspect", world.path(name)).splitlines()
    print(f"    {len(files)} weights file{'s'[:len(files) > 1]}; lag inspect: {first[1]}")
    inputs = torch.randint(0, model.config.vocab_size, (2, CONTEXT - 3), generator=torch.Generator().manual_seed(5))
    save_file({"input_ids": inputs}, world.path("ids.safetensors"))
    run_lag(world.lag, "logits", "--checkpoint", world.path(name), "--tokens", world.path("ids.safetensors"), "--out",
            world.path("logits.safetensors"))
    actual = load_file(world.path("logits.safetensors"))["logits"].double()
    if isinstance(model, GPT2Model):
        with torch.no_grad():
            expected = model.double()(input_ids=inputs).last_hidden_state @ model.wte.weight.T
    else:
        expected = logits_of(model, inputs)
    within("logits of the saved model", ((actual - expected).abs().max() / expected.abs().max()).item(), 2e-5)
    world.grow(name, f"{name}-deep", STACK)
    world.check(f"{name}-deep")
    # Widths are cloned exactly in f32; rounding to 16 bits comes after the promise (tests of growth/ check the promise).
    within("preservation", world.grow(name, f"{name}-wide", [{**WIDEN[0], "noise_db": None}]), 1e-4)
    world.check(f"{name}-wide")
    world.train(["--checkpoint", world.path(name)], f"{name}-trained", 15)
    world.check(f"{name}-trained")


def with_buffers(world):
    """As older versions saved: no prefix, causal masks inside, the tied head once more."""
    model = random_model()
    tensors = {name.removeprefix("transformer."): tensor.clone() for name, tensor in model.state_dict().items()}
    for layer in range(SIZES["n_layer"]):
        tensors[f"h.{layer}.attn.bias"] = torch.ones(CONTEXT, CONTEXT).tril().view(1, 1, CONTEXT, CONTEXT)
        tensors[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    world.path("buffers").mkdir()
    model.config.save_pretrained(world.path("buffers"))
    save_file(tensors, world.path("buffers") / "model.safetensors", metadata={"format": "pt"})
    through_lag(world, "buffers", model)


def with_tokenizer(world):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<|endoftext|>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([world.path("train.bin").read_bytes()[:50_000].decode("latin-1")], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", chat_template="{{ messages }}")
    model = random_model(bos_token_id=0, eos_token_id=0)
    fast.save_pretrained(world.path("tokenizer"))
    saved(world, "tokenizer", model)
    kept = sorted(path.name for path in world.path("tokenizer").iterdir() if not path.name.startswith(("model", "config")))
    for out in ("tokenizer-deep", "tokenizer-trained"):
        same, other, missing = filecmp.cmpfiles(world.path("tokenizer"), world.path(out), kept, shallow=False)
        require(not other and not missing, f"not copied to {out}: {other + missing}")
    text = "typedef struct"
    again = AutoTokenizer.from_pretrained(world.path("tokenizer-deep"))
    require(again(text)["input_ids"] == fast(text)["input_ids"] and again.chat_template == fast.chat_template, "tokenizer")
    print(f"    copied byte for byte: {', '.join(kept)}; AutoTokenizer loads them")


def reordered(world):
    """The same function in another order of rounding; transformers itself refuses it in float64."""
    random_model(reorder_and_upcast_attn=True).save_pretrained(world.path("reordered"))
    through_lag(world, "reordered", random_model())


# ---- refused

def refused(world, name, model, words):
    model.save_pretrained(world.path(name))
    see_refusal(world, name, words)


def pickled(world):
    """As transformers wrote before version 5 with safe_serialization=False."""
    model = random_model()
    model.config.save_pretrained(world.path("pickled"))
    torch.save(model.state_dict(), world.path("pickled") / "pytorch_model.bin")
    see_refusal(world, "pickled", ["model.safetensors"])


def see_refusal(world, name, words):
    done = subprocess.run([world.lag, "inspect", str(world.path(name))], capture_output=True, text=True)
    message = done.stderr.strip().replace(str(world.root) + "/", "")
    print(f"    exit {done.returncode}: {message}")
    require(done.returncode == 2, "exit status 2 is expected")
    require(all(word in message for word in words), f"the message does not name {words}")


def all_cases(world):
    case = world.case
    case("lag train, from scratch", trained)
    case("the page and the code", documented)
    case("lag train, continued, against PyTorch from the same optimizer.safetensors", continued)
    case("the same with schedule_free_adamw", continued_by, "schedule_free_adamw", load_schedule_free, 2e-3, {})
    case("the same with sgd", continued_by, "sgd", load_sgd, 0.1, {"momentum": 0.9})
    case("lag grow, stack, moments carried", grown, "stack", [{"op": "stack", "layers": 6}], False, "--moments", "carry")
    case("lag grow, identity, moments of old layers", grown, "identity", [{"op": "identity", "layers": 5}], True,
         "--moments", "old_only")
    case("lag grow, hyperclone", grown, "hyperclone", [{"op": "hyperclone", "width": 96, "noise_db": None}], True)
    case("lag grow, hyperclone and stack, moments carried", grown, "both",
         [{"op": "hyperclone", "width": 144}, {"op": "stack", "layers": 6}], False, "--moments", "carry")
    case("lag grow, widen_ff", grown, "ff", [{"op": "widen_ff", "ff": 384}], True)
    case("lag run, the winner's files", searched)
    for family in FAMILIES:
        case(f"lag train and grow, {family}", of_family, family)
    for family in ("llama", "mistral"):
        case(f"lag grow and train, upcycled {family}", upcycled, family)
    case("transformers, mixtral, sharded", lambda w: saved(w, "mixtral-sharded", random_mixtral(), max_shard_size="60KB"))
    case("transformers, mixtral, bfloat16", lambda w: saved(w, "mixtral16", rounded(random_mixtral())))
    for activation in ("gelu_new", "gelu", "relu", "silu", "gelu_pytorch_tanh", "gelu_fast", "swish"):
        case(f"transformers, {activation}", saved, activation, random_model(activation_function=activation))
    case("transformers, default sizes of everything but layers, width and vocabulary", saved, "defaults",
         GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=24, n_head=2, vocab_size=300)).eval())
    case("transformers, untied, n_inner, other epsilon", saved, "untied",
         random_model(tie_word_embeddings=False, n_inner=80, layer_norm_epsilon=1e-6))
    case("transformers, reorder_and_upcast_attn", reordered)
    case("transformers, sharded", lambda w: saved(w, "sharded", random_model(), max_shard_size="60KB"))
    case("transformers, sharded, untied, float16",
         lambda w: saved(w, "sharded16", random_model(tie_word_embeddings=False).half(), max_shard_size="40KB"))
    case("transformers, float16", saved, "float16", random_model().half())
    case("transformers, bfloat16", saved, "bfloat16", random_model().bfloat16())
    case("transformers, GPT2Model: without the prefix", saved, "bare", random_model(GPT2Model))
    case("transformers, GPT2Model, bfloat16", saved, "bare16", random_model(GPT2Model).bfloat16())
    case("as older versions saved: masks inside, the tied head twice", with_buffers)
    case("transformers, with a tokenizer", with_tokenizer)
    case("refused: a classifier", refused, "classifier", random_model(GPT2ForSequenceClassification, num_labels=3),
         ["score.weight"])
    case("refused: float64", refused, "float64", random_model().double(), ["F64"])
    case("refused: another activation", refused, "quick", random_model(activation_function="quick_gelu"),
         ["activation_function"])
    case("refused: attention scaled by the layer's number", refused, "scaled",
         random_model(scale_attn_by_inverse_layer_idx=True), ["scale_attn_by_inverse_layer_idx"])
    case("refused: cross attention", refused, "cross", random_model(add_cross_attention=True), ["add_cross_attention"])
    case("refused: noise on what a router reads", refused, "jitter", random_mixtral(router_jitter_noise=0.1),
         ["router_jitter_noise"])
    case("refused: pickled weights", pickled)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lag", default="./lag")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        world = World(str(pathlib.Path(arguments.lag).resolve()), directory)
        all_cases(world)
    print(f"{world.passed} passed, {world.failed} failed")
    sys.exit(world.failed > 0)


if __name__ == "__main__":
    main()

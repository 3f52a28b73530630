"""Reference numbers for the tests: two tiny random mixtral models, as export_llama.py makes them for llama, with its batches.
Besides what reference.py names there are
    <batch>.balance                      F32 (2): the load-balance loss of transformers' load_balancing_loss_func, unweighted
and every gradient is that of the mean cross-entropy plus router_aux_loss_coef times it; so are AdamW's steps. Losses are
without. No choice of an expert hangs on rounding: the last chosen and the next probability differ by more than MARGIN.

    python tests/oracle/export_mixtral.py [directory]
"""
import torch
from transformers import MixtralConfig, MixtralForCausalLM
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

import export_llama
import reference

MARGIN = 1e-4
COMMON = dict(bos_token_id=None, eos_token_id=None, rms_norm_eps=1e-5)
# The weights of the load-balance loss are large, so that its gradients are not lost beside the others. Of mixtral_a's 5
# experts each token passes 2; of mixtral_b's 3 every token passes 1, and only the load-balance loss moves the routers.
MODELS = {
    "mixtral_a": (21, 9, MixtralForCausalLM, MixtralConfig(
        num_hidden_layers=2, hidden_size=22, num_attention_heads=6, num_key_value_heads=2, head_dim=6, intermediate_size=19,
        max_position_embeddings=13, vocab_size=37, num_local_experts=5, num_experts_per_tok=2, router_aux_loss_coef=0.7,
        rope_theta=300.0, tie_word_embeddings=False, **COMMON)),
    "mixtral_b": (22, 7, MixtralForCausalLM, MixtralConfig(
        num_hidden_layers=3, hidden_size=30, num_attention_heads=5, num_key_value_heads=1, intermediate_size=13,
        max_position_embeddings=11, vocab_size=41, num_local_experts=3, num_experts_per_tok=1, router_aux_loss_coef=1.5,
        sliding_window=4, tie_word_embeddings=True, **COMMON)),
}


def watch_routers(model):
    """Every call keeps the routers' logits and the mask, from which the balance follows; and sees that choices are clear."""
    plain, config = model.forward, model.config

    def forward(attention_mask=None, **parts):
        out = plain(attention_mask=attention_mask, **parts, output_router_logits=True)
        model.router_logits, model.router_mask = out.router_logits, attention_mask
        ranked = torch.cat(out.router_logits).softmax(-1).sort(descending=True).values
        margin = (ranked[:, config.num_experts_per_tok - 1] - ranked[:, config.num_experts_per_tok]).min().item()
        assert margin > MARGIN, f"a choice hangs on {margin}"
        return out

    model.forward = forward
    model.balance = lambda: load_balancing_loss_func(model.router_logits, config.num_local_experts,
                                                     config.num_experts_per_tok, model.router_mask)
    model.weighted_balance = lambda: config.router_aux_loss_coef * model.balance()


def prepare(model):
    watch_routers(model)
    return export_llama.stay_in_double(model)


def reference_of_batch(model, name, batch, targets, out):
    loss = reference.reference_of_batch(model, name, batch, targets, out)
    out[f"{name}.balance"] = reference.pairs(model.balance().detach())
    return loss


def check_own_loss(model, batch, labels, loss):
    """transformers adds the weighted balance to its own loss."""
    own = model(**batch, labels=labels).loss.item()
    loss += model.weighted_balance().item()
    assert abs(own - loss) < 1e-6 * max(1, loss), (own, loss)


def export(directory, seed, short_context, kind, config):
    model, generator = reference.model_new(seed, kind, config)
    model = reference.model_save(model, directory)
    restore = prepare(model)
    out = {}
    batch, targets, labels = reference.shifted(generator, short_context, config.vocab_size)
    loss = reference_of_batch(model, "short", batch, targets, out)
    check_own_loss(model, batch, labels, loss)
    batch, targets = reference.circle_of(generator, config.max_position_embeddings, config.vocab_size)
    reference_of_batch(model, "full", batch, targets, out)
    mask = reference.ends_masked(batch["input_ids"], (0, 1, 3))
    reference_of_batch(model, "padded", {**batch, "attention_mask": mask},
                       targets.masked_fill(mask == 0, reference.IGNORED), out)
    reference.reference_of_adamw(model, batch, targets, out)
    restore()
    print(f"balance {reference.loss_in(out, 'short.balance'):.6f}, {reference.loss_in(out, 'full.balance'):.6f}, "
          f"{reference.loss_in(out, 'padded.balance'):.6f}")
    reference.reference_save(directory, model, out)


if __name__ == "__main__":
    reference.export_all(MODELS, export)

/* A reference for the operators that widen: every tensor of every family by its name in the Hugging Face file, grown by
 * plain loops over given unit maps. Shares no code with growth/, not even the tables of model/. */
#ifndef TESTS_GROWTH_PLAIN_H
#define TESTS_GROWTH_PLAIN_H

#include "tests/growth/fixture.h"

#include <math.h>
#include <stdlib.h>

#include "model/network.h"

/* ---- small models of every family and kind ---- */

struct plain_world { const char *title; struct shape shape; };

#define PLAIN_LLAMA .layers = 3, .width = 10, .heads = 6, .kv_heads = 3, .head_size = 4, .ff = 12, .context = 10, \
    .vocabulary = 19, .activation = ACTIVATION_SILU, .norm_epsilon = 1e-5, .rope = {.theta = 100}
#define PLAIN_T5 .family = FAMILY_T5, .layers = 2, .decoder_layers = 3, .width = 8, .heads = 3, .kv_heads = 3, \
    .head_size = 2, .ff = 12, .context = 10, .vocabulary = 19, .buckets = 8, .bucket_distance = 6, .norm_epsilon = 1e-6
#define PLAIN_GPT2 .family = FAMILY_GPT2, .layers = 3, .width = 8, .heads = 2, .kv_heads = 2, .head_size = 4, \
    .ff = 12, .context = 10, .vocabulary = 19, .activation = ACTIVATION_GELU_TANH, .norm_epsilon = 1e-5
#define PLAIN_BERT .family = FAMILY_BERT, .layers = 3, .width = 9, .heads = 3, .kv_heads = 3, .head_size = 3, \
    .ff = 12, .context = 10, .vocabulary = 19, .tied = true, .types = 2, .activation = ACTIVATION_GELU_ERF, .norm_epsilon = 1e-12

static UNUSED const struct plain_world plain_worlds[] = {
    {"gpt2, tied", {PLAIN_GPT2, .tied = true}},
    {"gpt2, own head", {PLAIN_GPT2}},
    {"llama, groups", {.family = FAMILY_LLAMA, PLAIN_LLAMA}},
    {"llama, biases", {.family = FAMILY_LLAMA, PLAIN_LLAMA, .attention_bias = true, .mlp_bias = true, .tied = true}},
    {"mistral, window", {.family = FAMILY_MISTRAL, PLAIN_LLAMA, .window = 4}},
    {"qwen2, tied", {.family = FAMILY_QWEN2, PLAIN_LLAMA, .attention_bias = true, .tied = true}},
    {"bert", {PLAIN_BERT}},
    {"bert, all heads", {PLAIN_BERT, .pooler = true, .next_sentence = true}},
    {"t5, tied", {PLAIN_T5, .tied = true, .scaled_head = true, .activation = ACTIVATION_RELU}},
    {"t5, gated", {PLAIN_T5, .gated = true, .activation = ACTIVATION_GELU_TANH}},
    {"mixtral", {.family = FAMILY_MIXTRAL, PLAIN_LLAMA, .experts = 3, .top_k = 2, .router_aux = 0.01}},
};
enum { PLAIN_WORLDS = sizeof plain_worlds / sizeof plain_worlds[0] };

static UNUSED bool plain_is_rms(const struct shape *shape)
{
    return shape->family != FAMILY_GPT2 && shape->family != FAMILY_BERT;
}

/* ---- what the axes of a tensor count ---- */

/* D stream, H queries, K keys or values, A the three side by side, F MLP units, N heads, . something that stays. In
 * small letters: the axis that a product sums over. G: gains of a norm; O: its other vector. !: final norm. */
static UNUSED const struct { const char *ending, *axes; } plain_names[] = {
    {"wte.weight", ".D"}, {"wpe.weight", ".D"}, {"ln_1.weight", "G"}, {"ln_1.bias", "O"}, {"ln_2.weight", "G"},
    {"ln_2.bias", "O"}, {"attn.c_attn.weight", "dA"}, {"attn.c_attn.bias", "A"}, {"attn.c_proj.weight", "hD"},
    {"attn.c_proj.bias", "D"}, {"mlp.c_fc.weight", "dF"}, {"mlp.c_fc.bias", "F"}, {"mlp.c_proj.weight", "fD"},
    {"mlp.c_proj.bias", "D"}, {"ln_f.weight", "G!"}, {"ln_f.bias", "O!"}, {"lm_head.weight", ".d"},
    {"embed_tokens.weight", ".D"}, {"input_layernorm.weight", "G"}, {"post_attention_layernorm.weight", "G"},
    {"q_proj.weight", "Hd"}, {"k_proj.weight", "Kd"}, {"v_proj.weight", "Kd"}, {"o_proj.weight", "Dh"},
    {"q_proj.bias", "H"}, {"k_proj.bias", "K"}, {"v_proj.bias", "K"}, {"o_proj.bias", "D"},
    {"gate_proj.weight", "Fd"}, {"up_proj.weight", "Fd"}, {"down_proj.weight", "Df"}, {"gate_proj.bias", "F"},
    {"up_proj.bias", "F"}, {"down_proj.bias", "D"},
    {"word_embeddings.weight", ".D"}, {"position_embeddings.weight", ".D"}, {"token_type_embeddings.weight", ".D"},
    {"transform.LayerNorm.weight", "G!"}, {"transform.LayerNorm.bias", "O!"}, {"LayerNorm.weight", "G"},
    {"LayerNorm.bias", "O"}, {"query.weight", "Hd"}, {"key.weight", "Kd"}, {"value.weight", "Kd"}, {"query.bias", "H"},
    {"key.bias", "K"}, {"value.bias", "K"},
    {"attention.output.dense.weight", "Dh"}, {"attention.output.dense.bias", "D"},
    {"intermediate.dense.weight", "Fd"}, {"intermediate.dense.bias", "F"}, {"output.dense.weight", "Df"},
    {"output.dense.bias", "D"}, {"pooler.dense.weight", "Dd"}, {"pooler.dense.bias", "D"},
    {"transform.dense.weight", "Dd"}, {"transform.dense.bias", "D"}, {"predictions.bias", "."},
    {"seq_relationship.weight", ".d"}, {"seq_relationship.bias", "."},
    {"shared.weight", ".D"}, {"relative_attention_bias.weight", ".N"}, {"decoder.final_layer_norm.weight", "G!"},
    {"layer_norm.weight", "G"}, {"Attention.q.weight", "Hd"}, {"Attention.k.weight", "Kd"},
    {"Attention.v.weight", "Kd"}, {"Attention.o.weight", "Dh"}, {"wi.weight", "Fd"}, {"wi_0.weight", "Fd"},
    {"wi_1.weight", "Fd"}, {"wo.weight", "Df"},
    {"moe.gate.weight", ".d"}, {"w1.weight", "Fd"}, {"w3.weight", "Fd"}, {"w2.weight", "Df"},
    {"norm.weight", "G!"},      /* llama's; after every other name that ends so */
};

/* Asked entry by entry: the last name is remembered. */
static UNUSED const char *plain_axes(const char *name)
{
    static char last[TENSOR_NAME_BYTES];
    static const char *axes;
    if (axes != NULL && strcmp(last, name) == 0)
        return axes;
    for (size_t i = 0; i < sizeof plain_names / sizeof plain_names[0]; i++) {
        size_t length = strlen(name), ending = strlen(plain_names[i].ending);
        if (length >= ending && strcmp(name + length - ending, plain_names[i].ending) == 0) {
            snprintf(last, sizeof last, "%s", name);
            return axes = plain_names[i].axes;
        }
    }
    fail_msg("no axes for %s", name);
    return "";
}

/* ---- unit maps ---- */

enum { PLAIN_UNITS = 160 };

/* One kind of units: old unit of each (-1: new), share of its outgoing weight, is it a copy after the first. */
struct plain_map {
    int count, old, source[PLAIN_UNITS];
    double share[PLAIN_UNITS];
    bool further[PLAIN_UNITS];
};

struct plain_maps {
    struct plain_map stream, heads, kv, ff;
    double gain;          /* of every norm */
    double head;          /* of the final norm before a tied head, or of an own head */
    bool mean;            /* lemon: new units of the stream hold the mean of the old ones where something writes them */
    bool drawn;           /* msg_width: new units hold drawn values everywhere */
    bool above;           /* aki: further copies of output units are the layer's above */
};

/* source NULL: every unit stays. Equal shares. */
static UNUSED void plain_map_set(struct plain_map *map, const int32_t *source, int count, int old)
{
    *map = (struct plain_map){.count = count, .old = old};
    assert_true(count <= PLAIN_UNITS);
    for (int i = 0; i < count; i++)
        map->source[i] = source == NULL ? i : source[i];
    for (int i = 0; i < count; i++) {
        int copies = 0;
        for (int j = 0; j < count; j++) {
            copies += map->source[j] == map->source[i];
            map->further[i] |= j < i && map->source[j] == map->source[i] && map->source[i] >= 0;
        }
        map->share[i] = map->source[i] < 0 ? 1 : 1.0 / copies;
    }
}

/* Position along an axis of letter `kind`: which unit of which map, and how far into it. */
struct plain_place { const struct plain_map *map; int unit, inner, size, old_base; };

static UNUSED struct plain_place plain_place_of(const struct plain_maps *maps, char kind, int position, int head_size)
{
    int queries = maps->heads.count * head_size, kv = maps->kv.count * head_size;
    int old_queries = maps->heads.old * head_size, old_kv = maps->kv.old * head_size;
    switch (kind) {
    case 'D': case 'd': case 'G': case 'O':
        return (struct plain_place){&maps->stream, position, 0, 1, 0};
    case 'F': case 'f':
        return (struct plain_place){&maps->ff, position, 0, 1, 0};
    case 'N':
        return (struct plain_place){&maps->heads, position, 0, 1, 0};
    case 'H': case 'h':
        return (struct plain_place){&maps->heads, position / head_size, position % head_size, head_size, 0};
    case 'K':
        return (struct plain_place){&maps->kv, position / head_size, position % head_size, head_size, 0};
    case 'A':
        if (position < queries)
            return plain_place_of(maps, 'H', position, head_size);
        struct plain_place place = plain_place_of(maps, 'K', (position - queries) % kv, head_size);
        place.old_base = old_queries + (position - queries) / kv * old_kv;
        return place;
    default:
        return (struct plain_place){NULL, position, 0, 1, 0};
    }
}

static UNUSED int plain_old(const struct plain_place *place)
{
    if (place->map == NULL)
        return place->unit;
    int source = place->map->source[place->unit];
    return source < 0 ? -1 : place->old_base + source * place->size + place->inner;
}

static UNUSED double plain_share(const struct plain_place *place)
{
    return place->map == NULL ? 1 : place->map->share[place->unit];
}

/* What one entry of a grown tensor comes from, and what it is multiplied by. */
struct plain_entry {
    bool is_new;
    bool above;            /* its values are those of the layer above */
    size_t old;            /* index in the old tensor */
    double weight;         /* of the old value */
    double moment;         /* of its m; squared: of its v */
    bool into_stream;      /* new: along an axis that writes the stream, or carries a new head or unit out */
};

/* Is there a layer above the named one in its stack? */
static UNUSED bool plain_has_above(const struct shape *shape, const char *name)
{
    const char *dot = name;
    while (*dot != '\0' && !(dot[0] == '.' && dot[1] >= '0' && dot[1] <= '9'))
        dot++;
    if (*dot == '\0' || strstr(name, "relative") != NULL || strstr(name, "cls.") != NULL)
        return false;
    int layers = strncmp(name, "decoder.", 8) == 0 ? shape->decoder_layers : shape->layers;
    return atoi(dot + 1) + 1 < layers;
}

static UNUSED struct plain_entry plain_entry_of(const struct plain_maps *maps, const struct shape *from,
                                                const struct tensor *to, int columns, int i, int j)
{
    const char *axes = plain_axes(to->name);
    bool matrix = axes[1] != '\0' && axes[1] != '!', final = axes[1] == '!', norm = axes[0] == 'G' || axes[0] == 'O';
    struct plain_place places[2] = {plain_place_of(maps, axes[0], i, from->head_size), {NULL, 0, 0, 1, 0}};
    struct plain_entry entry = {.weight = 1, .moment = 1};
    if (matrix)
        places[1] = plain_place_of(maps, axes[1], j, from->head_size);
    for (int a = 0; a < 1 + matrix; a++) {
        bool input = axes[a] >= 'a' && axes[a] <= 'z', divided = final && from->tied;
        entry.is_new |= plain_old(&places[a]) < 0;
        if (input || divided)
            entry.weight *= plain_share(&places[a]);
        else
            entry.moment *= plain_share(&places[a]);
        bool further = places[a].map != NULL && places[a].map->further[places[a].unit];
        entry.above |= maps->above && !input && !norm && further && plain_has_above(from, to->name);
        entry.into_stream |= plain_old(&places[a]) < 0 && ((axes[a] == 'D') || axes[a] == 'h' || axes[a] == 'f');
    }
    if (axes[1] == 'd' && plain_old(&places[1]) < 0)
        entry.into_stream = false;      /* it reads what is 0 */
    double factor = axes[0] == 'G' ? maps->gain : 1;
    if (from->tied ? axes[0] == 'G' && final : strcmp(to->name, "lm_head.weight") == 0)
        factor *= maps->head;
    entry.weight *= factor;
    entry.moment /= factor;
    if (!entry.is_new)
        entry.old = (size_t)plain_old(&places[0]) * (size_t)(matrix ? columns : 1) + (size_t)plain_old(&places[1]);
    return entry;
}

/* The tensor of the layer above: the first number of the name, plus one. */
static UNUSED const struct tensor *plain_above(const struct checkpoint *parent, const char *name)
{
    char text[TENSOR_NAME_BYTES + 8];
    const char *dot = name;
    while (!(dot[0] == '.' && dot[1] >= '0' && dot[1] <= '9'))
        dot++;
    char *rest;
    long layer = strtol(dot + 1, &rest, 10);
    snprintf(text, sizeof text, "%.*s%ld%s", (int)(dot + 1 - name), name, layer + 1, rest);
    const struct tensor *tensor = tensor_find(&parent->table, text);
    assert_non_null(tensor);
    return tensor;
}

static UNUSED void plain_assert(const struct tensor *to, const char *what, int i, int j, double got, double expected)
{
    if (fabs(got - expected) > 2e-6 * (fabs(expected) + 1e-9))
        fail_msg("%s %s [%d, %d]: %.9g, expected %.9g", to->name, what, i, j, got, expected);
}

static UNUSED double plain_mean(const float *values, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)values[i] / (double)count;
    return sum;
}

/* The mean over the old units of the stream at entry (i, j), whose unit is new: of a vector, a row or a column. */
static UNUSED double plain_stream_mean(const struct tensor *to, const struct tensor *from, const struct plain_maps *maps,
                                       const float *before, int head_size, int i, int j)
{
    const char *axes = plain_axes(to->name);
    if (axes[1] == '\0')
        return plain_mean(before, from->count);
    int other = axes[0] == 'D' ? 1 : 0;
    struct plain_place place = plain_place_of(maps, axes[other], other == 1 ? j : i, head_size);
    bool input = axes[other] >= 'a' && axes[other] <= 'z';
    double sum = 0;
    for (int unit = 0; unit < maps->stream.old; unit++)
        sum += (double)before[other == 1 ? unit * from->dims[1] + plain_old(&place)
                                         : plain_old(&place) * from->dims[1] + unit];
    return sum / maps->stream.old * (input ? plain_share(&place) : 1);
}

/* New entries: zeros (or means) that lead into the stream, small random values that read it; gains the mean, biases 0. */
static UNUSED void plain_check_new(const struct tensor *to, const struct tensor *from, const struct plain_maps *maps,
                                   const struct shape *old, const float *before, const struct plain_entry *entry, int i,
                                   int j, float got)
{
    const char *axes = plain_axes(to->name);
    bool vector = axes[1] == '\0' || axes[1] == '!', final = axes[1] == '!';
    int known = 0;
    for (int unit = 0; unit < maps->stream.count; unit++)
        known += maps->stream.source[unit] >= 0;
    if (axes[0] == 'G')
        plain_assert(to, "new gain", i, j, (double)got, plain_mean(before, from->count) * maps->gain *
                     (final ? maps->head : 1) * (final && old->tied ? (double)maps->stream.old / known : 1));
    else if (maps->mean && entry->into_stream && axes[0] != 'O')
        plain_assert(to, "new mean", i, j, (double)got,
                     plain_stream_mean(to, from, maps, before, old->head_size, i, j));
    else if ((entry->into_stream && !maps->drawn) || vector)
        plain_assert(to, "new zero", i, j, (double)got, 0);
    else
        assert_true(got != 0 && fabs((double)got) < 6);
}

/* Every entry of every tensor, its moments if there are any, and the step counters. Growing was with `carry`. */
static UNUSED void plain_check(const struct checkpoint *parent, const struct checkpoint *grown,
                               const struct plain_maps *maps)
{
    const struct moments *old = parent->moments, *new = grown->moments;
    for (int t = 0; t < grown->table.count; t++) {
        const struct tensor *to = &grown->table.tensors[t], *from = tensor_find(&parent->table, to->name);
        assert_non_null(from);
        if (new != NULL)
            assert_int_equal(new->steps[t] > 0, old->steps[from - parent->table.tensors] > 0);
        for (int i = 0; i < to->dims[0]; i++)
            for (int j = 0; j < to->dims[1]; j++) {
                struct plain_entry entry = plain_entry_of(maps, &parent->table.shape, to, from->dims[1], i, j);
                size_t at = to->offset + (size_t)i * (size_t)to->dims[1] + (size_t)j;
                const struct tensor *source = entry.above ? plain_above(parent, to->name) : from;
                size_t old_at = source->offset + entry.old;
                if (entry.is_new)
                    plain_check_new(to, from, maps, &parent->table.shape, parent->weights + from->offset, &entry, i, j,
                                    grown->weights[at]);
                else
                    plain_assert(to, "weight", i, j, (double)grown->weights[at],
                                 entry.weight * (double)parent->weights[old_at]);
                if (new == NULL)
                    continue;
                plain_assert(to, "m", i, j, (double)new->m[at],
                             entry.is_new ? 0 : entry.moment * (double)old->m[old_at]);
                plain_assert(to, "v", i, j, (double)new->v[at],
                             entry.is_new ? plain_mean(old->v + from->offset, from->count)
                             : entry.moment * entry.moment * (double)old->v[old_at]);
            }
    }
}

/* ---- logits and gradients ---- */

static UNUSED double plain_preservation(const struct checkpoint *parent, const struct checkpoint *grown,
                                        const struct kernels *kernels)
{
    struct error error = {0};
    double preservation = -1;
    if (growth_preservation(parent, grown, kernels, 1, &preservation, &error) != 0)
        fail_msg("preservation: %s", error.message);
    return preservation;
}

/* The gradient of one fixed batch, in double. Caller: memory_free. */
static UNUSED double *plain_gradient(const struct checkpoint *checkpoint)
{
    enum { ROWS = 2, READ = 8, WRITTEN = 6 };
    const struct kernels *kernels = kernels_ref_double();
    const struct shape *shape = &checkpoint->table.shape;
    struct error error = {0};
    struct network *network;
    size_t slab = checkpoint->table.slab;
    int32_t inputs[ROWS * READ], written[ROWS * WRITTEN], targets[ROWS * READ];
    struct batch batch = {.rows = ROWS, .context = READ, .inputs = inputs, .targets = targets};
    for (int i = 0; i < ROWS * READ; i++) {
        inputs[i] = (i * 7 + 3) % shape->vocabulary;
        targets[i] = (i * 5 + 1) % shape->vocabulary;
    }
    for (int i = 0; i < ROWS * WRITTEN; i++)
        written[i] = (i * 11 + 2) % shape->vocabulary;
    if (shape->decoder_layers > 0)
        batch.decoder_context = WRITTEN, batch.decoder_inputs = written;
    assert_int_equal(network_new(&network, kernels, &checkpoint->table, ROWS, READ, true, &error), 0);
    double *weights = memory_array(slab, sizeof *weights), *gradients = memory_array(slab, sizeof *gradients);
    assert_true(weights != NULL && gradients != NULL);
    for (size_t i = 0; i < slab; i++)
        weights[i] = (double)checkpoint->weights[i];
    network_gradient(network, weights, &batch, 0.1, gradients);
    memory_free(weights);
    network_free(network);
    return gradients;
}

/* The parent's gradient as m, its square as v, and counters of steps that were done. */
static UNUSED void plain_moments_of_gradient(struct checkpoint *parent)
{
    double *gradient = plain_gradient(parent);
    for (size_t i = 0; i < parent->table.slab; i++) {
        parent->moments->m[i] = (float)gradient[i];
        parent->moments->v[i] = (float)(gradient[i] * gradient[i]);
    }
    memory_free(gradient);
}

/* Largest difference between what was carried and the grown model's gradient, over the largest gradient. Entries of new
 * units are left out. */
static UNUSED double plain_carried_error(const struct checkpoint *parent, const struct checkpoint *grown,
                                         const struct plain_maps *maps)
{
    double *gradient = plain_gradient(grown), worst = 0, largest = 0;
    for (int t = 0; t < grown->table.count; t++) {
        const struct tensor *to = &grown->table.tensors[t], *from = tensor_find(&parent->table, to->name);
        for (int i = 0; i < to->dims[0]; i++)
            for (int j = 0; j < to->dims[1]; j++) {
                size_t at = to->offset + (size_t)i * (size_t)to->dims[1] + (size_t)j;
                struct plain_entry entry = plain_entry_of(maps, &parent->table.shape, to, from->dims[1], i, j);
                largest = fmax(largest, fabs(gradient[at]));
                if (entry.is_new)
                    continue;
                double m = (double)grown->moments->m[at], v = (double)grown->moments->v[at];
                worst = fmax(worst, fmax(fabs(m - gradient[at]), fabs(sqrt(v) - fabs(gradient[at]))));
            }
    }
    memory_free(gradient);
    return worst / largest;
}

#endif

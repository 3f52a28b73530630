/* Shape: everything that sizes a model's memory and work. A plain value; copied freely. */
#ifndef MODEL_SHAPE_H
#define MODEL_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* X(code, model_type in config.json) */
#define FAMILY_TABLE(X)                                                                            \
    X(FAMILY_GPT2, "gpt2") X(FAMILY_LLAMA, "llama") X(FAMILY_MISTRAL, "mistral") X(FAMILY_QWEN2, "qwen2")  \
    X(FAMILY_BERT, "bert") X(FAMILY_T5, "t5") X(FAMILY_MIXTRAL, "mixtral")

enum family {
#define X(code, name) code,
    FAMILY_TABLE(X)
#undef X
    FAMILY_COUNT
};

/* X(code, name in config.json). gelu_new, gelu_pytorch_tanh and gelu_fast are one function: the tanh form; the other
 * names are in model/shape.c's table of aliases. */
#define ACTIVATION_TABLE(X)                          \
    X(ACTIVATION_GELU_TANH, "gelu_new")              \
    X(ACTIVATION_GELU_ERF, "gelu")                   \
    X(ACTIVATION_RELU, "relu")                       \
    X(ACTIVATION_SILU, "silu")

enum activation {
#define X(code, name) code,
    ACTIVATION_TABLE(X)
#undef X
    ACTIVATION_COUNT
};

/* Rotary frequencies: rope_theta and rope_scaling of llama-like models. */
enum rope_scaling { ROPE_PLAIN, ROPE_LINEAR, ROPE_DYNAMIC, ROPE_LLAMA3 };
struct rope {
    double theta;                            /* 1e4 */
    enum rope_scaling scaling;
    double factor, low_frequency, high_frequency;   /* factor 0 if plain; the last two: llama3 */
    int original_context;                    /* llama3 */
};

struct shape {
    enum family family;
    int layers;        /* L */
    int width;         /* C, the residual stream */
    int heads;         /* H, query heads */
    int kv_heads;      /* = heads without grouped queries */
    int head_size;     /* width = heads * head_size for gpt2 */
    int ff;            /* hidden units of an MLP */
    int context;       /* positions */
    int vocabulary;    /* V */
    bool tied;         /* head shares the token embedding */
    enum activation activation;
    double norm_epsilon;
    /* llama, mistral, qwen2, mixtral */
    struct rope rope;
    bool attention_bias, mlp_bias;           /* qwen2: q, k, v have biases, o has none */
    int window;                              /* sliding attention window, 0: none */
    /* bert */
    int types;                               /* token types */
    bool pooler, next_sentence;              /* pooler, next-sentence head ship in the file: kept, grown, not trained */
    /* t5 */
    int decoder_layers;                      /* layers: the encoder's */
    bool gated;                              /* gated MLP (llama: always) */
    int buckets, bucket_distance;            /* relative position bias */
    bool scaled_head;                        /* logits times width^-1/2 */
    /* mixtral */
    int experts, top_k;                      /* MLPs of a block, and how many of them a token passes; 0: one MLP for all */
    double router_aux;                       /* weight of the load-balance loss in training */
};

/* Beyond these a size is a mistake, and products of two or three of them still fit. */
enum { SHAPE_LAYERS_MAX = 8192, SHAPE_SIZE_MAX = 1 << 24, SHAPE_EXPERTS_MAX = 64 };

/* Refuses sizes that are not positive, that do not fit together, or whose parameter count would overflow:
 * ERROR_INVALID, each disagreement a detail. */
int shape_check(const struct shape *shape, struct error *error);
bool shape_equal(const struct shape *a, const struct shape *b);
/* The first field in which they differ, for a message: "width is 8 and 16". False: they are equal, text is "". */
enum { SHAPE_DIFFERENCE_BYTES = 96 };
bool shape_difference(const struct shape *a, const struct shape *b, char text[SHAPE_DIFFERENCE_BYTES]);
/* Every field of a shape as one line of text, exact: what is hashed where a shape must be the same. */
enum { SHAPE_TEXT_BYTES = 1024 };
void shape_text(const struct shape *shape, char text[SHAPE_TEXT_BYTES]);
/* Parameters, every tensor once (a tied head is not counted twice). */
uint64_t shape_parameters(const struct shape *shape);
const char *family_name(enum family family);
const char *activation_name(enum activation activation);
/* By a name or an alias of config.json ("gelu_fast", "swish"); -1 if unknown. */
int activation_parse(const char *name);
/* By model_type; -1 if unknown. */
int family_parse(const char *name);

/* Weights that enter a matrix product per token: embedding look-ups 0, the head once, of experts top_k. */
uint64_t shape_product_weights(const struct shape *shape);
/* Floating-point operations to train on one row (forward + backward): 6 * each weight that enters a product, per token
 * that passes it (active ones only; look-ups 0, the head once) + 12 * sum over layers (heads * head size * queries *
 * keys), full length also for causal attention (PyTorch's convention). An encoder-decoder reads `context` tokens and
 * predicts `decoder_context`: encoder, decoder and cross attention each count with their own lengths; others have no use
 * for the latter. The one function used everywhere. Forward alone is a third. */
double shape_flops_per_row(const struct shape *shape, int context, int decoder_context);
/* The same per token of a row of `context`; of an encoder-decoder, per token of either side of a row whose sides both are
 * that long. Where an objective makes the sides, divide shape_flops_per_row with its lengths instead. */
double shape_flops_per_token(const struct shape *shape, int context);

#endif

#include "model/block_experts.h"

#include <string.h>

#include "model/block_mask.h"

/* ---- load balance ---- */

void balance_begin(struct balance *balance, int experts)
{
    *balance = (struct balance){.experts = experts};
}

double balance_loss(const struct balance *balance)
{
    double sum = 0, places = balance->places;
    for (int e = 0; e < balance->experts; e++)
        sum += balance->choices[e] * balance->sums[e];
    return places > 0 ? balance->experts * sum / (places * places) : 0;
}

void balance_turn(struct balance *balance, double weight)
{
    double places = balance->places;
    for (int e = 0; e < balance->experts; e++)
        balance->derivative[e] =
            places > 0 ? weight * balance->experts * balance->choices[e] / (places * places) : 0;
}

static void balance_count(struct balance *balance, const struct pass *pass, const struct experts_block *block)
{
    const unsigned char *mask = pass->batch->mask;
    for (int i = 0; i < pass->positions; i++) {
        if (mask != NULL && mask[i] == 0)
            continue;
        balance->places++;
        for (int j = 0; j < block->top_k; j++)
            balance->choices[block->chosen[i * block->top_k + j]]++;
    }
}

/* ---- the block ---- */

void experts_block_size(struct experts_block *block, const struct shape *shape, size_t positions, struct carve *carve)
{
    block->experts = shape->experts;
    block->top_k = shape->top_k;
    block->rows = carve_numbers(carve, positions * (size_t)shape->top_k, (size_t)shape->width);
    block->balance = carve_host(carve, 1, sizeof *block->balance);
}

void experts_block_plan(struct experts_block *block, const struct shape *shape, size_t positions, bool kept,
                        struct carve *carve)
{
    size_t top_k = (size_t)shape->top_k, experts = (size_t)shape->experts, rows = positions * top_k;
    block->probabilities = carve_numbers(carve, positions, experts);
    block->shares = carve_numbers(carve, positions, top_k);
    block->gates = carve_numbers(carve, rows, (size_t)shape->ff);
    block->ups = carve_numbers(carve, rows, (size_t)shape->ff);
    block->gated = kept ? carve_numbers(carve, rows, (size_t)shape->ff) : block->gates;
    block->chosen = carve_host(carve, rows, sizeof *block->chosen);
    block->slots = carve_host(carve, rows, sizeof *block->slots);
    block->begins = carve_host(carve, experts + 1, sizeof *block->begins);
}

void experts_scratch_plan(struct experts_scratch *scratch, const struct shape *shape, size_t positions,
                          struct carve *carve)
{
    size_t rows = positions * (size_t)shape->top_k;
    scratch->d_rows = carve_numbers(carve, rows, (size_t)shape->width);
    scratch->d_gates = carve_numbers(carve, rows, (size_t)shape->ff);
    scratch->d_ups = carve_numbers(carve, rows, (size_t)shape->ff);
    scratch->d_shares = carve_numbers(carve, positions, (size_t)shape->top_k);
    scratch->d_logits = carve_numbers(carve, positions, (size_t)shape->experts);
}

static struct expert_map map_of(const struct tensor_table *table, enum role weight, enum role bias, int layer)
{
    struct expert_map map = {.first = linear_of(table, weight, bias, layer)};
    if (table->shape.experts > 1)
        map.step = linear_of_nth(table, weight, bias, layer, 1).weight - map.first.weight;
    return map;
}

void experts_block_bind(struct experts_block *block, const struct tensor_table *table, int layer)
{
    block->router = linear_of(table, ROLE_ROUTER, ROLE_GATE_BIAS, layer);   /* there are no biases */
    block->gate = map_of(table, ROLE_GATE, ROLE_GATE_BIAS, layer);
    block->up = map_of(table, ROLE_UP, ROLE_UP_BIAS, layer);
    block->down = map_of(table, ROLE_DOWN, ROLE_DOWN_BIAS, layer);
    block->activation = table->shape.activation;
}

static struct routing routing_of(const struct pass *pass, const struct experts_block *block)
{
    return (struct routing){
        .rows = pass->positions, .experts = block->experts, .top_k = block->top_k, .mask = pass->batch->mask,
    };
}

static struct row_exchange exchange_of(const struct pass *pass, const struct experts_block *block, int width)
{
    return (struct row_exchange){
        .positions = pass->positions, .top_k = block->top_k, .width = width, .slots = block->slots,
    };
}

/* Rows expert by expert, in each the positions in order: a counting sort. */
static void assign_slots(const struct experts_block *block, int choices)
{
    int32_t *begins = block->begins;
    memset(begins, 0, ((size_t)block->experts + 1) * sizeof *begins);
    for (int i = 0; i < choices; i++)
        begins[block->chosen[i] + 1]++;
    for (int e = 0; e < block->experts; e++)
        begins[e + 1] += begins[e];
    for (int i = 0; i < choices; i++)
        block->slots[i] = begins[block->chosen[i]]++;
    for (int e = block->experts; e > 0; e--)
        begins[e] = begins[e - 1];
    begins[0] = 0;
}

/* The rows of one expert and its maps. */
struct expert {
    struct linear gate, up, down;
    int first, count;
};

static struct linear map_at(const struct expert_map *map, int expert)
{
    struct linear linear = map->first;
    linear.weight += (size_t)expert * map->step;
    return linear;
}

static struct expert expert_at(const struct experts_block *block, int expert)
{
    return (struct expert){
        .gate = map_at(&block->gate, expert), .up = map_at(&block->up, expert), .down = map_at(&block->down, expert),
        .first = block->begins[expert], .count = block->begins[expert + 1] - block->begins[expert],
    };
}

/* The expert's part of numbers that have `width` for each row. */
static void *rows_of(const struct pass *pass, const struct expert *expert, void *numbers, int width)
{
    return numbers_at(pass->kernels->element, numbers, (size_t)expert->first * (size_t)width);
}

static void route(const struct pass *pass, const struct experts_block *block, const void *x, bool again)
{
    struct routing routing = routing_of(pass, block);
    struct routing_forward buffers = {
        .probabilities = block->probabilities, .shares = block->shares, .chosen = block->chosen,
        .sums = again ? NULL : block->balance->sums,
    };
    linear_forward(pass, &block->router, pass->positions, x, block->probabilities);
    pass_route(pass, &routing, &buffers);
    if (!again)
        balance_count(block->balance, pass, block);
    assign_slots(block, pass->positions * block->top_k);
}

void experts_block_forward(const struct pass *pass, const struct experts_block *block, const void *x, void *branch)
{
    int width = block->gate.first.in, ff = block->gate.first.out;
    route(pass, block, x, branch == NULL);
    struct row_exchange exchange = exchange_of(pass, block, width);
    pass_gather_rows(pass, &exchange, NULL, x, block->rows);
    for (int e = 0; e < block->experts; e++) {
        struct expert expert = expert_at(block, e);
        const void *rows = rows_of(pass, &expert, block->rows, width);
        if (expert.count == 0)
            continue;
        linear_forward(pass, &expert.gate, expert.count, rows, rows_of(pass, &expert, block->gates, ff));
        linear_forward(pass, &expert.up, expert.count, rows, rows_of(pass, &expert, block->ups, ff));
    }
    pass_gate(pass, block->activation, block->gates, block->ups, block->gated, pass->positions * block->top_k, ff, ff);
    mask_units(pass, pass->positions * block->top_k, ff, block->gated);
    for (int e = 0; e < block->experts && branch != NULL; e++) {
        struct expert expert = expert_at(block, e);
        if (expert.count > 0)
            linear_forward(pass, &expert.down, expert.count, rows_of(pass, &expert, block->gated, ff),
                           rows_of(pass, &expert, block->rows, width));
    }
    if (branch != NULL)
        pass_combine_rows(pass, &exchange, block->shares, block->rows, branch);
}

/* From the gradient of the rows that come out, shares included, to that of the hidden units and the shares. */
static void backward_to_gates(const struct pass *pass, const struct experts_block *block,
                              const struct experts_scratch *scratch)
{
    int width = block->gate.first.in, ff = block->gate.first.out;
    struct row_exchange hidden = exchange_of(pass, block, ff);
    for (int e = 0; e < block->experts; e++) {
        struct expert expert = expert_at(block, e);
        if (expert.count > 0)
            linear_backward(pass, &expert.down, expert.count, rows_of(pass, &expert, block->gated, ff),
                            rows_of(pass, &expert, scratch->d_rows, width),
                            rows_of(pass, &expert, scratch->d_gates, ff));
    }
    pass_dot_rows(pass, &hidden, scratch->d_gates, block->gated, scratch->d_shares);
    mask_units(pass, pass->positions * block->top_k, ff, scratch->d_gates);
    pass_gate_backward(pass, block->activation, block->gates, block->ups, scratch->d_gates, scratch->d_gates,
                       scratch->d_ups, pass->positions * block->top_k, ff, ff);
}

void experts_block_backward(const struct pass *pass, const struct experts_block *block, const void *x,
                            const void *d_branch, const struct experts_scratch *scratch, void *d_x)
{
    int width = block->gate.first.in, ff = block->gate.first.out;
    struct row_exchange exchange = exchange_of(pass, block, width);
    struct routing routing = routing_of(pass, block);
    struct routing_backward buffers = {
        .probabilities = block->probabilities, .shares = block->shares, .chosen = block->chosen,
        .d_shares = scratch->d_shares, .balance = block->balance->derivative, .d_logits = scratch->d_logits,
    };
    pass_gather_rows(pass, &exchange, block->shares, d_branch, scratch->d_rows);
    backward_to_gates(pass, block, scratch);
    pass_gather_rows(pass, &exchange, NULL, x, block->rows);
    for (int e = 0; e < block->experts; e++) {
        struct expert expert = expert_at(block, e);
        const void *rows = rows_of(pass, &expert, block->rows, width);
        void *d_rows = rows_of(pass, &expert, scratch->d_rows, width);
        if (expert.count == 0)
            continue;
        linear_backward(pass, &expert.gate, expert.count, rows, rows_of(pass, &expert, scratch->d_gates, ff), d_rows);
        linear_backward_add(pass, &expert.up, expert.count, rows, rows_of(pass, &expert, scratch->d_ups, ff), d_rows);
    }
    pass_combine_rows(pass, &exchange, NULL, scratch->d_rows, d_x);
    pass_route_backward(pass, &routing, &buffers);
    linear_backward_add(pass, &block->router, pass->positions, x, scratch->d_logits, d_x);
}

#include "server/speed.h"

#include "server/service_state.h"

void speed_seen(const struct service_counts *counts, double seen[PRODUCT_TYPE_COUNT])
{
    for (int type = 0; type < PRODUCT_TYPE_COUNT; type++)
        seen[type] = counts->step_seconds[type] > 1 ? counts->step_flops[type] / counts->step_seconds[type] : 0;
}

/* FLOPs per second of products of a type, in memory of their own. 0: out of memory. */
static double product_speed(struct service *service, enum product_type type)
{
    enum { SIDE = 512, ROUNDS = 6, COUNT = SIDE * SIDE };
    const struct kernels *kernels = service->kernels;
    size_t scratch = kernels->ops->product_scratch(type);
    float *numbers = kernels->alloc((size_t)3 * COUNT * sizeof *numbers);
    void *room = scratch ? kernels->alloc(scratch) : NULL;
    const struct product product = { .m = SIDE, .n = SIDE, .k = SIDE, .lda = SIDE, .ldb = SIDE, .ldc = SIDE, .alpha = 1,
                                     .type = type, .scratch = room };
    int64_t shortest = INT64_MAX;

    for (int i = 0; numbers && i < ROUNDS; i++) {      /* the first one touches the memory, others may be interrupted */
        int64_t begin = service_now(service);
        kernels->ops->product(&product, numbers, numbers + COUNT, numbers + 2 * COUNT);
        int64_t took = service_now(service) - begin;
        shortest = took < shortest ? took : shortest;
    }
    kernels->release(numbers);
    kernels->release(room);
    return numbers && shortest > 0 ? 2e9 * COUNT * SIDE / (double)shortest : 0;
}

/* A step takes longer than its products: by a fifth of their time in float32 (bench/RESULTS.md), whatever their type. */
static double step_speed(double products, double products_float32)
{
    const double beside = 0.2;

    return products > 0 && products_float32 > 0 ? 1 / (1 / products + beside / products_float32) : 0;
}

struct response_speed speed_of_worker(struct service *service, const double seen[PRODUCT_TYPE_COUNT],
                                      enum product_type compute)
{
    struct response_speed speed = { .steps = seen[compute], .float32 = seen[PRODUCT_F32] };

    if (speed.steps > 0 && speed.float32 > 0)
        return speed;
    double float32 = product_speed(service, PRODUCT_F32);
    if (speed.steps <= 0)
        speed.steps = step_speed(compute == PRODUCT_F32 ? float32 : product_speed(service, compute), float32);
    if (speed.float32 <= 0)
        speed.float32 = step_speed(float32, float32);
    return speed;
}

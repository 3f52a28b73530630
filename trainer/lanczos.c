#include "trainer/lanczos.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "model/kernels_ops.h"
#include "trainer/symmetric.h"

enum { BLOCK_NUMBERS = 4096, PRODUCTS_LEAST = 120, PRODUCTS_EACH = 30 };

static int basis_of(int wanted)
{
    return 2 * wanted + 14;
}

static size_t block_numbers(size_t numbers)
{
    return numbers < BLOCK_NUMBERS ? numbers : BLOCK_NUMBERS;
}

/* Numbers of backend memory; 0 on overflow. */
static size_t memory_numbers(size_t numbers, int wanted)
{
    const size_t basis = (size_t)basis_of(wanted);
    size_t vectors, sum;
    if (memory_multiply(numbers, basis + 1, &vectors) != 0 ||
        __builtin_add_overflow(vectors, basis * block_numbers(numbers), &sum)) {
        return 0;
    }
    return sum;
}

static size_t host_numbers(int wanted)
{
    const size_t basis = (size_t)basis_of(wanted);
    return 3 * basis * basis + basis;
}

size_t lanczos_bytes(const struct kernels *kernels, size_t numbers, int wanted)
{
    size_t bytes;
    if (memory_multiply(memory_numbers(numbers, wanted), kernels->element, &bytes) != 0 || bytes == 0) {
        return 0;
    }
    return bytes + host_numbers(wanted) * sizeof(double) + sizeof(struct lanczos);
}

int lanczos_new(struct lanczos **lanczos, const struct kernels *kernels, size_t numbers, int wanted_most, struct error *error)
{
    struct lanczos *made = memory_new(sizeof *made);
    const size_t basis = (size_t)basis_of(wanted_most);
    *lanczos = NULL;
    if (made != NULL) {
        made->options.kernels = kernels;
        made->projected = memory_array(host_numbers(wanted_most), sizeof *made->projected);
        made->memory = kernels->alloc(memory_numbers(numbers, wanted_most) * kernels->element);
    }
    if (made == NULL || made->projected == NULL || made->memory == NULL) {
        lanczos_free(made);
        return error_set(error, ERROR_NO_MEMORY, "No memory for %zu vectors of %zu numbers to find eigenvalues with.", basis + 1,
                         numbers);
    }
    made->work = made->projected + basis * basis;
    made->ritz = made->work + basis * basis;
    made->ritz_values = made->ritz + basis * basis;
    *lanczos = made;
    return 0;
}

void lanczos_free(struct lanczos *lanczos)
{
    if (lanczos == NULL) {
        return;
    }
    if (lanczos->memory != NULL) {
        lanczos->options.kernels->release(lanczos->memory);
    }
    memory_free(lanczos->projected);
    memory_free(lanczos);
}

static void *vector_at(const struct lanczos *lanczos, int index)
{
    const struct lanczos_options *options = &lanczos->options;
    return numbers_at(options->kernels->element, lanczos->memory, (size_t)index * options->numbers);
}

static void vector_scale(const struct lanczos *lanczos, double scale, void *x)
{
    lanczos->options.kernels->ops->blend(scale, x, 0, x, lanczos->options.numbers);
}

static double vector_norm(const struct lanczos *lanczos, const void *x)
{
    return sqrt(lanczos->options.kernels->sum_squares(x, lanczos->options.numbers));
}

/* x -= its part in the basis; parts (count) += that part, NULL: not wanted. */
static void orthogonalise(const struct lanczos *lanczos, void *x, double *parts)
{
    const struct lanczos_options *options = &lanczos->options;
    for (int i = 0; i < lanczos->count; i++) {
        const double part = options->kernels->dot(vector_at(lanczos, i), x, options->numbers);
        options->kernels->ops->blend(-part, vector_at(lanczos, i), 1, x, options->numbers);
        if (parts != NULL) {
            parts[i] += part;
        }
    }
}

/* A new random direction orthogonal to the basis, as its next vector; false: the basis spans everything. */
static bool append_random(struct lanczos *lanczos)
{
    void *next = vector_at(lanczos, lanczos->count);
    lanczos->options.fill(lanczos->options.owner, &lanczos->options.rng, next);
    const double before = vector_norm(lanczos, next);
    if (!(before > 0)) {
        return false;
    }
    vector_scale(lanczos, 1 / before, next);
    orthogonalise(lanczos, next, NULL);
    orthogonalise(lanczos, next, NULL);
    const double left = vector_norm(lanczos, next);
    if (!(left > 1e-4)) {
        return false;
    }
    vector_scale(lanczos, 1 / left, next);
    orthogonalise(lanczos, next, NULL);      /* what was small was made large, its error too */
    vector_scale(lanczos, 1 / vector_norm(lanczos, next), next);
    lanczos->count++;
    return true;
}

void lanczos_begin(struct lanczos *lanczos, const struct lanczos_options *options)
{
    lanczos->options = *options;
    lanczos->basis = basis_of(options->wanted);
    lanczos->count = lanczos->products = lanczos->found = 0;
    lanczos->finished = lanczos->converged = lanczos->exact = false;
    memset(lanczos->projected, 0, (size_t)lanczos->basis * (size_t)lanczos->basis * sizeof *lanczos->projected);
    if (!append_random(lanczos)) {
        lanczos->finished = lanczos->converged = lanczos->exact = true;
    }
}

const void *lanczos_direction(const struct lanczos *lanczos)
{
    return vector_at(lanczos, lanczos->count - 1);
}

void *lanczos_product(struct lanczos *lanczos)
{
    return vector_at(lanczos, lanczos->count);
}

void *lanczos_borrow(struct lanczos *lanczos, int index)
{
    return vector_at(lanczos, index);
}

/* The column of the direction in the projected matrix; what is left of the product is orthogonal to the basis. */
static bool project(struct lanczos *lanczos)
{
    const int last = lanczos->count - 1, n = lanczos->basis;
    double parts[LANCZOS_BASIS_MAX] = {0};
    void *product = lanczos_product(lanczos);
    orthogonalise(lanczos, product, parts);
    orthogonalise(lanczos, product, parts);
    for (int i = 0; i <= last; i++) {
        lanczos->projected[i * n + last] = lanczos->projected[last * n + i] = parts[i];
        if (!isfinite(parts[i])) {
            return false;
        }
    }
    return true;
}

/* Ritz values and vectors of the basis; returns the largest size of a value. */
static double decompose(struct lanczos *lanczos)
{
    const int n = lanczos->basis;
    double size = 0;
    memcpy(lanczos->work, lanczos->projected, (size_t)n * (size_t)n * sizeof *lanczos->work);
    symmetric_eigen(lanczos->work, lanczos->count, n, lanczos->ritz_values, lanczos->ritz);
    for (int i = 0; i < lanczos->count; i++) {
        size = fmax(size, fabs(lanczos->ritz_values[i]));
    }
    return size;
}

/* Answers so far; true: each is as good as wanted. `left`: the norm of what is left of the product. */
static bool answer(struct lanczos *lanczos, double left, double size)
{
    const int wanted = lanczos->options.wanted, last = lanczos->count - 1;
    bool good = lanczos->count >= wanted;
    lanczos->found = lanczos->count < wanted ? lanczos->count : wanted;
    for (int i = 0; i < lanczos->found; i++) {
        lanczos->values[i] = lanczos->ritz_values[i];
        lanczos->residuals[i] = left * fabs(lanczos->ritz[last * lanczos->basis + i]);
        const double least = 1e-3 * size;     /* an eigenvalue near 0 is as good as its neighbours are large */
        if (!(lanczos->residuals[i] <= lanczos->options.tolerance * fmax(fabs(lanczos->values[i]), least))) {
            good = false;
        }
    }
    return good;
}

/* The basis becomes its `kept` best Ritz vectors, block by block of numbers; the projected matrix becomes diagonal. */
static void keep_best(struct lanczos *lanczos, int kept)
{
    const struct lanczos_options *options = &lanczos->options;
    const struct kernels *kernels = options->kernels;
    const size_t block = block_numbers(options->numbers), element = kernels->element;
    void *made = vector_at(lanczos, lanczos->basis + 1);
    for (size_t first = 0; first < options->numbers; first += block) {
        const size_t n = options->numbers - first < block ? options->numbers - first : block;
        for (int i = 0; i < kept; i++) {
            void *sum = numbers_at(element, made, (size_t)i * block);
            for (int j = 0; j < lanczos->count; j++) {
                const void *from = numbers_at(element, vector_at(lanczos, j), first);
                kernels->ops->blend(lanczos->ritz[j * lanczos->basis + i], from, j > 0, sum, n);
            }
        }
        for (int i = 0; i < kept; i++) {
            void *to = numbers_at(element, vector_at(lanczos, i), first);
            kernels->ops->blend(1, numbers_at(element, made, (size_t)i * block), 0, to, n);
        }
    }
    memset(lanczos->projected, 0, (size_t)lanczos->basis * (size_t)lanczos->basis * sizeof *lanczos->projected);
    for (int i = 0; i < kept; i++) {
        lanczos->projected[i * lanczos->basis + i] = lanczos->ritz_values[i];
    }
}

/* The next direction from what is left of the product. */
static void go_on(struct lanczos *lanczos, double left)
{
    void *product = lanczos_product(lanczos);
    vector_scale(lanczos, 1 / left, product);
    if (lanczos->count == lanczos->basis) {
        const int kept = lanczos->options.wanted + (lanczos->basis - lanczos->options.wanted) / 2;
        keep_best(lanczos, kept);
        lanczos->options.kernels->ops->blend(1, product, 0, vector_at(lanczos, kept), lanczos->options.numbers);
        lanczos->count = kept;
        product = vector_at(lanczos, kept);
    }
    orthogonalise(lanczos, product, NULL);   /* small rests carry errors: once more */
    vector_scale(lanczos, 1 / vector_norm(lanczos, product), product);
    lanczos->count++;
}

/* Nothing is left of the product: the basis is invariant, its Ritz values are eigenvalues; others may be outside. */
static void take_invariant(struct lanczos *lanczos)
{
    if (lanczos->count < lanczos->basis && append_random(lanczos)) {
        return;
    }
    lanczos->finished = lanczos->converged = true;
    lanczos->exact = lanczos->count < lanczos->basis;
}

void lanczos_take(struct lanczos *lanczos)
{
    const double rounding = lanczos->options.kernels->element == sizeof(double) ? 1e-12 : 2e-6;
    lanczos->products++;
    const bool finite = project(lanczos);
    const double left = vector_norm(lanczos, lanczos_product(lanczos));
    if (!finite || !isfinite(left)) {
        lanczos->finished = true;
        lanczos->found = 0;
        return;
    }
    const double size = decompose(lanczos);
    const bool good = answer(lanczos, left, size);
    if (left <= rounding * size || !(left > 0)) {
        take_invariant(lanczos);
    } else if (good || lanczos->products >= PRODUCTS_LEAST + PRODUCTS_EACH * lanczos->options.wanted) {
        lanczos->finished = true;
        lanczos->converged = good;
    } else {
        go_on(lanczos, left);
    }
}

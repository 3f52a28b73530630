/* The row of a finished run of `lag transfer`: the same bits back; anything else is damaged. */
#include "tests/support/support.h"

#include <math.h>
#include <string.h>

#include "api/transfer_row.h"

enum { WINDOWS = 3 };
static const struct transfer_row row = {.key = "0123abcd", .size = "grown", .learning_rate = 1e-3, .seed = 7, .windows = WINDOWS};

static void write_text(struct buffer *out, const struct transfer_run *run)
{
    buffer_init(out);
    transfer_row_write(out, &row, run);
    assert_false(out->failed);
}

static void a_row_reads_back_to_the_same_bits(void **state)
{
    (void)state;
    float losses[WINDOWS] = {0.1f, 3.4028235e38f, 1.17549435e-38f}, back[WINDOWS];
    const struct transfer_run run = {.losses = losses, .loss = 1.0 / 3, .sharpness = -2.5e-17, .preconditioned = 1e300,
                                     .stability_ratio = (double)NAN};
    struct transfer_run read = {.losses = back};
    struct error error = {0};
    struct buffer text;
    write_text(&text, &run);
    assert_ok(transfer_row_read(text.data, text.length, &row, &read, &error), &error);
    assert_memory_equal(back, losses, sizeof losses);
    assert_false(read.diverged);
    assert_true(read.loss == run.loss && read.sharpness == run.sharpness && read.preconditioned == run.preconditioned);
    assert_true(isnan(read.stability_ratio));
    buffer_fini(&text);
}

static void a_diverged_run_has_no_losses(void **state)
{
    (void)state;
    float back[WINDOWS];
    const struct transfer_run run = {.diverged = true, .loss = (double)NAN, .sharpness = (double)NAN, .preconditioned = (double)NAN,
                                     .stability_ratio = (double)NAN};
    struct transfer_run read = {.losses = back};
    struct error error = {0};
    struct buffer text;
    write_text(&text, &run);
    assert_contains(text.data, "\"losses\": []");
    assert_ok(transfer_row_read(text.data, text.length, &row, &read, &error), &error);
    assert_true(read.diverged && isnan(read.loss));
    buffer_fini(&text);
}

static void what_is_no_row_of_the_run_is_damaged(void **state)
{
    (void)state;
#define REST "\"sharpness\": 1, \"preconditioned\": 1, \"stability_ratio\": 1, "
    static const char *const texts[] = {
        "", "[", "3", "{}", "null", "\xff",
        "{\"key\": \"other\", \"diverged\": false, \"loss\": 1, " REST "\"losses\": [1, 1, 1]}",
        "{\"key\": \"0123abcd\", \"diverged\": 0, \"loss\": 1, " REST "\"losses\": [1, 1, 1]}",
        "{\"key\": \"0123abcd\", \"diverged\": false, \"loss\": null, " REST "\"losses\": [1, 1, 1]}",
        "{\"key\": \"0123abcd\", \"diverged\": false, \"loss\": \"1\", " REST "\"losses\": [1, 1, 1]}",
        "{\"key\": \"0123abcd\", \"diverged\": false, " REST "\"losses\": [1, 1, 1]}",
        "{\"key\": \"0123abcd\", \"diverged\": false, \"loss\": 1, " REST "\"losses\": [1, 1]}",
        "{\"key\": \"0123abcd\", \"diverged\": false, \"loss\": 1, " REST "\"losses\": [1, 1, 1, 1]}",
        "{\"key\": \"0123abcd\", \"diverged\": false, \"loss\": 1, " REST "\"losses\": [1, null, 1]}",
        "{\"key\": \"0123abcd\", \"diverged\": true, \"loss\": null, " REST "\"losses\": [1, 1, 1]}",
        "{\"key\": \"0123abcd\", \"key\": \"0123abcd\", \"diverged\": false, \"loss\": 1, " REST "\"losses\": [1, 1, 1]}",
        "{\"key\": \"0123abcd\", \"diverged\": false, \"loss\": 1, " REST "\"losses\": [1, 1, 1",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        float back[WINDOWS];
        struct transfer_run read = {.losses = back};
        struct error error = {0};
        assert_fails(transfer_row_read(texts[i], strlen(texts[i]), &row, &read, &error), ERROR_DAMAGED, &error);
    }
    const char *good = "{\"key\": \"0123abcd\", \"diverged\": false, \"loss\": 1, " REST "\"losses\": [1, 1, 1]}";
    float back[WINDOWS];
    struct transfer_run read = {.losses = back};
    struct error error = {0};
    assert_ok(transfer_row_read(good, strlen(good), &row, &read, &error), &error);
}

static void reading_and_writing_survive_short_memory(void **state)
{
    (void)state;
    float losses[WINDOWS] = {1, 2, 3}, back[WINDOWS];
    const struct transfer_run run = {.losses = losses, .loss = 2, .sharpness = 1, .preconditioned = 1, .stability_ratio = 1};
    struct transfer_run read = {.losses = back};
    struct buffer text, short_text;
    write_text(&text, &run);
    fault_arm(FAULT_ALLOC, 1);
    buffer_init(&short_text);
    transfer_row_write(&short_text, &row, &run);
    fault_arm(FAULT_ALLOC, 0);
    assert_true(short_text.failed);
    buffer_fini(&short_text);
    for (int n = 1; n <= 4; n++) {
        struct error error = {0};
        fault_arm(FAULT_ALLOC, n);
        const int code = transfer_row_read(text.data, text.length, &row, &read, &error);
        fault_arm(FAULT_ALLOC, 0);
        assert_true(code == ERROR_NO_MEMORY || code == 0);
    }
    buffer_fini(&text);
}

TEST_MAIN(cmocka_unit_test(a_row_reads_back_to_the_same_bits), cmocka_unit_test(a_diverged_run_has_no_losses),
          cmocka_unit_test(what_is_no_row_of_the_run_is_damaged), cmocka_unit_test(reading_and_writing_survive_short_memory))

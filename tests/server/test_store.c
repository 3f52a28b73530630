/* The store: one owner, known schemas, changes that are applied whole or not at all, reads and lists. */
#include "tests/support/support.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "server/journal.h"
#include "server/store.h"

/* ---- a store with a journal whose jobs run in place */

struct bench {
    char directory[FILE_PATH_BYTES];
    struct store store;
    struct pool pool;
    struct clock clock;
    struct journal journal;
};

static void bench_open(struct bench *bench)
{
    struct error error = {0};
    test_directory_make(bench->directory);
    assert_ok(store_open(&bench->store, bench->directory, &error), &error);
    assert_ok(pool_inline_init(&bench->pool, 1, &error), &error);
    bench->clock = clock_settable(0, 0);
    journal_init(&bench->journal, &bench->store, &bench->pool, &bench->clock);
}

static void bench_close(struct bench *bench)
{
    pool_inline_fini(&bench->pool);
    store_close(&bench->store);
    test_directory_remove(bench->directory);
}

struct noted { struct journal_entry entry; struct error error; int calls; };

static void note(struct journal_entry *entry, const struct error *error)
{
    struct noted *noted = entry->owner;
    noted->error = *error;
    noted->calls++;
}

static void noted_init(struct noted *noted)
{
    *noted = (struct noted){.entry = {.done = note, .owner = noted}};
    changes_init(&noted->entry.changes);
}

static void run_all(struct bench *bench)
{
    while (pool_inline_step(&bench->pool))
        continue;
}

static void add_study(struct changes *changes, const char *id, enum study_state_name state, const char *checkpoint)
{
    struct study_row row = {.name = (char *)"n", .reason = (char *)"", .request = (char *)"{}", .idempotency_key = (char *)"",
                            .body_hash = (char *)"", .content = (char *)"c", .checkpoint = (char *)checkpoint,
                            .train = (char *)"data_1", .valid = (char *)"", .result = (char *)"", .state = state,
                            .created_ms = 5};
    snprintf(row.id, sizeof row.id, "%s", id);
    store_add_study(changes, &row);
}

static void commit_studies(struct bench *bench, const char *const *ids, enum study_state_name state)
{
    struct noted noted;
    noted_init(&noted);
    for (int i = 0; ids[i]; i++)
        add_study(&noted.entry.changes, ids[i], state, "ckpt_1");
    journal_append(&bench->journal, &noted.entry);
    run_all(bench);
    assert_ok((int)noted.error.code, &noted.error);
}

static int64_t number_of(struct bench *bench, const char *select)
{
    struct sql_query query;
    struct error error = {0};
    assert_ok(sql_query(&query, bench->store.reader, &error, select, ""), &error);
    assert_ok(sql_next(&query, &error), &error);
    int64_t value = sql_integer(&query, 0);
    sql_finish(&query);
    return value;
}

/* ---- opening */

static void second_owner_is_refused_by_name(void **state)
{
    struct store first, second;
    struct error error = {0};
    char number[32];
    assert_ok(store_open(&first, *state, &error), &error);
    assert_fails(store_open(&second, *state, &error), ERROR_CONFLICT, &error);
    snprintf(number, sizeof number, "process %ld", (long)getpid());
    assert_contains(error.message, number);
    assert_int_equal(error_exit_code(error.code), 1);
    store_close(&first);
    error_clear(&error);
    assert_ok(store_open(&second, *state, &error), &error);
    store_close(&second);
}

static void newer_schema_is_refused(void **state)
{
    struct store store;
    struct error error = {0};
    assert_ok(store_open(&store, *state, &error), &error);
    assert_ok(sql_run(store.writer, "PRAGMA user_version=7", &error), &error);
    store_close(&store);
    assert_fails(store_open(&store, *state, &error), ERROR_INVALID, &error);
    assert_contains(error.message, "newer lag (schema 7, this one knows 1)");
}

static void file_that_is_no_database_is_damage(void **state)
{
    char path[FILE_PATH_BYTES];
    struct store store;
    struct error error = {0};
    test_write_file(test_path(path, *state, "lag.db"), "this is not a database, and long enough to be seen as one....",
                    60);
    assert_fails(store_open(&store, *state, &error), ERROR_DAMAGED, &error);
    assert_int_equal(error_exit_code(error.code), 3);
    assert_contains(error.message, "lag check");
}

static void opening_empties_uploads(void **state)
{
    char path[FILE_PATH_BYTES], file[FILE_PATH_BYTES];
    struct store store;
    struct error error = {0};
    assert_ok(file_make_directory(test_path(path, *state, "uploads/7"), &error), &error);
    test_write_file(test_path(file, path, "model.safetensors"), "x", 1);
    assert_ok(store_open(&store, *state, &error), &error);
    assert_false(file_exists(path));
    assert_true(file_is_directory(test_path(path, *state, "uploads")));
    store_close(&store);
}

/* ---- the journal */

static void entries_that_wait_share_a_commit(void **state)
{
    (void)state;
    struct bench bench;
    struct noted noted[5];
    bench_open(&bench);
    for (int i = 0; i < 5; i++) {
        char id[8];
        snprintf(id, sizeof id, "s%d", i);
        noted_init(&noted[i]);
        add_study(&noted[i].entry.changes, id, STUDY_QUEUED, "ckpt_1");
        journal_append(&bench.journal, &noted[i].entry);
    }
    run_all(&bench);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(noted[i].calls, 1);
        assert_ok((int)noted[i].error.code, &noted[i].error);
    }
    assert_int_equal(bench.journal.commits, 2);        /* the first, and the four that waited for it */
    assert_int_equal(number_of(&bench, "SELECT count(*) FROM study"), 5);
    assert_true(journal_is_idle(&bench.journal));
    bench_close(&bench);
}

static void refused_entry_fails_alone(void **state)
{
    (void)state;
    struct bench bench;
    struct noted noted[4];
    bench_open(&bench);
    for (int i = 0; i < 4; i++) {
        noted_init(&noted[i]);
        add_study(&noted[i].entry.changes, i == 3 ? "s2" : (const char *[]){"s0", "s1", "s2"}[i], STUDY_QUEUED, "ckpt_1");
    }
    store_add_event(&noted[3].entry.changes, "s2", "state", "x", "{}");
    noted[2].entry.changes.failed = true;                                  /* ran out of memory while it was built */
    add_study(&noted[1].entry.changes, "s1", STUDY_QUEUED, "ckpt_1");      /* twice the same id */
    for (int i = 0; i < 4; i++)
        journal_append(&bench.journal, &noted[i].entry);
    run_all(&bench);
    assert_int_equal(noted[0].error.code, ERROR_NONE);
    assert_int_not_equal(noted[1].error.code, ERROR_NONE);
    assert_int_not_equal(noted[2].error.code, ERROR_NONE);
    assert_int_equal(noted[3].error.code, ERROR_NONE);
    assert_int_equal(number_of(&bench, "SELECT count(*) FROM study WHERE id IN ('s0', 's2')"), 2);
    assert_int_equal(number_of(&bench, "SELECT count(*) FROM study"), 2);
    assert_int_equal(number_of(&bench, "SELECT count(*) FROM event"), 1);
    bench_close(&bench);
}

static void failed_fsync_fails_the_whole_commit(void **state)
{
    (void)state;
    struct bench bench;
    struct noted noted[2];
    bench_open(&bench);
    for (int i = 0; i < 2; i++) {
        noted_init(&noted[i]);
        add_study(&noted[i].entry.changes, i ? "b" : "a", STUDY_QUEUED, "ckpt_1");
    }
    fault_arm(FAULT_FSYNC, 1);
    journal_append(&bench.journal, &noted[0].entry);
    run_all(&bench);
    fault_arm(FAULT_FSYNC, 0);
    assert_int_equal(noted[0].error.code, ERROR_IO);
    assert_int_equal(number_of(&bench, "SELECT count(*) FROM study"), 0);
    journal_append(&bench.journal, &noted[1].entry);        /* the next one finds the database as it was */
    run_all(&bench);
    assert_ok((int)noted[1].error.code, &noted[1].error);
    assert_int_equal(number_of(&bench, "SELECT count(*) FROM study"), 1);
    bench_close(&bench);
}

/* done() may append: what it appends is committed, too. */
static void chain(struct journal_entry *entry, const struct error *error)
{
    struct bench *bench = entry->owner;
    static struct noted next;
    assert_int_equal(error->code, ERROR_NONE);
    noted_init(&next);
    add_study(&next.entry.changes, "second", STUDY_QUEUED, "ckpt_1");
    journal_append(&bench->journal, &next.entry);
}

static void done_may_append_another_entry(void **state)
{
    (void)state;
    struct bench bench;
    struct journal_entry entry = {.done = chain, .owner = &bench};
    bench_open(&bench);
    changes_init(&entry.changes);
    add_study(&entry.changes, "first", STUDY_QUEUED, "ckpt_1");
    journal_append(&bench.journal, &entry);
    run_all(&bench);
    assert_int_equal(number_of(&bench, "SELECT count(*) FROM study"), 2);
    bench_close(&bench);
}

/* ---- reads */

static void event_is_kept_once(void **state)
{
    (void)state;
    struct bench bench;
    struct noted noted;
    struct buffer text;
    struct error error = {0};
    uint64_t last = 0;
    bool ended = false;
    bench_open(&bench);
    commit_studies(&bench, (const char *const[]){"s", NULL}, STUDY_RUNNING);
    for (int i = 0; i < 3; i++) {
        noted_init(&noted);
        store_add_event(&noted.entry.changes, "s", "evaluation", "0:4", i ? "{\"again\": 1}" : "{\"first\": 1}");
        store_add_event(&noted.entry.changes, "s", "end", "only", "{}");
        journal_append(&bench.journal, &noted.entry);
        run_all(&bench);
    }
    buffer_init(&text);
    assert_ok(store_events(&bench.store, "s", &last, 10, &text, &ended, &error), &error);
    assert_string_equal(text.data, "id: 1\nevent: evaluation\ndata: {\"first\": 1}\n\nid: 2\nevent: end\ndata: {}\n\n");
    assert_true(ended);
    buffer_fini(&text);
    assert_ok(store_events(&bench.store, "s", &last, 10, &text, &ended, &error), &error);
    assert_int_equal(text.length, 0);
    buffer_fini(&text);
    bench_close(&bench);
}

static void lists_are_paged_in_order(void **state)
{
    (void)state;
    struct bench bench;
    struct buffer text;
    struct error error = {0};
    bench_open(&bench);
    commit_studies(&bench, (const char *const[]){"s1", "s2", "s4", NULL}, STUDY_QUEUED);
    commit_studies(&bench, (const char *const[]){"s3", "s5", NULL}, STUDY_CANCELLED);
    buffer_init(&text);
    assert_ok(store_list(&bench.store, "studies", NULL, 2, "s1", &text, &error), &error);
    assert_contains(text.data, "{\"items\":[{\"id\":\"s2\"");
    assert_contains(text.data, "{\"id\":\"s3\"");
    assert_null(strstr(text.data, "s4"));
    assert_contains(text.data, "\"next\":\"s3\"}");
    buffer_fini(&text);
    assert_ok(store_list(&bench.store, "studies", "cancelled", 2, NULL, &text, &error), &error);
    assert_contains(text.data, "\"s3\"");
    assert_contains(text.data, "\"s5\"");
    assert_contains(text.data, "\"next\":null}");
    buffer_fini(&text);
    bench_close(&bench);
}

static void item_is_used_until_its_study_succeeded(void **state)
{
    (void)state;
    struct bench bench;
    struct noted noted;
    struct error error = {0};
    char user[STORE_ID_BYTES];
    bench_open(&bench);
    commit_studies(&bench, (const char *const[]){"s1", NULL}, STUDY_CANCELLED);
    assert_ok(store_item_user(&bench.store, "ckpt_1", user, &error), &error);
    assert_string_equal(user, "s1");
    assert_ok(store_item_user(&bench.store, "data_1", user, &error), &error);
    assert_string_equal(user, "s1");
    noted_init(&noted);
    store_set_state(&noted.entry.changes, "s1", STUDY_SUCCEEDED, "", 1, 2, "{}");
    journal_append(&bench.journal, &noted.entry);
    run_all(&bench);
    assert_ok(store_item_user(&bench.store, "ckpt_1", user, &error), &error);
    assert_string_equal(user, "");
    bench_close(&bench);
}

/* A point comes back with the very bits that were stored, NaN included. */
static void points_come_back_bit_for_bit(void **state)
{
    (void)state;
    struct bench bench;
    struct noted noted;
    struct error error = {0};
    struct spec_candidate candidate = {.name = "a"};
    struct study_spec spec = {.candidates = &candidate, .candidate_count = 1, .selection = {.max_k = 10},
                              .training = {.batch = 1, .context = 1}};
    struct study study;
    float losses[3] = {1.1f, 0x1.fffffep-1f, 3e-39f};
    const struct point points[2] = {{.step = 0, .tokens = 1ull << 40, .flops = 1e17 / 3, .loss = 0.1, .standard_error = NAN,
                                     .raw_loss = 1.0 / 3, .learning_rate = 5e-324, .losses = losses},
                                    {.step = 4, .loss = 2, .standard_error = 0, .raw_loss = 2, .losses = losses}};
    bench_open(&bench);
    commit_studies(&bench, (const char *const[]){"s", NULL}, STUDY_RUNNING);
    noted_init(&noted);
    for (int i = 1; i >= 0; i--)
        store_add_point(&noted.entry.changes, "s", 0, &points[i], 3);
    journal_append(&bench.journal, &noted.entry);
    run_all(&bench);
    assert_ok((int)noted.error.code, &noted.error);
    assert_ok(study_init(&study, &spec, 3, &error), &error);
    assert_ok(store_load_candidates(&bench.store, "s", &study, &error), &error);
    assert_int_equal(study.candidates[0].curve.count, 2);
    const struct point *read = &study.candidates[0].curve.points[0];
    assert_memory_equal(read->losses, losses, sizeof losses);
    assert_true(read->tokens == points[0].tokens && read->flops == points[0].flops && read->loss == points[0].loss);
    assert_true(read->raw_loss == points[0].raw_loss && read->learning_rate == points[0].learning_rate);
    assert_true(read->standard_error != read->standard_error);
    study_fini(&study);

    assert_ok(study_init(&study, &spec, 4, &error), &error);        /* another number of windows: not this study's points */
    assert_fails(store_load_candidates(&bench.store, "s", &study, &error), ERROR_DAMAGED, &error);
    study_fini(&study);
    bench_close(&bench);
}

TEST_MAIN(cmocka_unit_test_setup_teardown(second_owner_is_refused_by_name, test_directory_setup, test_directory_teardown),
          cmocka_unit_test_setup_teardown(newer_schema_is_refused, test_directory_setup, test_directory_teardown),
          cmocka_unit_test_setup_teardown(file_that_is_no_database_is_damage, test_directory_setup, test_directory_teardown),
          cmocka_unit_test_setup_teardown(opening_empties_uploads, test_directory_setup, test_directory_teardown),
          cmocka_unit_test(entries_that_wait_share_a_commit), cmocka_unit_test(refused_entry_fails_alone),
          cmocka_unit_test(failed_fsync_fails_the_whole_commit), cmocka_unit_test(done_may_append_another_entry),
          cmocka_unit_test(event_is_kept_once), cmocka_unit_test(lists_are_paged_in_order),
          cmocka_unit_test(item_is_used_until_its_study_succeeded), cmocka_unit_test(points_come_back_bit_for_bit))

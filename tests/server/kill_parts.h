/* What the kill tests share: one kill, what it hit, and the restart that has to come out as if nothing had been. */
#ifndef TESTS_SERVER_KILL_PARTS_H
#define TESTS_SERVER_KILL_PARTS_H

#include "tests/support/support.h"

#include <signal.h>
#include <sqlite3.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "tests/support/lag_run.h"

/* State of the only study of a killed process's store; "" if there is none yet. */
static inline void stored_state(const char *place, const char *store, char state[32])
{
    char path[FILE_PATH_BYTES], directory[FILE_PATH_BYTES];
    sqlite3 *database = NULL;
    sqlite3_stmt *statement = NULL;

    state[0] = '\0';
    test_path(path, test_path(directory, place, store), "lag.db");
    if (sqlite3_open_v2(path, &database, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK
        && sqlite3_prepare_v2(database, "SELECT state FROM study", -1, &statement, NULL) == SQLITE_OK
        && sqlite3_step(statement) == SQLITE_ROW)
        snprintf(state, 32, "%s", (const char *)sqlite3_column_text(statement, 0));
    sqlite3_finalize(statement);
    sqlite3_close(database);
}

/* Runs until the kill strikes; false if the study ended before. */
static inline bool run_killed(const struct lag_run *like, const char *kill)
{
    char variable[64];
    struct process process;
    struct lag_run run = *like;

    snprintf(variable, sizeof variable, "LAG_KILL=%s", kill);
    run.out = NULL;
    run.environment[0] = variable;
    run.environment[1] = NULL;
    lag_run(&process, &run);
    if (process.signal != SIGKILL)
        assert_exit(&process, 0);
    bool killed = process.signal == SIGKILL;
    process_free(&process);
    return killed;
}

#endif

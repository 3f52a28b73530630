/* Runs of a power-law fit, sorted into cells; private to the fit. Thread rule: pure functions of values. */
#ifndef STUDY_POWERFIT_PARTS_H
#define STUDY_POWERFIT_PARTS_H

#include "study/powerfit.h"

/* Of one cell: losses of every rate in the order of their seeds. */
struct cell_runs { int counts[POWER_RATES_MAX]; double losses[POWER_RATES_MAX][POWER_SEEDS_MAX]; };

/* One per cell of the fit (POWER_CELLS_MAX), for cell_runs_free; fills the fit's cells up to their mean losses. ERROR_INVALID,
 * ERROR_NO_MEMORY as power_fit_runs. */
int cell_runs_new(const struct power_run *runs, int count, struct power_fit *fit, struct cell_runs **cells, struct error *error);
void cell_runs_free(struct cell_runs *cells);
/* Mean loss of a rate over as many seeds as it has, drawn by `uniform` in [0, 1); the same of all rates: paired. */
double cell_runs_mean(const struct cell_runs *cell, int rate, const double uniform[POWER_SEEDS_MAX]);

#endif

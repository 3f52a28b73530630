/* Eigenvalues of small dense symmetric matrices, for what Lanczos projects a large one to. Pure function.
 * Source: the cyclic Jacobi method (Golub & Van Loan, Matrix Computations, 8.5). */
#ifndef TRAINER_SYMMETRIC_H
#define TRAINER_SYMMETRIC_H

/* matrix: (n, n), rows `stride` numbers apart, symmetric; destroyed. values (n): descending. vectors (n, n), rows `stride`
 * apart: column i is the unit eigenvector of values[i]. Entries that are not finite come out as they go in: not finite. */
void symmetric_eigen(double *matrix, int n, int stride, double *values, double *vectors);

#endif

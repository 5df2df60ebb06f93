/* Batch normalization + (residual) + ReLU + (2x2 max pooling) + goodness on a grid of cells, on maps laid out N H W C, float32.

   k, b: C numbers; z = k u + b (+ residual), a = relu(z), p = a or the maximum of each 2x2 window (ceil mode).
   Cells: a gh x gw partition of p's map, the first rows and columns of cells larger by one where it does not divide.
   One thread works on one row of cells of one sample, so that no sum is shared and no order depends on the number of threads;
   sums over the batch are made per sample and added in order. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MIN(x, y) ((x) < (y) ? (x) : (y))
#define MAX(x, y) ((x) > (y) ? (x) : (y))

typedef struct {
    long n, h, w, c;    /* of u */
    long ph, pw;        /* of p */
    long gh, gw;        /* cells */
    int pool;           /* 1 or 2 */
    int threads;
} Shape;

/* First row (or column) of cell i, when `size` of them are dealt to `cells`. */
static long cell_start(long i, long size, long cells) {
    long small = size / cells, extra = size % cells;
    return i * small + MIN(i, extra);
}

static float cell_count(const Shape *g, long i, long j) {
    return (float)((cell_start(i + 1, g->ph, g->gh) - cell_start(i, g->ph, g->gh)) *
                   (cell_start(j + 1, g->pw, g->gw) - cell_start(j, g->pw, g->gw)));
}

/* Mean and biased variance of each channel over all positions; sums are per block of rows in float, then in double, shifted by row 0. */
void ll_channel_stats(const float *u, long rows, long c, float *mean, float *var, int threads) {
    enum { BLOCK = 64 };
    long parts = MIN(rows / BLOCK + 1, 64);    /* fixed, whatever the number of threads */
    double *total = calloc(2 * parts * c, sizeof(double));
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long part = 0; part < parts; part++) {
        double *sum = total + 2 * part * c, *square = sum + c;
        float *s = malloc(2 * c * sizeof(float)), *q = s + c;
        for (long start = rows * part / parts, end = rows * (part + 1) / parts; start < end; start += BLOCK) {
            memset(s, 0, 2 * c * sizeof(float));
            for (long row = start; row < MIN(start + BLOCK, end); row++) {
                const float *x = u + row * c;
#pragma omp simd
                for (long i = 0; i < c; i++) {
                    float d = x[i] - u[i];
                    s[i] += d;
                    q[i] += d * d;
                }
            }
#pragma omp simd
            for (long i = 0; i < c; i++) {
                sum[i] += s[i];
                square[i] += q[i];
            }
        }
        free(s);
    }
    for (long i = 0; i < c; i++) {
        double sum = 0, square = 0;
        for (long part = 0; part < parts; part++) {
            sum += total[2 * part * c + i];
            square += total[(2 * part + 1) * c + i];
        }
        double shift = sum / rows, spread = square / rows - shift * shift;
        mean[i] = (float)(u[i] + shift);
        var[i] = (float)(spread > 0 ? spread : 0);
    }
    free(total);
}

/* The four positions of the window of (row, col) of p; those outside the map are position 0 once more. Returns which are real, as bits. */
static int window(const Shape *g, long row, long col, long *at) {
    int real = 1;
    at[0] = (2 * row * g->w + 2 * col) * g->c;
    int right = 2 * col + 1 < g->w, below = 2 * row + 1 < g->h;
    at[1] = right ? at[0] + g->c : at[0];
    at[2] = below ? at[0] + g->w * g->c : at[0];
    at[3] = right && below ? at[2] + g->c : at[0];
    return real | right << 1 | below << 2 | (right && below) << 3;
}

/* Not a number stays not a number, as in torch's ReLU. */
static inline float relu(float z) { return z < 0 ? 0.0f : z; }

static inline float act(float u, float k, float b) { return relu(k * u + b); }

/* p, and in each cell the sum of p and the root of the mean of p^2 ((n, gh, gw, c) each; NULL: none). residual: as u, or NULL
   (never with pooling). */
void ll_forward(const Shape *g, const float *u, const float *k, const float *b, const float *residual, float *p, float *s1, float *rms) {
    long c = g->c;
#pragma omp parallel for num_threads(g->threads) schedule(static)
    for (long task = 0; task < g->n * g->gh; task++) {
        long n = task / g->gh, i = task % g->gh;
        const float *un = u + n * g->h * g->w * c, *rn = residual ? residual + n * g->h * g->w * c : NULL;
        float *pn = p + n * g->ph * g->pw * c;
        float *line = malloc(2 * c * sizeof(float)), *line2 = line + c;
        if (rms) {
            memset(s1 + task * g->gw * c, 0, g->gw * c * sizeof(float));
            memset(rms + task * g->gw * c, 0, g->gw * c * sizeof(float));
        }
        for (long row = cell_start(i, g->ph, g->gh); row < cell_start(i + 1, g->ph, g->gh); row++)
            for (long j = 0; j < g->gw; j++) {
                memset(line, 0, 2 * c * sizeof(float));
                for (long col = cell_start(j, g->pw, g->gw); col < cell_start(j + 1, g->pw, g->gw); col++) {
                    float *out = pn + (row * g->pw + col) * c;
                    if (g->pool == 2) {
                        long at[4];
                        window(g, row, col, at);
                        const float *x0 = un + at[0], *x1 = un + at[1], *x2 = un + at[2], *x3 = un + at[3];
#pragma omp simd
                        for (long m = 0; m < c; m++)
                            out[m] = MAX(MAX(act(x0[m], k[m], b[m]), act(x1[m], k[m], b[m])),
                                         MAX(act(x2[m], k[m], b[m]), act(x3[m], k[m], b[m])));
                    } else if (rn) {
                        const float *x = un + (row * g->w + col) * c, *r = rn + (row * g->w + col) * c;
#pragma omp simd
                        for (long m = 0; m < c; m++) out[m] = relu(k[m] * x[m] + b[m] + r[m]);
                    } else {
                        const float *x = un + (row * g->w + col) * c;
#pragma omp simd
                        for (long m = 0; m < c; m++) out[m] = act(x[m], k[m], b[m]);
                    }
                    if (rms) {
#pragma omp simd
                        for (long m = 0; m < c; m++) {
                            line[m] += out[m];
                            line2[m] += out[m] * out[m];
                        }
                    }
                }
                if (rms) {
                    float *to1 = s1 + (task * g->gw + j) * c, *to2 = rms + (task * g->gw + j) * c;
#pragma omp simd
                    for (long m = 0; m < c; m++) {
                        to1[m] += line[m];
                        to2[m] += line2[m];
                    }
                }
            }
        for (long j = 0; rms && j < g->gw; j++) {
            float share = 1.0f / cell_count(g, i, j), *r = rms + (task * g->gw + j) * c;
            for (long m = 0; m < c; m++) r[m] = sqrtf(r[m] * share);
        }
        free(line);
    }
}

/* The coefficient of each cell with which p, times it, is the gradient that comes through its root mean square: dr / ((r + eps) count). */
void ll_coefficients(const Shape *g, const float *rms, const float *dr, float eps, float *coefficient) {
    for (long task = 0; task < g->n * g->gh; task++)
        for (long j = 0; j < g->gw; j++) {
            long at = (task * g->gw + j) * g->c;
            float count = cell_count(g, task % g->gh, j);
            for (long m = 0; m < g->c; m++) coefficient[at + m] = dr[at + m] / ((rms[at + m] + eps) * count);
        }
}

/* Sums over all positions of dz and of dz * z where the cells' root mean squares alone send a gradient and there is no residual, so that
   dz = coefficient * p: nothing but the sums of p and p^2 in each cell is needed. */
void ll_cell_sums(const Shape *g, const float *coefficient, const float *s1, const float *rms, float *sum, float *sum_z) {
    double *total = calloc(2 * g->c, sizeof(double)), *total_z = total + g->c;
    for (long task = 0; task < g->n * g->gh; task++)
        for (long j = 0; j < g->gw; j++) {
            long at = (task * g->gw + j) * g->c;
            float count = cell_count(g, task % g->gh, j);
            for (long m = 0; m < g->c; m++) {
                float co = coefficient[at + m], r = rms[at + m];
                total[m] += co * s1[at + m];
                total_z[m] += co * (r * r * count);
            }
        }
    for (long m = 0; m < g->c; m++) {
        sum[m] = (float)total[m];
        sum_z[m] = (float)total_z[m];
    }
    free(total);
}

/* The gradient at p is the cell's coefficient times p, plus dp; what is NULL counts as zeros, so that the inner loops have no branch.

   Sums over all positions of dz and of dz * u, dz being the gradient at z: C numbers each. */
void ll_backward_sums(const Shape *g, const float *u, const float *k, const float *b, const float *residual, const float *coefficient,
                      const float *dp, float *sum, float *sum_u) {
    long c = g->c, tasks = g->n * g->gh;
    float *total = calloc(2 * tasks * c, sizeof(float)), *zeros = calloc(c, sizeof(float));
#pragma omp parallel for num_threads(g->threads) schedule(static)
    for (long task = 0; task < tasks; task++) {
        long n = task / g->gh, i = task % g->gh;
        const float *un = u + n * g->h * g->w * c, *rn = residual ? residual + n * g->h * g->w * c : NULL;
        const float *dn = dp ? dp + n * g->ph * g->pw * c : NULL;
        float *t = total + 2 * task * c, *tu = t + c;
        float *line = malloc(2 * c * sizeof(float)), *line_u = line + c;
        for (long row = cell_start(i, g->ph, g->gh); row < cell_start(i + 1, g->ph, g->gh); row++) {
            memset(line, 0, 2 * c * sizeof(float));
            for (long j = 0; j < g->gw; j++) {
                const float *co = coefficient ? coefficient + (task * g->gw + j) * c : zeros;
                for (long col = cell_start(j, g->pw, g->gw); col < cell_start(j + 1, g->pw, g->gw); col++) {
                    const float *d = dn ? dn + (row * g->pw + col) * c : zeros;
                    if (g->pool == 2) {
                        long at[4];
                        window(g, row, col, at);
                        const float *x0 = un + at[0], *x1 = un + at[1], *x2 = un + at[2], *x3 = un + at[3];
#pragma omp simd
                        for (long m = 0; m < c; m++) {
                            float best = act(x0[m], k[m], b[m]), from = x0[m];
                            float a1 = act(x1[m], k[m], b[m]), a2 = act(x2[m], k[m], b[m]), a3 = act(x3[m], k[m], b[m]);
                            from = a1 > best ? x1[m] : from, best = MAX(a1, best);
                            from = a2 > best ? x2[m] : from, best = MAX(a2, best);
                            from = a3 > best ? x3[m] : from, best = MAX(a3, best);
                            float all = co[m] * best + d[m], dz = best > 0 ? all : 0.0f;
                            line[m] += dz;
                            line_u[m] += dz * from;
                        }
                    } else {
                        long at = (row * g->w + col) * c;
                        const float *x = un + at, *r = rn ? rn + at : zeros;
#pragma omp simd
                        for (long m = 0; m < c; m++) {
                            float z = k[m] * x[m] + b[m] + r[m];
                            float all = co[m] * z + d[m], dz = z > 0 ? all : 0.0f;
                            line[m] += dz;
                            line_u[m] += dz * x[m];
                        }
                    }
                }
            }
#pragma omp simd
            for (long m = 0; m < c; m++) {
                t[m] += line[m];
                tu[m] += line_u[m];
            }
        }
        free(line);
    }
    for (long m = 0; m < c; m++) {
        double s = 0, su = 0;
        for (long task = 0; task < tasks; task++) {
            s += total[2 * task * c + m];
            su += total[(2 * task + 1) * c + m];
        }
        sum[m] = (float)s;
        sum_u[m] = (float)su;
    }
    free(zeros);
    free(total);
}

/* du = k dz - c1 - c2 u, and dz itself as the residual's gradient (NULL: not wanted). du may be u itself. */
void ll_backward(const Shape *g, const float *u, const float *k, const float *b, const float *residual, const float *coefficient,
                 const float *dp, const float *c1, const float *c2, float *du, float *dresidual) {
    long c = g->c;
    float *zeros = calloc(c, sizeof(float));
#pragma omp parallel for num_threads(g->threads) schedule(static)
    for (long task = 0; task < g->n * g->gh; task++) {
        long n = task / g->gh, i = task % g->gh;
        float *line = malloc(c * sizeof(float));    /* where a gradient nobody wants goes */
        const float *un = u + n * g->h * g->w * c, *rn = residual ? residual + n * g->h * g->w * c : NULL;
        const float *dn = dp ? dp + n * g->ph * g->pw * c : NULL;
        float *dun = du + n * g->h * g->w * c, *drn = dresidual ? dresidual + n * g->h * g->w * c : NULL;
        for (long row = cell_start(i, g->ph, g->gh); row < cell_start(i + 1, g->ph, g->gh); row++)
            for (long j = 0; j < g->gw; j++) {
                const float *co = coefficient ? coefficient + (task * g->gw + j) * c : zeros;
                for (long col = cell_start(j, g->pw, g->gw); col < cell_start(j + 1, g->pw, g->gw); col++) {
                    const float *d = dn ? dn + (row * g->pw + col) * c : zeros;
                    if (g->pool == 2) {
                        long at[4];
                        int real = window(g, row, col, at);
                        const float *x0 = un + at[0], *x1 = un + at[1], *x2 = un + at[2], *x3 = un + at[3];
                        float *y0 = dun + at[0], *y1 = dun + at[1], *y2 = dun + at[2], *y3 = dun + at[3];
                        if (real == 15) {
#pragma omp simd
                            for (long m = 0; m < c; m++) {
                                float v0 = x0[m], v1 = x1[m], v2 = x2[m], v3 = x3[m];
                                float a0 = act(v0, k[m], b[m]), a1 = act(v1, k[m], b[m]);
                                float a2 = act(v2, k[m], b[m]), a3 = act(v3, k[m], b[m]);
                                float m1 = MAX(a0, a1), m2 = MAX(m1, a2), best = MAX(m2, a3);
                                float all = k[m] * (co[m] * best + d[m]), dz = best > 0 ? all : 0.0f;
                                float t3 = a3 > m2 ? dz : 0.0f, rest = dz - t3;    /* all of dz to the first of the largest */
                                float t2 = a2 > m1 ? rest : 0.0f;
                                rest -= t2;
                                float t1 = a1 > a0 ? rest : 0.0f, t0 = rest - t1;
                                y0[m] = t0 - c1[m] - c2[m] * v0;
                                y1[m] = t1 - c1[m] - c2[m] * v1;
                                y2[m] = t2 - c1[m] - c2[m] * v2;
                                y3[m] = t3 - c1[m] - c2[m] * v3;
                            }
                        } else {
                            for (long m = 0; m < c; m++) {
                                float best = 0, v[4];
                                int arg = 0;
                                for (int q = 0; q < 4; q++) {
                                    v[q] = un[at[q] + m];
                                    float a = act(v[q], k[m], b[m]);
                                    if (a > best) best = a, arg = q;
                                }
                                float dz = best > 0 ? k[m] * (co[m] * best + d[m]) : 0.0f;
                                for (int q = 0; q < 4; q++)
                                    if (real >> q & 1) dun[at[q] + m] = (q == arg ? dz : 0.0f) - c1[m] - c2[m] * v[q];
                            }
                        }
                    } else {
                        long at = (row * g->w + col) * c;
                        const float *x = un + at, *r = rn ? rn + at : zeros;
                        float *y = dun + at, *dr = drn ? drn + at : line;
#pragma omp simd
                        for (long m = 0; m < c; m++) {
                            float v = x[m], z = k[m] * v + b[m] + r[m];
                            float all = co[m] * z + d[m], dz = z > 0 ? all : 0.0f;
                            dr[m] = dz;
                            y[m] = k[m] * dz - c1[m] - c2[m] * v;
                        }
                    }
                }
            }
        free(line);
    }
    free(zeros);
}

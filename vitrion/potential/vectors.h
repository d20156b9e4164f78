/* Vectors of floats, sigmoids and products of matrices. Vectors are GCC's (and clang's) portable
 * vector extension. */

#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
enum { LANES = 16, TILE_VECTORS = 4 };
#elif defined(__AVX__)
enum { LANES = 8, TILE_VECTORS = 2 };
#else
enum { LANES = 4, TILE_VECTORS = 2 };
#endif
enum { HALF = 64, FULL = 2 * HALF, TILE_ROWS = 6, BLOCK = 4 * TILE_ROWS };

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef float block[BLOCK][FULL] __attribute__((aligned(64)));

#define INLINE static inline __attribute__((always_inline))

INLINE vec load(const float *p) { return *(const vec *)p; }
INLINE void store(float *p, vec v) { *(vec *)p = v; }
INLINE void add(float *p, vec v) { store(p, load(p) + v); }

/* 2^r for -0.5 to 0.5, minimax fit to 2e-7. */
INLINE vec power_of_2(vec r) {
    vec p = r * 1.53533533e-4f + 1.33988746e-3f;
    p = p * r + 9.61843739e-3f;
    p = p * r + 5.55033247e-2f;
    p = p * r + 2.40226479e-1f;
    p = p * r + 6.93147203e-1f;
    return p * r + 1.0f;
}

static const float PER_LN2 = 1.44269504f;

#if defined(__AVX512F__)
/* 1 / (1 + exp(-x)) to 4e-7. */
INLINE vec sigmoid(vec x) {
    /* Capped so that the sum stays finite; a NaN passes, as the second operand. */
    __m512 capped = _mm512_min_ps(_mm512_set1_ps(120.0f), (__m512)(x * -PER_LN2));
    vec n = (vec)_mm512_roundscale_ps(capped, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    vec r = (vec)capped - n;
    vec d = (vec)_mm512_scalef_ps((__m512)power_of_2(r), (__m512)n) + 1.0f;
    vec inverse = (vec)_mm512_rcp14_ps((__m512)d);
    return inverse * (2.0f - d * inverse);
}

INLINE void sigmoids(vec a, vec b, vec *sigmoid_a, vec *sigmoid_b) {
    *sigmoid_a = sigmoid(a);
    *sigmoid_b = sigmoid(b);
}

INLINE float sum(vec v) { return _mm512_reduce_add_ps((__m512)v); }
#else
INLINE vec choose(ivec which, vec a, vec b) {
    return (vec)(((ivec)a & which) | ((ivec)b & ~which));
}

/* exp(x) to 2e-7, for |x| <= 40; beyond as at 40, where a sigmoid is 1 or 4e-18. */
INLINE vec exponential(vec x) {
    const vec limit = {0};
    x = choose(x < limit - 40.0f, limit - 40.0f, x);
    x = choose(x > limit + 40.0f, limit + 40.0f, x);
    /* exp(x) = 2^n 2^r: adding 1.5 * 2^23 rounds to an integer n, left in the low bits. */
    const float round = 12582912.0f;
    vec shifted = x * PER_LN2 + round;
    vec r = x * PER_LN2 - (shifted - round);
    return (vec)((ivec)power_of_2(r) + ((ivec)shifted << 23));
}

/* Sigmoids of two vectors at the price of one division. */
INLINE void sigmoids(vec a, vec b, vec *sigmoid_a, vec *sigmoid_b) {
    vec da = exponential(-a) + 1.0f, db = exponential(-b) + 1.0f;
    vec inverse = 1.0f / (da * db);
    *sigmoid_a = inverse * db;
    *sigmoid_b = inverse * da;
}

INLINE float sum(vec v) {
    for (int step = LANES / 2; step; step /= 2) {
        ivec other;
        for (int i = 0; i < LANES; i++) other[i] = i ^ step;
        v += __builtin_shuffle(v, other);
    }
    return v[0];
}
#endif

enum start { FROM_ZERO, FROM_BIAS, FROM_OUTPUT };

/* A tile of y = start + x w, with w[inputs][w_stride]. */
INLINE void multiply_tile(const float *x, int64_t x_stride, int inputs, const float *w,
                          int w_stride, const float *bias, enum start start, float *y,
                          int64_t y_stride, int vectors) {
    vec sums[TILE_ROWS][TILE_VECTORS];
    for (int i = 0; i < TILE_ROWS; i++)
        for (int j = 0; j < vectors; j++)
            sums[i][j] = start == FROM_ZERO   ? (vec){0}
                         : start == FROM_BIAS ? load(bias + j * LANES)
                                              : load(y + i * y_stride + j * LANES);
    for (int k = 0; k < inputs; k++) {
        vec of_input[TILE_VECTORS];
        for (int j = 0; j < vectors; j++) of_input[j] = load(w + k * w_stride + j * LANES);
        for (int i = 0; i < TILE_ROWS; i++) {
            vec value = x[i * x_stride + k] - (vec){0};
            for (int j = 0; j < vectors; j++) sums[i][j] += value * of_input[j];
        }
    }
    for (int i = 0; i < TILE_ROWS; i++)
        for (int j = 0; j < vectors; j++) store(y + i * y_stride + j * LANES, sums[i][j]);
}

/* y[rows][outputs] = start + x[rows][inputs] w[inputs][outputs], outputs a multiple of 32. */
INLINE void multiply(int rows, const float *x, int64_t x_stride, int inputs, const float *w,
                     int outputs, const float *bias, enum start start, float *y, int64_t y_stride) {
    enum { WIDE = TILE_VECTORS * LANES, NARROW = WIDE < 32 ? WIDE : 32 };
    for (int row = 0; row < rows; row += TILE_ROWS) {
        const float *from = x + row * x_stride;
        float *to = y + row * y_stride;
        int column = 0;
        for (; column + WIDE <= outputs; column += WIDE)
            multiply_tile(from, x_stride, inputs, w + column, outputs, bias + column, start,
                          to + column, y_stride, TILE_VECTORS);
        for (; column < outputs; column += NARROW)
            multiply_tile(from, x_stride, inputs, w + column, outputs, bias + column, start,
                          to + column, y_stride, NARROW / LANES);
    }
}

static const float ZEROS[2 * FULL] __attribute__((aligned(64)));

/* y = x w + bias for any number of rows, which lie one after the other; no bias: NULL. */
static void multiply_rows(int rows, const float *x, int inputs, const float *w, int outputs,
                          const float *bias, float *y) {
    float some[TILE_ROWS * 2 * FULL], result[TILE_ROWS * 2 * FULL];
    int rest = rows % TILE_ROWS, whole = rows - rest;
    if (!bias) bias = ZEROS;
    multiply(whole, x, inputs, inputs, w, outputs, bias, FROM_BIAS, y, outputs);
    if (!rest) return;
    memset(some, 0, TILE_ROWS * inputs * sizeof *some);
    memcpy(some, x + whole * inputs, rest * inputs * sizeof *some);
    multiply(TILE_ROWS, some, inputs, inputs, w, outputs, bias, FROM_BIAS, result, outputs);
    memcpy(y + whole * outputs, result, rest * outputs * sizeof *result);
}

/* y += x w, for outputs up to HALF. Summed from zero: each product that is added to a larger y
 * would be rounded as y is. */
INLINE void add_product(int rows, const float *x, int inputs, const float *w, int outputs,
                        float *y) {
    float sums[BLOCK * HALF];
    multiply_rows(rows, x, inputs, w, outputs, NULL, sums);
    for (int k = 0; k < rows * outputs; k += LANES) add(y + k, load(sums + k));
}

/* The message operators of vitrion/potential/operators.py, forward and backward, for float32 on the
 * CPU. Rows (directed edges, angles) are processed in blocks that stay in cache, so that no
 * intermediate result of a row is written to memory: the backward pass computes it again. Sums are
 * over rows in an order that does not depend on the number of threads, so equal input gives equal
 * bits for any number of threads.
 *
 * Compiled by kernels.py. Vectors are GCC's (and clang's) portable vector extension. */

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
INLINE void multiply(int rows, const float *x, int64_t x_stride, int inputs, const float *w, int outputs,
                     const float *bias, enum start start, float *y, int64_t y_stride) {
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

typedef struct {
    int64_t nodes, rows;       /* of angles; or bonds, which are a row in each direction */
    int64_t groups;            /* of angles; 0: rows are bonds */
    const int64_t *group_rows; /* [groups + 1] first row of each group; groups share no node */
    const int64_t *source_node, *target_node; /* [rows] ascending within groups; or [bonds] */
    const float *source, *target;             /* [nodes][FULL] first linear map of node features */
    const float *edge;   /* [rows or bonds][features] */
    int64_t features;    /* 32 or 64 */
    const float *edge_map, *edge_map_back;   /* [features][FULL] and [FULL][features] */
    const float *weight; /* [bonds][HALF], or of the target [nodes][HALF]; NULL: one result per row */
    const float *hidden, *hidden_back;       /* [2][in][out] and [2][out][in]; NULL: no hidden layer */
    const float *hidden_bias, *scale, *shift; /* [FULL] */
    float epsilon;
} operator_t;

/* Gradients by the inputs of the same names, from that by the output; NULL: not needed. */
typedef struct {
    const float *output;
    float *source, *target, *edge, *weight;
} gradients_t;

/* Where the values of a block's rows are. Rows that fill up the last block read zeros and write to
 * a place of their own. */
typedef struct {
    int64_t start;
    int count;
    int64_t source[BLOCK], target[BLOCK], edge[BLOCK];
} rows_t;

static const float ZEROS[FULL] __attribute__((aligned(64)));

INLINE const float *row_of(const float *table, int64_t row, int width) {
    return row < 0 ? ZEROS : table + row * width;
}

INLINE float *output_of(float *table, int64_t row, int width, float *unused) {
    return row < 0 ? unused : table + row * width;
}

/* The rows of a block that begins at row (or bond) start. */
static void fill_rows(const operator_t *o, int64_t start, int64_t end, rows_t *rows) {
    int size = o->groups ? BLOCK : BLOCK / 2;
    rows->start = start;
    rows->count = end - start < size ? (int)(end - start) : size;
    for (int i = 0; i < size; i++) {
        int64_t row = i < rows->count ? start + i : -1;
        rows->edge[i] = row;
        rows->source[i] = row < 0 ? -1 : o->source_node[row];
        rows->target[i] = row < 0 ? -1 : o->target_node[row];
        if (!o->groups) { /* a bond is a row in each direction */
            rows->edge[size + i] = row;
            rows->source[size + i] = rows->target[i];
            rows->target[size + i] = rows->source[i];
        }
    }
}

INLINE int64_t weight_row(const operator_t *o, const rows_t *rows, int i) {
    return o->groups ? rows->target[i] : rows->edge[i];
}

/* Input z of the layer norms for a block of rows. `hidden`: workspace. `slope`: the derivative of
 * the hidden silu, unless NULL. */
INLINE void layer_norm_input(const operator_t *o, const rows_t *rows, block hidden, block slope,
                             block z) {
    float(*first)[FULL] = o->hidden ? hidden : z;
    float padded[BLOCK * HALF], mapped[BLOCK / 2][FULL] __attribute__((aligned(64)));
    int size = o->groups ? BLOCK : BLOCK / 2;
    const float *x = o->edge + rows->start * o->features;
    if (rows->count < size) {
        memset(padded, 0, sizeof padded);
        memcpy(padded, x, rows->count * o->features * sizeof *x);
        x = padded;
    }
    if (!o->groups)
        multiply(size, x, o->features, (int)o->features, o->edge_map, FULL, ZEROS, FROM_ZERO,
                 mapped[0], FULL);
    for (int i = 0; i < BLOCK; i++) {
        const float *source = row_of(o->source, rows->source[i], FULL);
        const float *target = row_of(o->target, rows->target[i], FULL);
        const float *edge = o->groups ? ZEROS : mapped[i % (BLOCK / 2)];
        for (int k = 0; k < FULL; k += LANES)
            store(first[i] + k, load(source + k) + load(target + k) + load(edge + k));
    }
    if (o->groups)
        multiply(size, x, o->features, (int)o->features, o->edge_map, FULL, ZEROS, FROM_OUTPUT,
                 first[0], FULL);
    if (!o->hidden) return;
    for (int i = 0; i < BLOCK; i++)
        for (int k = 0; k < HALF; k += LANES) {
            vec a = load(hidden[i] + k), b = load(hidden[i] + HALF + k), sa, sb;
            sigmoids(a, b, &sa, &sb);
            a *= sa;
            b *= sb;
            store(hidden[i] + k, a);
            store(hidden[i] + HALF + k, b);
            if (slope) {
                store(slope[i] + k, sa + a * (1.0f - sa));
                store(slope[i] + HALF + k, sb + b * (1.0f - sb));
            }
        }
    for (int half = 0; half < 2; half++)
        multiply(BLOCK, hidden[0] + half * HALF, FULL, HALF, o->hidden + half * HALF * HALF, HALF,
                 o->hidden_bias + half * HALF, FROM_BIAS, z[0] + half * HALF, FULL);
}

/* 1 / sqrt(variance + epsilon) of both halves of each row, whose means are zero. */
INLINE void inverse_deviations(const block z, float epsilon, float inverse[2][BLOCK]) {
    for (int i = 0; i < BLOCK; i++)
        for (int half = 0; half < 2; half++) {
            vec squares = {0};
            for (int k = half * HALF; k < (half + 1) * HALF; k += LANES)
                squares += load(z[i] + k) * load(z[i] + k);
            inverse[half][i] = sum(squares);
        }
    for (int half = 0; half < 2; half++)
        for (int i = 0; i < BLOCK; i++)
            inverse[half][i] = 1.0f / sqrtf(inverse[half][i] * (1.0f / HALF) + epsilon);
}

static void forward_rows(const operator_t *o, int64_t begin, int64_t end, float *out) {
    block hidden, z;
    float inverse[2][BLOCK], unused[HALF];
    rows_t rows;
    for (int64_t start = begin; start < end; start += rows.count) {
        fill_rows(o, start, end, &rows);
        layer_norm_input(o, &rows, hidden, NULL, z);
        inverse_deviations(z, o->epsilon, inverse);
        for (int i = 0; i < BLOCK; i++) {
            const float *weight = o->weight ? row_of(o->weight, weight_row(o, &rows, i), HALF) : NULL;
            float *to = output_of(out, weight ? rows.source[i] : rows.edge[i], HALF, unused);
#pragma GCC unroll 4
            for (int k = 0; k < HALF; k += LANES) {
                vec core = load(z[i] + k) * inverse[0][i] * load(o->scale + k) + load(o->shift + k);
                vec gate = load(z[i] + HALF + k) * inverse[1][i] * load(o->scale + HALF + k) +
                           load(o->shift + HALF + k);
                vec sc, sg;
                sigmoids(core, gate, &sc, &sg);
                vec value = core * sc * sg;
                if (weight) value = load(to + k) + value * load(weight + k);
                store(to + k, value);
            }
        }
    }
}

static void backward_rows(const operator_t *o, int64_t begin, int64_t end, const gradients_t *to) {
    block hidden, slope, z, grad;
    float inverse[2][BLOCK], factor[2][BLOCK], unused[FULL];
    rows_t rows;
    memset(unused, 0, sizeof unused);
    for (int64_t start = begin; start < end; start += rows.count) {
        fill_rows(o, start, end, &rows);
        layer_norm_input(o, &rows, hidden, slope, z);
        inverse_deviations(z, o->epsilon, inverse);
        /* Through the product of silu and sigmoid; `factor`: the gradient's component along z. */
        for (int i = 0; i < BLOCK; i++) {
            int64_t weight_at = weight_row(o, &rows, i);
            const float *weight = o->weight ? row_of(o->weight, weight_at, HALF) : NULL;
            float *to_weight = weight ? output_of(to->weight, weight_at, HALF, unused) : unused;
            const float *from = row_of(to->output, weight ? rows.source[i] : rows.edge[i], HALF);
            vec core_along = {0}, gate_along = {0};
#pragma GCC unroll 4
            for (int k = 0; k < HALF; k += LANES) {
                vec core_z = load(z[i] + k), gate_z = load(z[i] + HALF + k);
                vec core_scale = load(o->scale + k), gate_scale = load(o->scale + HALF + k);
                vec core = core_z * inverse[0][i] * core_scale + load(o->shift + k);
                vec gate = gate_z * inverse[1][i] * gate_scale + load(o->shift + HALF + k);
                vec sc, sg;
                sigmoids(core, gate, &sc, &sg);
                vec value = core * sc, p = load(from + k) * sg;
                if (weight) {
                    add(to_weight + k, p * value);
                    p *= load(weight + k);
                }
                vec core_grad = p * (sc + value * (1.0f - sc)) * core_scale;
                vec gate_grad = p * value * (1.0f - sg) * gate_scale;
                core_along += core_grad * core_z;
                gate_along += gate_grad * gate_z;
                store(grad[i] + k, core_grad);
                store(grad[i] + HALF + k, gate_grad);
            }
            factor[0][i] = sum(core_along);
            factor[1][i] = sum(gate_along);
        }
        /* Through the layer norms. The mean is not subtracted: the centred linear map before them
         * has no component along it. */
        for (int half = 0; half < 2; half++)
            for (int i = 0; i < BLOCK; i++)
                factor[half][i] *= inverse[half][i] * inverse[half][i] * (1.0f / HALF);
        for (int i = 0; i < BLOCK; i++)
            for (int half = 0; half < 2; half++)
                for (int k = half * HALF; k < (half + 1) * HALF; k += LANES)
                    store(grad[i] + k, (load(grad[i] + k) - load(z[i] + k) * factor[half][i]) *
                                           inverse[half][i]);
        if (o->hidden)
            for (int half = 0; half < 2; half++)
                multiply(BLOCK, grad[0] + half * HALF, FULL, HALF,
                         o->hidden_back + half * HALF * HALF, HALF, ZEROS, FROM_ZERO,
                         z[0] + half * HALF, FULL);
        for (int i = 0; i < BLOCK; i++) {
            float *target = to->target ? output_of(to->target, rows.target[i], FULL, unused) : unused;
            for (int k = 0; k < FULL; k += LANES) {
                vec value = load(grad[i] + k);
                if (o->hidden) value = load(z[i] + k) * load(slope[i] + k);
                store(grad[i] + k, value);
                add(target + k, value);
            }
        }
        if (to->source)
            for (int i = 0, next; i < BLOCK; i = next) { /* runs of rows with one source */
                for (next = i + 1; next < BLOCK && rows.source[next] == rows.source[i];) next++;
                float *source = output_of(to->source, rows.source[i], FULL, unused);
                for (int k = 0; k < FULL; k += LANES) {
                    vec total = load(source + k);
                    for (int j = i; j < next; j++) total += load(grad[j] + k);
                    store(source + k, total);
                }
            }
        if (!o->groups) /* both directions of a bond share its features */
            for (int i = 0; i < BLOCK / 2; i++)
                for (int k = 0; k < FULL; k += LANES) add(grad[i] + k, load(grad[BLOCK / 2 + i] + k));
        int size = o->groups ? BLOCK : BLOCK / 2;
        float padded[BLOCK * HALF], *edge = to->edge + start * o->features;
        multiply(size, grad[0], FULL, FULL, o->edge_map_back, (int)o->features, ZEROS, FROM_ZERO,
                 rows.count < size ? padded : edge, o->features);
        if (rows.count < size) memcpy(edge, padded, rows.count * o->features * sizeof *edge);
    }
}

/* First row of a part of the angles: parts have about equally many and end where a group ends. */
static int64_t first_row(const operator_t *o, int64_t part, int64_t parts) {
    int64_t wanted = o->rows * part / parts, low = 0, high = o->groups;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (o->group_rows[middle] < wanted) low = middle + 1;
        else high = middle;
    }
    return o->group_rows[low];
}

/* Sum of the tables of all parts, in their order; the first is also the result. */
static void sum_tables(float *tables, int64_t parts, int64_t size, int64_t threads) {
#pragma omp parallel for num_threads((int)threads) if (threads > 1) schedule(static)
    for (int64_t start = 0; start < size; start += FULL)
        for (int64_t part = 1; part < parts; part++)
            for (int k = 0; k < FULL && start + k < size; k += LANES)
                add(tables + start + k, load(tables + part * size + start + k));
}

/* Parts of the angles write to nodes of their own. Parts of the bonds add to tables of their own, of
 * which there is a number that does not depend on that of the threads. */

/* out: zeros, [rows or nodes][HALF], of bonds [parts][nodes][HALF]; the first holds the result. */
void forward(const operator_t *o, float *out, int64_t parts, int64_t threads) {
#pragma omp parallel for num_threads((int)threads) if (threads > 1) schedule(dynamic, 1)
    for (int64_t part = 0; part < parts; part++)
        if (o->groups)
            forward_rows(o, first_row(o, part, parts), first_row(o, part + 1, parts), out);
        else
            forward_rows(o, o->rows * part / parts, o->rows * (part + 1) / parts,
                         out + part * o->nodes * HALF);
    if (!o->groups) sum_tables(out, parts, o->nodes * HALF, threads);
}

/* to: source, target and weight zeros; of bonds source and target are [parts][nodes][FULL], the
 * first holds the result. */
void backward(const operator_t *o, const gradients_t *to, int64_t parts, int64_t threads) {
#pragma omp parallel for num_threads((int)threads) if (threads > 1) schedule(dynamic, 1)
    for (int64_t part = 0; part < parts; part++)
        if (o->groups)
            backward_rows(o, first_row(o, part, parts), first_row(o, part + 1, parts), to);
        else {
            gradients_t own = *to;
            if (own.source) own.source += part * o->nodes * FULL;
            if (own.target) own.target += part * o->nodes * FULL;
            backward_rows(o, o->rows * part / parts, o->rows * (part + 1) / parts, &own);
        }
    if (o->groups) return;
    if (to->source) sum_tables(to->source, parts, o->nodes * FULL, threads);
    if (to->target) sum_tables(to->target, parts, o->nodes * FULL, threads);
}

/* Bases of bond lengths and angles, in double precision up to the last rounding: phases reach
 * 100 rad. */

enum { DOUBLES = LANES / 2, WAVES = 64 };
typedef double dvec __attribute__((vector_size(8 * DOUBLES), aligned(8), may_alias));
typedef int64_t lvec __attribute__((vector_size(8 * DOUBLES), aligned(8), may_alias));

INLINE dvec load_double(const double *p) { return *(const dvec *)p; }
INLINE void store_double(double *p, dvec v) { *(dvec *)p = v; }

INLINE dvec choose_double(lvec which, dvec a, dvec b) {
    return (dvec)(((lvec)a & which) | ((lvec)b & ~which));
}

/* To 1e-15 for |x| < 1e5: reduction by pi/2 in two parts, then fdlibm's polynomials. */
INLINE void sine_cosine(dvec x, dvec *sine, dvec *cosine) {
    const double round = 6755399441055744.0; /* 1.5 * 2^52 leaves an integer in the low bits */
    dvec shifted = x * 0.63661977236758134308 + round;
    dvec n = shifted - round;
    dvec r = x - n * 1.57079632673412561417e+00;
    r -= n * 6.07710050650619224932e-11;
    dvec r2 = r * r;
    dvec s = r2 * 1.58969099521155010221e-10 - 2.50507602534068634195e-08;
    s = s * r2 + 2.75573137070700676789e-06;
    s = s * r2 - 1.98412698298579493134e-04;
    s = s * r2 + 8.33333333332248946124e-03;
    s = s * r2 - 1.66666666666666324348e-01;
    s = r + r * r2 * s;
    dvec c = r2 * -1.13596475577881948265e-11 + 2.08757232129817482790e-09;
    c = c * r2 - 2.75573143513906633035e-07;
    c = c * r2 + 2.48015872894767294178e-05;
    c = c * r2 - 1.38888888888741095749e-03;
    c = c * r2 + 4.16666666666666019037e-02;
    c = 1.0 - 0.5 * r2 + r2 * r2 * c;
    lvec quadrant = (lvec)shifted, odd = -(quadrant & 1);
    *sine = (dvec)((lvec)choose_double(odd, c, s) ^ ((quadrant & 2) << 62));
    *cosine = (dvec)((lvec)choose_double(odd, s, c) ^ (((quadrant + 1) & 2) << 62));
}

/* Of phases frequencies * x, n a multiple of DOUBLES. */
INLINE void waves(double x, const double *frequencies, int n, double *sine, double *cosine) {
    for (int k = 0; k < n; k += DOUBLES) {
        dvec s, c;
        sine_cosine(load_double(frequencies + k) * x, &s, &c);
        store_double(sine + k, s);
        store_double(cosine + k, c);
    }
}

typedef struct {
    const double *frequencies; /* [n], multiples of pi where nothing was trained */
    int64_t n, power;          /* n a multiple of 8, at most 64 */
    double cutoff, norm;
} radial_t;

/* Smooth cutoff over r, and its derivative, times the norm (Gasteiger et al., ICLR 2020). */
INLINE void envelope(const radial_t *basis, double r, double *value, double *slope) {
    double x = r / basis->cutoff, p = (double)basis->power, to_p = x < 1.0 ? basis->norm : 0.0;
    double inside = to_p;
    for (int64_t k = 0; k < basis->power; k++) to_p *= x;
    double a = -(p + 1) * (p + 2) / 2, b = p * (p + 2), c = -p * (p + 1) / 2;
    double smooth = inside + to_p * (a + x * (b + x * c));
    double smooth_slope = to_p / x * (p * a + x * ((p + 1) * b + x * (p + 2) * c));
    *value = smooth / r;
    *slope = smooth_slope / (basis->cutoff * r) - smooth / (r * r);
}

/* out[rows][n]: sin(f r / cutoff) / r with its smooth cutoff. */
void radial_forward(const radial_t *basis, int64_t rows, const double *r, float *out, int64_t threads) {
#pragma omp parallel for num_threads((int)threads) if (threads > 1) schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        double sine[WAVES], cosine[WAVES], value, slope;
        waves(r[row] / basis->cutoff, basis->frequencies, (int)basis->n, sine, cosine);
        envelope(basis, r[row], &value, &slope);
        for (int k = 0; k < basis->n; k++) out[row * basis->n + k] = (float)(value * sine[k]);
    }
}

/* grad_r[rows] from the gradient by the output. */
void radial_backward(const radial_t *basis, int64_t rows, const double *r, const float *grad,
                     double *grad_r, int64_t threads) {
#pragma omp parallel for num_threads((int)threads) if (threads > 1) schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        double sine[WAVES], cosine[WAVES], value, slope;
        waves(r[row] / basis->cutoff, basis->frequencies, (int)basis->n, sine, cosine);
        envelope(basis, r[row], &value, &slope);
        dvec total = {0};
        value /= basis->cutoff;
        for (int k = 0; k < basis->n; k += DOUBLES) {
            dvec g;
            for (int i = 0; i < DOUBLES; i++) g[i] = grad[row * basis->n + k + i];
            total += g * (load_double(sine + k) * slope +
                          load_double(cosine + k) * load_double(basis->frequencies + k) * value);
        }
        double sum_of_lanes = 0;
        for (int i = 0; i < DOUBLES; i++) sum_of_lanes += total[i];
        grad_r[row] = sum_of_lanes;
    }
}

typedef struct {
    const double *frequencies; /* [order], then zeros up to a multiple of 8 */
    int64_t order, columns;    /* of the basis: 1 + 2 order, then zeros */
    int64_t rows, groups;
    const int64_t *group_rows, *source_node, *target_node; /* as in operator_t */
    const double *directions;                              /* [nodes][3] */
} angular_t;

static const double PER_ROOT_PI = 0.56418958354775628695, GUARD = 1.0 - 1e-6; /* chgnet's, of acos */

INLINE double cosine_of(const angular_t *o, int64_t row) {
    const double *a = o->directions + 3 * o->source_node[row];
    const double *b = o->directions + 3 * o->target_node[row];
    return (a[0] * b[0] + a[1] * b[1] + a[2] * b[2]) * GUARD;
}

/* out[rows][columns]: 1 / sqrt(2), sin(f theta), cos(f theta), zeros, over sqrt(pi). */
void angular_forward(const angular_t *o, float *out, int64_t threads) {
    int n = (int)((o->order + 7) / 8 * 8);
#pragma omp parallel for num_threads((int)threads) if (threads > 1) schedule(static)
    for (int64_t row = 0; row < o->rows; row++) {
        double sine[WAVES], cosine[WAVES];
        float *to = out + row * o->columns;
        waves(acos(cosine_of(o, row)), o->frequencies, n, sine, cosine);
        to[0] = (float)(PER_ROOT_PI * sqrt(0.5));
        for (int k = 0; k < o->order; k++) to[1 + k] = (float)(PER_ROOT_PI * sine[k]);
        for (int k = 0; k < o->order; k++) to[1 + o->order + k] = (float)(PER_ROOT_PI * cosine[k]);
        for (int k = 1 + 2 * (int)o->order; k < o->columns; k++) to[k] = 0.0f;
    }
}

/* grad_directions[nodes][3], zeros, from the gradient by the output. */
void angular_backward(const angular_t *o, const float *grad, double *grad_directions, int64_t parts,
                      int64_t threads) {
    int n = (int)((o->order + 7) / 8 * 8);
    operator_t angles = {.rows = o->rows, .groups = o->groups, .group_rows = o->group_rows};
#pragma omp parallel for num_threads((int)threads) if (threads > 1) schedule(dynamic, 1)
    for (int64_t part = 0; part < parts; part++) {
        int64_t end = first_row(&angles, part + 1, parts);
        for (int64_t row = first_row(&angles, part, parts); row < end; row++) {
            double sine[WAVES], cosine[WAVES], c = cosine_of(o, row), slope = 0;
            const float *of_sine = grad + row * o->columns + 1, *of_cosine = of_sine + o->order;
            waves(acos(c), o->frequencies, n, sine, cosine);
            for (int k = 0; k < o->order; k++)
                slope += o->frequencies[k] * (of_sine[k] * cosine[k] - of_cosine[k] * sine[k]);
            slope *= -PER_ROOT_PI * GUARD / sqrt((1.0 - c) * (1.0 + c));
            int64_t a = 3 * o->source_node[row], b = 3 * o->target_node[row];
            for (int k = 0; k < 3; k++) {
                grad_directions[a + k] += slope * o->directions[b + k];
                grad_directions[b + k] += slope * o->directions[a + k];
            }
        }
    }
}

typedef struct {
    int64_t rows, inputs, outputs; /* inputs at most FULL, outputs a multiple of 32 up to FULL */
    const float *map, *bias;       /* [inputs][outputs]; NULL: none */
} linear_t;

/* y[rows][outputs] = x[rows][inputs] map + bias. */
void linear(const linear_t *o, const float *x, float *y, int64_t threads) {
    int inputs = (int)o->inputs, outputs = (int)o->outputs;
    /* Less than 0.1 ms of work is not worth waking a thread. */
    int share = threads > 1 && o->rows * inputs * outputs > 1 << 22;
#pragma omp parallel for num_threads((int)threads) if (share) schedule(dynamic, 16)
    for (int64_t start = 0; start < o->rows; start += BLOCK) {
        float padded[BLOCK * FULL], result[BLOCK * FULL];
        int count = o->rows - start < BLOCK ? (int)(o->rows - start) : BLOCK;
        const float *from = x + start * inputs;
        float *to = y + start * outputs;
        if (count < BLOCK) {
            memset(padded, 0, sizeof padded);
            from = memcpy(padded, from, count * inputs * sizeof *from);
        }
        multiply(BLOCK, from, inputs, inputs, o->map, outputs, o->bias ? o->bias : ZEROS, FROM_BIAS,
                 count < BLOCK ? result : to, outputs);
        if (count < BLOCK) memcpy(to, result, count * outputs * sizeof *to);
    }
}

/* First linear maps of what angles take from their nodes, the short directed edges: */
typedef struct {
    int64_t bonds, nodes;
    const int64_t *nodes_of_bond;    /* [bonds][2] */
    const int64_t *center;           /* [nodes] ascending */
    const float *map, *map_back;     /* [HALF][2 FULL] and [2 FULL][HALF], to source and target */
} nodes_t;

/* source[node] = (bond map)[:FULL] + of_center[center of node]; target[node] = (bond map)[FULL:]. */
void nodes_forward(const nodes_t *o, const float *bond, const float *of_center, float *source,
                   float *target, int64_t threads) {
#pragma omp parallel for num_threads((int)threads) if (threads > 1) schedule(static)
    for (int64_t start = 0; start < o->bonds; start += BLOCK) {
        float padded[BLOCK * HALF], mapped[BLOCK][2 * FULL];
        int count = o->bonds - start < BLOCK ? (int)(o->bonds - start) : BLOCK;
        const float *x = bond + start * HALF;
        if (count < BLOCK) {
            memset(padded, 0, sizeof padded);
            x = memcpy(padded, x, count * HALF * sizeof *x);
        }
        multiply(BLOCK, x, HALF, HALF, o->map, 2 * FULL, o->map, FROM_ZERO, mapped[0], 2 * FULL);
        for (int i = 0; i < count; i++)
            for (int side = 0; side < 2; side++) {
                int64_t node = o->nodes_of_bond[2 * (start + i) + side];
                const float *center = of_center + o->center[node] * FULL;
                for (int k = 0; k < FULL; k += LANES) {
                    store(source + node * FULL + k, load(mapped[i] + k) + load(center + k));
                    store(target + node * FULL + k, load(mapped[i] + FULL + k));
                }
            }
    }
}

/* grad_of_center: zeros. */
void nodes_backward(const nodes_t *o, const float *grad_source, const float *grad_target,
                    float *grad_bond, float *grad_of_center, int64_t threads) {
#pragma omp parallel for num_threads((int)threads) if (threads > 1) schedule(static)
    for (int64_t start = 0; start < o->bonds; start += BLOCK) {
        float padded[BLOCK * HALF], mapped[BLOCK][2 * FULL];
        int count = o->bonds - start < BLOCK ? (int)(o->bonds - start) : BLOCK;
        memset(mapped, 0, sizeof mapped);
        for (int i = 0; i < count; i++)
            for (int side = 0; side < 2; side++) {
                int64_t node = o->nodes_of_bond[2 * (start + i) + side];
                for (int k = 0; k < FULL; k += LANES) {
                    add(mapped[i] + k, load(grad_source + node * FULL + k));
                    add(mapped[i] + FULL + k, load(grad_target + node * FULL + k));
                }
            }
        float *to = grad_bond + start * HALF;
        multiply(BLOCK, mapped[0], 2 * FULL, 2 * FULL, o->map_back, HALF, ZEROS, FROM_ZERO,
                 count < BLOCK ? padded : to, HALF);
        if (count < BLOCK) memcpy(to, padded, count * HALF * sizeof *to);
    }
    for (int64_t node = 0; node < o->nodes; node++)
        for (int k = 0; k < FULL; k += LANES)
            add(grad_of_center + o->center[node] * FULL + k, load(grad_source + node * FULL + k));
}

/* The message operators of vitrion/potential/operators.py, forward and backward, for float32 on
 * the CPU. Rows (neighbours, angles) go through in small blocks that stay in cache, so that nothing
 * of a row's inside is ever written to memory: the backward pass makes it again. A row's arithmetic
 * does not depend on its block or thread, so equal input gives equal bits for any thread count.
 *
 * Compiled by kernels.py. Vectors are GCC's (and clang's) portable vector extension. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
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

static inline vec load(const float *p) { return *(const vec *)p; }
static inline void store(float *p, vec v) { *(vec *)p = v; }

static inline vec choose(ivec which, vec a, vec b) {
    return (vec)(((ivec)a & which) | ((ivec)b & ~which));
}

/* exp(x) to 2e-7, for |x| <= 40; beyond as at 40, where a sigmoid is 1 or 4e-18. */
static inline vec exponential(vec x) {
    const vec limit = {0};
    x = choose(x < limit - 40.0f, limit - 40.0f, x);
    x = choose(x > limit + 40.0f, limit + 40.0f, x);
    /* exp(x) = 2^n 2^r: adding 1.5 * 2^23 rounds to an integer n, left in the low bits. */
    const float per_ln2 = 1.44269504f, round = 12582912.0f;
    vec shifted = x * per_ln2 + round;
    vec r = x * per_ln2 - (shifted - round);
    vec p = r * 1.53533533e-4f + 1.33988746e-3f; /* minimax fit of 2^r, -0.5 to 0.5 */
    p = p * r + 9.61843739e-3f;
    p = p * r + 5.55033247e-2f;
    p = p * r + 2.40226479e-1f;
    p = p * r + 6.93147203e-1f;
    p = p * r + 1.0f;
    return (vec)((ivec)p + ((ivec)shifted << 23));
}

/* Sigmoids of two vectors at the price of one division. */
static inline void sigmoids(vec a, vec b, vec *sigmoid_a, vec *sigmoid_b) {
    vec da = exponential(-a) + 1.0f, db = exponential(-b) + 1.0f;
    vec inverse = 1.0f / (da * db);
    *sigmoid_a = inverse * db;
    *sigmoid_b = inverse * da;
}

/* The sum of all lanes, in every lane. */
static inline vec sum(vec v) {
    for (int step = LANES / 2; step; step /= 2) {
        ivec other;
        for (int i = 0; i < LANES; i++) other[i] = i ^ step;
        v += __builtin_shuffle(v, other);
    }
    return v;
}

/* y[:, :64] = bias + x[:, :64] w, with w[in][out]. */
static inline void multiply(const float *x, const float *w, const float *bias, float *y) {
    for (int row = 0; row < BLOCK; row += TILE_ROWS)
        for (int column = 0; column < HALF; column += TILE_VECTORS * LANES) {
            vec sums[TILE_ROWS][TILE_VECTORS];
            for (int i = 0; i < TILE_ROWS; i++)
                for (int j = 0; j < TILE_VECTORS; j++)
                    sums[i][j] = bias ? load(bias + column + j * LANES) : (vec){0};
            for (int k = 0; k < HALF; k++)
                for (int i = 0; i < TILE_ROWS; i++)
                    for (int j = 0; j < TILE_VECTORS; j++)
                        sums[i][j] += x[(row + i) * FULL + k] * load(w + k * HALF + column + j * LANES);
            for (int i = 0; i < TILE_ROWS; i++)
                for (int j = 0; j < TILE_VECTORS; j++)
                    store(y + (row + i) * FULL + column + j * LANES, sums[i][j]);
        }
}

typedef struct {
    int64_t nodes, rows;
    int64_t summed;             /* messages: weighted, one result a node; else one result a row */
    int64_t linked;             /* a row shares between and weight with its reverse; else between is
                                 * the row's own and weight the target's */
    const int64_t *offsets, *source, *target, *reverse;
    const int64_t *link;        /* what a row shares */
    const float *own, *other, *between;
    const float *weight;        /* only where the rows are summed */
    const float *hidden;        /* [2][in][out], NULL: no hidden layer */
    const float *hidden_back;   /* [2][out][in] */
    const float *hidden_bias, *scale, *shift;
    float epsilon;
} operator_t;

static inline int64_t weight_row(const operator_t *o, int64_t row) {
    return o->linked ? o->link[row] : o->target[row];
}

/* First linear map of a block's rows, and what enters the layer norms; in `slope`, where asked, the
 * derivative of the hidden silu between. */
static inline void enter(const operator_t *o, int64_t start, int count, block hidden, block slope,
                         block z) {
    float(*first)[FULL] = o->hidden ? hidden : z;
    for (int i = 0; i < count; i++) {
        int64_t row = start + i;
        const float *own = o->own + o->source[row] * FULL;
        const float *other = o->other + o->target[row] * FULL;
        const float *between = o->between + (o->linked ? o->link[row] : row) * FULL;
        for (int k = 0; k < FULL; k += LANES)
            store(first[i] + k, load(own + k) + load(other + k) + load(between + k));
    }
    if (!o->hidden) return;
    for (int i = 0; i < count; i++)
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
        multiply(hidden[0] + half * HALF, o->hidden + half * HALF * HALF,
                 o->hidden_bias + half * HALF, z[0] + half * HALF);
}

/* One over the deviation of a half whose mean is zero. */
static inline vec deviation(const float *z, float epsilon) {
    vec squares = {0};
    for (int k = 0; k < HALF; k += LANES) squares += load(z + k) * load(z + k);
    return (vec){0} + 1.0f / sqrtf(sum(squares)[0] * (1.0f / HALF) + epsilon);
}

static void forward_rows(const operator_t *o, int64_t begin, int64_t end, float *out) {
    block hidden, z;
    memset(hidden, 0, sizeof hidden);
    for (int64_t start = begin; start < end; start += BLOCK) {
        int count = end - start < BLOCK ? (int)(end - start) : BLOCK;
        enter(o, start, count, hidden, NULL, z);
        for (int i = 0; i < count; i++) {
            int64_t row = start + i;
            vec core_inverse = deviation(z[i], o->epsilon);
            vec gate_inverse = deviation(z[i] + HALF, o->epsilon);
            const float *weight = o->summed ? o->weight + weight_row(o, row) * HALF : NULL;
            float *to = out + (weight ? o->source[row] : row) * HALF;
            for (int k = 0; k < HALF; k += LANES) {
                vec core = load(z[i] + k) * core_inverse * load(o->scale + k) + load(o->shift + k);
                vec gate = load(z[i] + HALF + k) * gate_inverse * load(o->scale + HALF + k) +
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

/* Through a layer norm: from the gradient by x/|x| to that by x, but for its mean, which the
 * centred linear map before takes out. */
static inline void through_norm(float *pull, const float *z, vec inverse) {
    vec along = {0};
    for (int k = 0; k < HALF; k += LANES) along += load(pull + k) * load(z + k);
    along = sum(along) * inverse * inverse * (1.0f / HALF);
    for (int k = 0; k < HALF; k += LANES)
        store(pull + k, (load(pull + k) - load(z + k) * along) * inverse);
}

static void backward_rows(const operator_t *o, int64_t begin, int64_t end, const float *pull,
                          float *pull_own, float *pull_row, float *pull_weight) {
    block hidden, slope, z, d;
    memset(hidden, 0, sizeof hidden);
    memset(d, 0, sizeof d);
    for (int64_t start = begin; start < end; start += BLOCK) {
        int count = end - start < BLOCK ? (int)(end - start) : BLOCK;
        enter(o, start, count, hidden, slope, z);
        for (int i = 0; i < count; i++) {
            int64_t row = start + i;
            vec core_inverse = deviation(z[i], o->epsilon);
            vec gate_inverse = deviation(z[i] + HALF, o->epsilon);
            const float *weight = o->summed ? o->weight + weight_row(o, row) * HALF : NULL;
            const float *from = pull + (weight ? o->source[row] : row) * HALF;
            for (int k = 0; k < HALF; k += LANES) {
                vec core_scale = load(o->scale + k), gate_scale = load(o->scale + HALF + k);
                vec core = load(z[i] + k) * core_inverse * core_scale + load(o->shift + k);
                vec gate = load(z[i] + HALF + k) * gate_inverse * gate_scale +
                           load(o->shift + HALF + k);
                vec sc, sg, p = load(from + k);
                sigmoids(core, gate, &sc, &sg);
                vec value = core * sc;
                if (weight) {
                    store(pull_weight + row * HALF + k, p * value * sg);
                    p *= load(weight + k);
                }
                p *= sg;
                store(d[i] + k, p * (sc + value * (1.0f - sc)) * core_scale);
                store(d[i] + HALF + k, p * value * (1.0f - sg) * gate_scale);
            }
            through_norm(d[i], z[i], core_inverse);
            through_norm(d[i] + HALF, z[i] + HALF, gate_inverse);
        }
        if (o->hidden)
            for (int half = 0; half < 2; half++)
                multiply(d[0] + half * HALF, o->hidden_back + half * HALF * HALF, NULL,
                         z[0] + half * HALF);
        float(*back)[FULL] = o->hidden ? z : d;
        for (int i = 0; i < count; i++) {
            float *to_row = pull_row + (start + i) * FULL;
            float *to_own = pull_own + o->source[start + i] * FULL;
            for (int k = 0; k < FULL; k += LANES) {
                vec p = load(back[i] + k);
                if (o->hidden) p *= load(slope[i] + k);
                store(to_row + k, p);
                store(to_own + k, load(to_own + k) + p);
            }
        }
    }
}

/* First node of part `part` of `parts`, which have about equally many rows. */
static int64_t boundary(const operator_t *o, int part, int parts) {
    int64_t wanted = o->rows * part / parts, low = 0, high = o->nodes;
    if (part == parts) return o->nodes;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (o->offsets[middle] < wanted) low = middle + 1;
        else high = middle;
    }
    return low;
}

void forward(const operator_t *o, float *out, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++) {
        int64_t low = boundary(o, part, threads), high = boundary(o, part + 1, threads);
        if (o->summed) memset(out + low * HALF, 0, (high - low) * HALF * sizeof *out);
        forward_rows(o, o->offsets[low], o->offsets[high], out);
    }
}

/* Sum over the reverse rows of each node: the gradient by what a row took from its target. */
static void gather_nodes(const operator_t *o, int64_t low, int64_t high, int width,
                         const float *rows, float *out) {
    for (int64_t node = low; node < high; node++) {
        float *to = out + node * width;
        memset(to, 0, width * sizeof *to);
        for (int64_t row = o->offsets[node]; row < o->offsets[node + 1]; row++) {
            const float *from = rows + o->reverse[row] * width;
            for (int k = 0; k < width; k += LANES) store(to + k, load(to + k) + load(from + k));
        }
    }
}

/* Sum of a row and its reverse: the gradient by the link they share. */
static void gather_links(const operator_t *o, int64_t begin, int64_t end, int width,
                         const float *rows, float *out) {
    for (int64_t row = begin; row < end; row++) {
        if (o->reverse[row] < row) continue;
        const float *there = rows + row * width, *back = rows + o->reverse[row] * width;
        float *to = out + o->link[row] * width;
        for (int k = 0; k < width; k += LANES) store(to + k, load(there + k) + load(back + k));
    }
}

/* Gradients by everything that depends on positions, from `pull`, the gradient by the outcome.
 * pull_row, pull_weight_row: (rows, 128) and (rows, 64) workspace; without links the first is the
 * gradient by between. */
void backward(const operator_t *o, const float *pull, float *pull_own, float *pull_other,
              float *pull_row, float *pull_between, float *pull_weight_row, float *pull_weight,
              int threads) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++) {
        int64_t low = boundary(o, part, threads), high = boundary(o, part + 1, threads);
        memset(pull_own + low * FULL, 0, (high - low) * FULL * sizeof *pull_own);
        backward_rows(o, o->offsets[low], o->offsets[high], pull, pull_own, pull_row,
                      pull_weight_row);
    }
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++) {
        int64_t low = boundary(o, part, threads), high = boundary(o, part + 1, threads);
        gather_nodes(o, low, high, FULL, pull_row, pull_other);
        if (o->linked) {
            gather_links(o, o->offsets[low], o->offsets[high], FULL, pull_row, pull_between);
            gather_links(o, o->offsets[low], o->offsets[high], HALF, pull_weight_row, pull_weight);
        } else if (o->summed)
            gather_nodes(o, low, high, HALF, pull_weight_row, pull_weight);
    }
}

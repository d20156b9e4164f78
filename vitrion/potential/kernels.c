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

static inline vec clamp(vec x, float low, float high) {
    vec a = x - x + low, b = x - x + high;
    ivec under = x < a, over = x > b;
    x = (vec)(((ivec)a & under) | ((ivec)x & ~under));
    return (vec)(((ivec)b & over) | ((ivec)x & ~over));
}

/* exp(x) for |x| <= 40, beyond as at 40 (sigmoid is 1 or 4e-18 there); Cephes' polynomial. */
static inline vec exponential(vec x) {
    x = clamp(x, -40.0f, 40.0f);
    vec shifted = x * 1.44269504088896341f + 12582912.0f; /* 1.5 * 2^23: rounds to an integer */
    vec n = shifted - 12582912.0f;
    vec r = x - n * 0.693359375f - n * -2.12194440e-4f;
    vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return (vec)((ivec)p + ((ivec)shifted << 23));
}

/* Sigmoids of two vectors at the price of one division. */
static inline void sigmoids(vec a, vec b, vec *sigmoid_a, vec *sigmoid_b) {
    vec da = exponential(-a) + 1.0f, db = exponential(-b) + 1.0f;
    vec inverse = 1.0f / (da * db);
    *sigmoid_a = inverse * db;
    *sigmoid_b = inverse * da;
}

static inline float sum(vec v) {
    float s = 0;
    for (int i = 0; i < LANES; i++) s += v[i];
    return s;
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
    const int64_t *offsets, *source, *target, *reverse;
    const int64_t *link;        /* row of between and weight; NULL: the row itself, and target */
    const float *own, *other, *between;
    const float *weight;        /* NULL: no weight and no sum over rows */
    const float *hidden;        /* [2][in][out], NULL: no hidden layer */
    const float *hidden_back;   /* [2][out][in] */
    const float *hidden_bias, *scale, *shift;
    float epsilon;
} operator_t;

static inline int64_t weight_row(const operator_t *o, int64_t row) {
    return o->link ? o->link[row] : o->target[row];
}

/* First linear map of a block's rows, and what enters the layer norms. */
static void enter(const operator_t *o, int64_t start, int count, block first, block hidden, block z) {
    float(*sum_)[FULL] = o->hidden ? first : z;
    for (int i = 0; i < count; i++) {
        int64_t row = start + i;
        const float *own = o->own + o->source[row] * FULL;
        const float *other = o->other + o->target[row] * FULL;
        const float *between = o->between + (o->link ? o->link[row] : row) * FULL;
        for (int k = 0; k < FULL; k += LANES)
            store(sum_[i] + k, load(own + k) + load(other + k) + load(between + k));
    }
    if (!o->hidden) return;
    for (int i = 0; i < count; i++)
        for (int k = 0; k < HALF; k += LANES) {
            vec a = load(first[i] + k), b = load(first[i] + HALF + k), sa, sb;
            sigmoids(a, b, &sa, &sb);
            store(hidden[i] + k, a * sa);
            store(hidden[i] + HALF + k, b * sb);
        }
    for (int half = 0; half < 2; half++)
        multiply(hidden[0] + half * HALF, o->hidden + half * HALF * HALF,
                 o->hidden_bias + half * HALF, z[0] + half * HALF);
}

/* z <- (z - mean) / deviation of each half; returns 1 / deviation. */
static inline float standardise(float *z, float epsilon) {
    vec total = {0}, squares = {0};
    for (int k = 0; k < HALF; k += LANES) total += load(z + k);
    float mean = sum(total) / HALF;
    for (int k = 0; k < HALF; k += LANES) {
        vec d = load(z + k) - mean;
        store(z + k, d);
        squares += d * d;
    }
    float inverse = 1.0f / sqrtf(sum(squares) / HALF + epsilon);
    for (int k = 0; k < HALF; k += LANES) store(z + k, load(z + k) * inverse);
    return inverse;
}

static void forward_rows(const operator_t *o, int64_t begin, int64_t end, float *out) {
    block first, hidden, z;
    memset(hidden, 0, sizeof hidden);
    for (int64_t start = begin; start < end; start += BLOCK) {
        int count = end - start < BLOCK ? (int)(end - start) : BLOCK;
        enter(o, start, count, first, hidden, z);
        for (int i = 0; i < count; i++) {
            int64_t row = start + i;
            standardise(z[i], o->epsilon);
            standardise(z[i] + HALF, o->epsilon);
            const float *weight = o->weight ? o->weight + weight_row(o, row) * HALF : NULL;
            float *to = out + (weight ? o->source[row] : row) * HALF;
            for (int k = 0; k < HALF; k += LANES) {
                vec core = load(z[i] + k) * load(o->scale + k) + load(o->shift + k);
                vec gate = load(z[i] + HALF + k) * load(o->scale + HALF + k) +
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

/* Gradient by a standardised half's input: of the layer norm, in place of `d`. */
static inline void unstandardise(float *d, const float *z, float inverse) {
    vec mean = {0}, along = {0};
    for (int k = 0; k < HALF; k += LANES) {
        mean += load(d + k);
        along += load(d + k) * load(z + k);
    }
    float m = sum(mean) / HALF, a = sum(along) / HALF;
    for (int k = 0; k < HALF; k += LANES)
        store(d + k, (load(d + k) - m - load(z + k) * a) * inverse);
}

static void backward_rows(const operator_t *o, int64_t begin, int64_t end, const float *pull,
                          float *pull_own, float *pull_row, float *pull_weight) {
    block first, hidden, z, d;
    memset(hidden, 0, sizeof hidden);
    memset(d, 0, sizeof d);
    for (int64_t start = begin; start < end; start += BLOCK) {
        int count = end - start < BLOCK ? (int)(end - start) : BLOCK;
        enter(o, start, count, first, hidden, z);
        for (int i = 0; i < count; i++) {
            int64_t row = start + i;
            float core_inverse = standardise(z[i], o->epsilon);
            float gate_inverse = standardise(z[i] + HALF, o->epsilon);
            const float *weight = o->weight ? o->weight + weight_row(o, row) * HALF : NULL;
            const float *from = pull + (weight ? o->source[row] : row) * HALF;
            for (int k = 0; k < HALF; k += LANES) {
                vec core_scale = load(o->scale + k), gate_scale = load(o->scale + HALF + k);
                vec core = load(z[i] + k) * core_scale + load(o->shift + k);
                vec gate = load(z[i] + HALF + k) * gate_scale + load(o->shift + HALF + k);
                vec sc, sg, p = load(from + k);
                sigmoids(core, gate, &sc, &sg);
                vec value = core * sc;
                if (weight) {
                    store(pull_weight + row * HALF + k, p * value * sg);
                    p *= load(weight + k);
                }
                store(d[i] + k, p * sg * (sc + value * (1.0f - sc)) * core_scale);
                store(d[i] + HALF + k, p * value * sg * (1.0f - sg) * gate_scale);
            }
            unstandardise(d[i], z[i], core_inverse);
            unstandardise(d[i] + HALF, z[i] + HALF, gate_inverse);
        }
        if (o->hidden)
            for (int half = 0; half < 2; half++)
                multiply(d[0] + half * HALF, o->hidden_back + half * HALF * HALF, NULL,
                         z[0] + half * HALF);
        for (int i = 0; i < count; i++) {
            float *to_row = pull_row + (start + i) * FULL;
            float *to_own = pull_own + o->source[start + i] * FULL;
            for (int k = 0; k < FULL; k += LANES) {
                vec p;
                if (o->hidden) {
                    /* silu'(x) = s + silu(x) (1 - s); s = silu(x) / x would fail at 0. */
                    vec x = load(first[i] + k), s = 1.0f / (exponential(-x) + 1.0f);
                    p = load(z[i] + k) * (s + x * s * (1.0f - s));
                } else
                    p = load(d[i] + k);
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
        if (o->weight) memset(out + low * HALF, 0, (high - low) * HALF * sizeof *out);
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
        if (o->link) {
            gather_links(o, o->offsets[low], o->offsets[high], FULL, pull_row, pull_between);
            gather_links(o, o->offsets[low], o->offsets[high], HALF, pull_weight_row, pull_weight);
        } else if (o->weight)
            gather_nodes(o, low, high, HALF, pull_weight_row, pull_weight);
    }
}

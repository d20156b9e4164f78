/* The message operators of vitrion/potential/operators.py, forward and backward, for float32 on
 * the CPU. Rows (neighbours, angles) are processed in small blocks that stay in cache, so that no
 * intermediate result of a row is written to memory: the backward pass computes it again. A row's
 * arithmetic does not depend on its block or thread, so equal input gives equal bits for any number
 * of threads.
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
    int64_t summed;             /* messages: weighted, one result per node; else one per row */
    int64_t by_bond;            /* edge and weight have one entry per bond, which a row shares with
                                 * its reverse; else edge has one per row, weight one per node */
    const int64_t *offsets, *source_node, *target_node, *reverse;
    const int64_t *bond;        /* of each row, where by_bond */
    const float *source, *target; /* [nodes][FULL] */
    const float *edge;          /* [bonds or rows][FULL] */
    const float *weight;        /* [bonds or nodes][HALF], only where summed */
    const float *hidden;        /* [2][in][out], NULL: no hidden layer */
    const float *hidden_back;   /* [2][out][in] */
    const float *hidden_bias, *scale, *shift;
    float epsilon;
} operator_t;

static inline int64_t weight_row(const operator_t *o, int64_t row) {
    return o->by_bond ? o->bond[row] : o->target_node[row];
}

/* Input z of the layer norms for a block of rows. `hidden`: workspace. `slope`: the derivative of the
 * hidden silu, unless NULL. */
static inline void layer_norm_input(const operator_t *o, int64_t start, int count, block hidden, block slope,
                         block z) {
    float(*first)[FULL] = o->hidden ? hidden : z;
    for (int i = 0; i < count; i++) {
        int64_t row = start + i;
        const float *source = o->source + o->source_node[row] * FULL;
        const float *target = o->target + o->target_node[row] * FULL;
        const float *edge = o->edge + (o->by_bond ? o->bond[row] : row) * FULL;
        for (int k = 0; k < FULL; k += LANES)
            store(first[i] + k, load(source + k) + load(target + k) + load(edge + k));
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

/* 1 / sqrt(variance + epsilon) of a half, whose mean is zero. */
static inline vec inverse_deviation(const float *z, float epsilon) {
    vec squares = {0};
    for (int k = 0; k < HALF; k += LANES) squares += load(z + k) * load(z + k);
    return (vec){0} + 1.0f / sqrtf(sum(squares)[0] * (1.0f / HALF) + epsilon);
}

static void forward_rows(const operator_t *o, int64_t begin, int64_t end, float *out) {
    block hidden, z;
    memset(hidden, 0, sizeof hidden);
    for (int64_t start = begin; start < end; start += BLOCK) {
        int count = end - start < BLOCK ? (int)(end - start) : BLOCK;
        layer_norm_input(o, start, count, hidden, NULL, z);
        for (int i = 0; i < count; i++) {
            int64_t row = start + i;
            vec core_inverse = inverse_deviation(z[i], o->epsilon);
            vec gate_inverse = inverse_deviation(z[i] + HALF, o->epsilon);
            const float *weight = o->summed ? o->weight + weight_row(o, row) * HALF : NULL;
            float *to = out + (weight ? o->source_node[row] : row) * HALF;
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

/* Gradient by the layer norm's input from that by its normalized output, in place. The mean is not
 * subtracted: the centred linear map before the norm has no component along it. */
static inline void layer_norm_backward(float *grad, const float *z, vec inverse) {
    vec along = {0};
    for (int k = 0; k < HALF; k += LANES) along += load(grad + k) * load(z + k);
    along = sum(along) * inverse * inverse * (1.0f / HALF);
    for (int k = 0; k < HALF; k += LANES)
        store(grad + k, (load(grad + k) - load(z + k) * along) * inverse);
}

static void backward_rows(const operator_t *o, int64_t begin, int64_t end, const float *grad_output,
                          float *grad_source, float *grad_row, float *grad_weight_row) {
    block hidden, slope, z, grad;
    memset(hidden, 0, sizeof hidden);
    memset(grad, 0, sizeof grad);
    for (int64_t start = begin; start < end; start += BLOCK) {
        int count = end - start < BLOCK ? (int)(end - start) : BLOCK;
        layer_norm_input(o, start, count, hidden, slope, z);
        for (int i = 0; i < count; i++) {
            int64_t row = start + i;
            vec core_inverse = inverse_deviation(z[i], o->epsilon);
            vec gate_inverse = inverse_deviation(z[i] + HALF, o->epsilon);
            const float *weight = o->summed ? o->weight + weight_row(o, row) * HALF : NULL;
            const float *from = grad_output + (weight ? o->source_node[row] : row) * HALF;
            for (int k = 0; k < HALF; k += LANES) {
                vec core_scale = load(o->scale + k), gate_scale = load(o->scale + HALF + k);
                vec core = load(z[i] + k) * core_inverse * core_scale + load(o->shift + k);
                vec gate = load(z[i] + HALF + k) * gate_inverse * gate_scale +
                           load(o->shift + HALF + k);
                vec sc, sg, p = load(from + k);
                sigmoids(core, gate, &sc, &sg);
                vec value = core * sc;
                if (weight) {
                    store(grad_weight_row + row * HALF + k, p * value * sg);
                    p *= load(weight + k);
                }
                p *= sg;
                store(grad[i] + k, p * (sc + value * (1.0f - sc)) * core_scale);
                store(grad[i] + HALF + k, p * value * (1.0f - sg) * gate_scale);
            }
            layer_norm_backward(grad[i], z[i], core_inverse);
            layer_norm_backward(grad[i] + HALF, z[i] + HALF, gate_inverse);
        }
        if (o->hidden)
            for (int half = 0; half < 2; half++)
                multiply(grad[0] + half * HALF, o->hidden_back + half * HALF * HALF, NULL,
                         z[0] + half * HALF);
        float(*grad_first)[FULL] = o->hidden ? z : grad;
        for (int i = 0; i < count; i++) {
            float *to_row = grad_row + (start + i) * FULL;
            float *to_source = grad_source + o->source_node[start + i] * FULL;
            for (int k = 0; k < FULL; k += LANES) {
                vec p = load(grad_first[i] + k);
                if (o->hidden) p *= load(slope[i] + k);
                store(to_row + k, p);
                store(to_source + k, load(to_source + k) + p);
            }
        }
    }
}

/* First node of a part, out of parts with about equally many rows. */
static int64_t first_node(const operator_t *o, int part, int parts) {
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
        int64_t low = first_node(o, part, threads), high = first_node(o, part + 1, threads);
        if (o->summed) memset(out + low * HALF, 0, (high - low) * HALF * sizeof *out);
        forward_rows(o, o->offsets[low], o->offsets[high], out);
    }
}

/* Sum over the reverse rows of each node: the gradient by the features of the target node. */
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

/* Sum of a row and its reverse: the gradient by the features of their bond. */
static void gather_bonds(const operator_t *o, int64_t begin, int64_t end, int width,
                         const float *rows, float *out) {
    for (int64_t row = begin; row < end; row++) {
        if (o->reverse[row] < row) continue;
        const float *there = rows + row * width, *back = rows + o->reverse[row] * width;
        float *to = out + o->bond[row] * width;
        for (int k = 0; k < width; k += LANES) store(to + k, load(there + k) + load(back + k));
    }
}

/* Gradients by all inputs that depend on positions, from `grad_output`, the gradient by the output.
 * grad_row [rows][FULL], grad_weight_row [rows][HALF]: workspace; where not by_bond the first is the
 * gradient by edge. */
void backward(const operator_t *o, const float *grad_output, float *grad_source, float *grad_target,
              float *grad_row, float *grad_edge, float *grad_weight_row, float *grad_weight,
              int threads) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++) {
        int64_t low = first_node(o, part, threads), high = first_node(o, part + 1, threads);
        memset(grad_source + low * FULL, 0, (high - low) * FULL * sizeof *grad_source);
        backward_rows(o, o->offsets[low], o->offsets[high], grad_output, grad_source, grad_row,
                      grad_weight_row);
    }
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++) {
        int64_t low = first_node(o, part, threads), high = first_node(o, part + 1, threads);
        gather_nodes(o, low, high, FULL, grad_row, grad_target);
        if (o->by_bond) {
            gather_bonds(o, o->offsets[low], o->offsets[high], FULL, grad_row, grad_edge);
            gather_bonds(o, o->offsets[low], o->offsets[high], HALF, grad_weight_row, grad_weight);
        } else if (o->summed)
            gather_nodes(o, low, high, HALF, grad_weight_row, grad_weight);
    }
}

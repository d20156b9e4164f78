/* Gated MLPs on rows that join two nodes, forward and backward. Rows are processed in blocks that
 * stay in cache, so that no intermediate result of a row is written to memory: the backward pass
 * computes it again. */

#include "vectors.h"

/* x -> x map + bias. */
typedef struct {
    const float *map, *map_back, *bias; /* [in][out], [out][in], [out]; no bias: NULL */
} linear_t;

/* A gated MLP without the first linear map of node features; core and gate lie side by side. */
typedef struct {
    int64_t features;                  /* of a row, 32 or 64 */
    linear_t edge;                     /* [features][FULL] */
    const float *hidden, *hidden_back; /* [2][in][out] and [2][out][in]; no hidden layer: NULL */
    const float *hidden_bias, *scale, *shift; /* [FULL] */
    float epsilon;
} gated_mlp_t;

/* A gated MLP on rows that join two nodes: angles, or bonds, which are a row in each direction. */
typedef struct {
    const gated_mlp_t *gated_mlp;
    int are_angles;
    const int64_t *source_node, *target_node; /* [rows or bonds] */
    const float *source, *target;             /* [nodes][FULL] first linear map of node features */
    const float *edge;                        /* [rows or bonds][features] */
    const float *weight; /* of messages: [bonds][HALF], or of the target [nodes][HALF]; else NULL */
    const linear_t *embed; /* of updates: the map [features][HALF] of what is updated; NULL: none */
} operator_t;

/* Gradients by the inputs of the same names, which are added to; `edge` is set where `is_first`.
 * Source and target: NULL if not needed. */
typedef struct {
    const float *output;
    float *source, *target, *edge, *weight;
    int is_first;
} gradients_t;

/* Where the values of a block's rows are. Rows that fill up the last block read zeros and write to
 * a place of their own. */
typedef struct {
    int64_t start;
    int count;
    int64_t source[BLOCK], target[BLOCK], edge[BLOCK];
} rows_t;

INLINE const float *row_of(const float *table, int64_t row, int width) {
    return row < 0 ? ZEROS : table + row * width;
}

INLINE float *output_of(float *table, int64_t row, int width, float *unused) {
    return row < 0 ? unused : table + row * width;
}

/* The rows of a block that begins at row (or bond) start. */
static void fill_rows(const operator_t *o, int64_t start, int64_t end, rows_t *rows) {
    int size = o->are_angles ? BLOCK : BLOCK / 2;
    rows->start = start;
    rows->count = end - start < size ? (int)(end - start) : size;
    for (int i = 0; i < size; i++) {
        int64_t row = i < rows->count ? start + i : -1;
        rows->edge[i] = row;
        rows->source[i] = row < 0 ? -1 : o->source_node[row];
        rows->target[i] = row < 0 ? -1 : o->target_node[row];
        if (!o->are_angles) { /* a bond is a row in each direction */
            rows->edge[size + i] = row;
            rows->source[size + i] = rows->target[i];
            rows->target[size + i] = rows->source[i];
        }
    }
}

INLINE int64_t weight_row(const operator_t *o, const rows_t *rows, int i) {
    return o->are_angles ? rows->target[i] : rows->edge[i];
}

/* Input z of the layer norms for a block of rows. `hidden`: workspace. `slope`: the derivative of
 * the hidden silu, unless NULL. */
INLINE void layer_norm_input(const operator_t *o, const rows_t *rows, block hidden, block slope,
                             block z) {
    const gated_mlp_t *mlp = o->gated_mlp;
    int features = (int)mlp->features;
    float(*first)[FULL] = mlp->hidden ? hidden : z;
    float padded[BLOCK * HALF], mapped[BLOCK / 2][FULL] __attribute__((aligned(64)));
    int size = o->are_angles ? BLOCK : BLOCK / 2;
    const float *x = o->edge + rows->start * features;
    if (rows->count < size) {
        memset(padded, 0, sizeof padded);
        memcpy(padded, x, rows->count * features * sizeof *x);
        x = padded;
    }
    if (!o->are_angles)
        multiply(size, x, features, features, mlp->edge.map, FULL, ZEROS, FROM_ZERO,
                 mapped[0], FULL);
    for (int i = 0; i < BLOCK; i++) {
        const float *source = row_of(o->source, rows->source[i], FULL);
        const float *target = row_of(o->target, rows->target[i], FULL);
        const float *edge = o->are_angles ? ZEROS : mapped[i % (BLOCK / 2)];
        for (int k = 0; k < FULL; k += LANES)
            store(first[i] + k, load(source + k) + load(target + k) + load(edge + k));
    }
    if (o->are_angles)
        multiply(size, x, features, features, mlp->edge.map, FULL, ZEROS, FROM_OUTPUT,
                 first[0], FULL);
    if (!mlp->hidden) return;
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
        multiply(BLOCK, hidden[0] + half * HALF, FULL, HALF, mlp->hidden + half * HALF * HALF, HALF,
                 mlp->hidden_bias + half * HALF, FROM_BIAS, z[0] + half * HALF, FULL);
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

/* Messages are added to the rows `out` of their source nodes. Updates are written to the rows of
 * `out`, [rows][HALF], together with what they update. */
static void forward_rows(const operator_t *o, int64_t begin, int64_t end, float *out) {
    const gated_mlp_t *mlp = o->gated_mlp;
    int features = (int)mlp->features;
    block hidden, z;
    float inverse[2][BLOCK], unused[HALF];
    rows_t rows;
    memset(unused, 0, sizeof unused);
    for (int64_t start = begin; start < end; start += rows.count) {
        fill_rows(o, start, end, &rows);
        layer_norm_input(o, &rows, hidden, NULL, z);
        inverse_deviations(z, mlp->epsilon, inverse);
        if (!o->weight) {
            const float *updated = o->edge + start * features;
            float *to = out + start * HALF;
            if (o->embed)
                multiply_rows(rows.count, updated, features, o->embed->map, HALF, NULL, to);
            else
                memcpy(to, updated, rows.count * HALF * sizeof *to);
        }
        for (int i = 0; i < BLOCK; i++) {
            int64_t weight_at = weight_row(o, &rows, i);
            const float *weight = o->weight ? row_of(o->weight, weight_at, HALF) : NULL;
            float *to = output_of(out, weight ? rows.source[i] : rows.edge[i], HALF, unused);
#pragma GCC unroll 4
            for (int k = 0; k < HALF; k += LANES) {
                vec core = load(z[i] + k) * inverse[0][i] * load(mlp->scale + k) +
                           load(mlp->shift + k);
                vec gate = load(z[i] + HALF + k) * inverse[1][i] * load(mlp->scale + HALF + k) +
                           load(mlp->shift + HALF + k);
                vec sc, sg;
                sigmoids(core, gate, &sc, &sg);
                vec value = core * sc * sg;
                if (weight) value *= load(weight + k);
                add(to + k, value);
            }
        }
    }
}

static void backward_rows(const operator_t *o, int64_t begin, int64_t end, const gradients_t *to) {
    const gated_mlp_t *mlp = o->gated_mlp;
    int features = (int)mlp->features;
    block hidden, slope, z, grad;
    float inverse[2][BLOCK], factor[2][BLOCK], unused[FULL];
    rows_t rows;
    memset(unused, 0, sizeof unused);
    for (int64_t start = begin; start < end; start += rows.count) {
        fill_rows(o, start, end, &rows);
        layer_norm_input(o, &rows, hidden, slope, z);
        inverse_deviations(z, mlp->epsilon, inverse);
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
                vec core_scale = load(mlp->scale + k), gate_scale = load(mlp->scale + HALF + k);
                vec core = core_z * inverse[0][i] * core_scale + load(mlp->shift + k);
                vec gate = gate_z * inverse[1][i] * gate_scale + load(mlp->shift + HALF + k);
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
        if (mlp->hidden)
            for (int half = 0; half < 2; half++)
                multiply(BLOCK, grad[0] + half * HALF, FULL, HALF,
                         mlp->hidden_back + half * HALF * HALF, HALF, ZEROS, FROM_ZERO,
                         z[0] + half * HALF, FULL);
        for (int i = 0; i < BLOCK; i++) {
            float *target = unused;
            if (to->target) target = output_of(to->target, rows.target[i], FULL, unused);
            for (int k = 0; k < FULL; k += LANES) {
                vec value = load(grad[i] + k);
                if (mlp->hidden) value = load(z[i] + k) * load(slope[i] + k);
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
        if (!o->are_angles) /* both directions of a bond share its features */
            for (int i = 0; i < BLOCK / 2; i++)
                for (int k = 0; k < FULL; k += LANES)
                    add(grad[i] + k, load(grad[BLOCK / 2 + i] + k));
        float *edge = to->edge + start * features;
        if (o->embed)
            multiply_rows(rows.count, to->output + start * HALF, HALF, o->embed->map_back, features,
                          NULL, edge);
        if (to->is_first) memset(edge, 0, rows.count * features * sizeof *edge);
        add_product(rows.count, grad[0], FULL, mlp->edge.map_back, features, edge);
    }
}

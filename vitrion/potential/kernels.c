/* The network of network.py for float32 on the CPU: energies of the atoms, and the gradient of
 * their sum by the bond vectors, in one call of evaluate(). Compiled by kernels.py.
 *
 * Threads share the blocks of one stage, then wait for each other. Sums are over rows in an order
 * that does not depend on the number of threads, so equal input gives equal bits for any number of
 * threads. */

#include "bases.h"
#include "gated_mlp.h"

typedef struct {
    gated_mlp_t short_bonds, long_bonds; /* the latter take the radial basis as features */
    linear_t source, target, out;
} atom_layer_t;

typedef struct {
    gated_mlp_t gated_mlp;
    linear_t bond;   /* [HALF][2 FULL] to what a node gives to the angles as source and as target */
    linear_t center; /* of the features of the central atom, which come with the source's */
    linear_t out;    /* of messages to bonds */
} angle_layer_t;

enum { MOST_LAYERS = 8, MOST_PARTS = 8, MOST_OF_A_PART = 8 * BLOCK };

typedef struct {
    int64_t atom_layers, readout_layers; /* bond layers are one less, angle layers two less */
    const atom_layer_t *atom;
    const angle_layer_t *bond, *angle;
    radial_t radial, radial_short;
    angular_t angular;
    linear_t weigh_bond, weigh_short, embed_bond, embed_angle;
    const float *readout_scale, *readout_shift; /* layer norm [HALF] */
    const linear_t *readout;                    /* [HALF][HALF], each before a silu */
    const float *readout_last;                  /* [HALF] */
    double readout_bias;
    float readout_epsilon;
} network_t;

typedef struct {
    int64_t atoms, bonds, short_bonds, nodes, angles;
    const double *vectors;           /* [bonds][3], short bonds first */
    const int64_t *start, *end;      /* [bonds] */
    const int64_t *nodes_of_bond;    /* [short_bonds][2] along the vector, and against it */
    const int64_t *node_center;      /* [nodes] ascending */
    const int64_t *source, *target;  /* [angles] nodes, rows sorted by source */
    const int64_t *reverse;          /* [angles] row from target to source */
    const int64_t *first_angle;      /* [atoms + 1] first row of each central atom */
    const float *features;           /* [atoms][HALF] before any message */
} graph_t;

typedef struct {
    double *energies;  /* [atoms] without reference energies */
    double *gradients; /* [bonds][3] of their sum by `vectors`; NULL: not wanted */
    float *features;   /* [atoms][HALF] of the atoms before the last layer */
} result_t;

/* Tables of one evaluation. Nodes are the short directed edges. */
typedef struct {
    int64_t threads;
    int64_t parts; /* of the bonds, each with its own sums over atoms; not by the threads */
    int64_t *first_node; /* [atoms + 1] */
    double *directions, *grad_directions;        /* [nodes][3] */
    float *long_edge, *grad_long_edge;           /* [long bonds][radial basis] */
    float *weight, *grad_weight;                 /* [bonds][HALF] */
    float *node_weight, *grad_node_weight;       /* [nodes][HALF] */
    float *v, *grad_v, *atom_message;            /* [atoms][HALF]; the last also holds a gradient */
    float *atom_source[MOST_LAYERS], *atom_target[MOST_LAYERS]; /* [atoms][FULL] */
    float *bond_center, *angle_center;           /* [atoms][FULL] */
    float *sums_source, *sums_target;            /* [parts][atoms][FULL] */
    float *e[MOST_LAYERS], *grad_e;              /* [short_bonds][HALF] */
    float *bond_message[MOST_LAYERS];            /* [short_bonds][HALF] before their weight */
    float *a[MOST_LAYERS], *grad_a, *grad_basis; /* [angles][HALF]; a[0] is the angular basis */
    float *node_message;                         /* [nodes][HALF], also its gradient */
    float *bond_source[MOST_LAYERS], *bond_target[MOST_LAYERS];   /* [nodes][FULL] of bond layers */
    float *angle_source[MOST_LAYERS], *angle_target[MOST_LAYERS]; /* and of angle layers */
    float *grad_source, *grad_target;            /* [nodes][FULL] */
} tables_t;

INLINE int64_t between(int64_t x, int64_t low, int64_t high) {
    return x < low ? low : x > high ? high : x;
}

/* A table of that many bytes, one after the other; from NULL the addresses add up to the size. */
static void *take(char **memory, int64_t bytes) {
    char *taken = *memory;
    *memory += (bytes + 63) / 64 * 64;
    return taken;
}

static char *lay_out(const network_t *n, const graph_t *g, char *memory, tables_t *t) {
    int64_t bytes = sizeof(float), basis = n->radial.n, long_bonds = g->bonds - g->short_bonds;
    int64_t of_atoms = g->atoms * HALF * bytes, of_nodes = g->nodes * HALF * bytes;
    int64_t of_short = g->short_bonds * HALF * bytes, of_angles = g->angles * HALF * bytes;
    t->parts = between(g->bonds / MOST_OF_A_PART, 1, MOST_PARTS);
    t->first_node = take(&memory, (g->atoms + 1) * sizeof *t->first_node);
    t->directions = take(&memory, g->nodes * 3 * sizeof *t->directions);
    t->grad_directions = take(&memory, g->nodes * 3 * sizeof *t->grad_directions);
    t->long_edge = take(&memory, long_bonds * basis * bytes);
    t->grad_long_edge = take(&memory, long_bonds * basis * bytes);
    t->weight = take(&memory, g->bonds * HALF * bytes);
    t->grad_weight = take(&memory, g->bonds * HALF * bytes);
    t->node_weight = take(&memory, of_nodes);
    t->grad_node_weight = take(&memory, of_nodes);
    t->node_message = take(&memory, of_nodes);
    t->grad_source = take(&memory, 2 * of_nodes);
    t->grad_target = take(&memory, 2 * of_nodes);
    t->v = take(&memory, of_atoms);
    t->grad_v = take(&memory, of_atoms);
    t->atom_message = take(&memory, of_atoms);
    t->bond_center = take(&memory, 2 * of_atoms);
    t->angle_center = take(&memory, 2 * of_atoms);
    t->sums_source = take(&memory, t->parts * 2 * of_atoms);
    t->sums_target = take(&memory, t->parts * 2 * of_atoms);
    t->grad_e = take(&memory, of_short);
    t->grad_a = take(&memory, of_angles);
    t->grad_basis = take(&memory, of_angles * n->angular.columns / HALF);
    t->a[0] = take(&memory, of_angles * n->angular.columns / HALF);
    for (int d = 0; d < n->atom_layers; d++) {
        t->atom_source[d] = take(&memory, 2 * of_atoms);
        t->atom_target[d] = take(&memory, 2 * of_atoms);
        t->e[d] = take(&memory, of_short);
        if (d == n->atom_layers - 1) break;
        t->bond_message[d] = take(&memory, of_short);
        t->bond_source[d] = take(&memory, 2 * of_nodes);
        t->bond_target[d] = take(&memory, 2 * of_nodes);
        if (d == n->atom_layers - 2) continue;
        t->angle_source[d] = take(&memory, 2 * of_nodes);
        t->angle_target[d] = take(&memory, 2 * of_nodes);
        t->a[d + 1] = take(&memory, of_angles);
    }
    return memory;
}

/* Stages. Each is a loop that the threads share, which ends when all are done. */
#define SHARED _Pragma("omp for schedule(dynamic, 1)")
#define SHARED_NO_WAIT _Pragma("omp for schedule(dynamic, 1) nowait")

INLINE int up_to_block(int64_t start, int64_t end) {
    return end - start < BLOCK ? (int)(end - start) : BLOCK;
}

INLINE double length_of(const double *v) { return sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]); }

/* Lengths, bases and what follows from them, of bonds [begin, end), all short or all long. */
static void begin_bonds(const network_t *n, const graph_t *g, const tables_t *t, int64_t begin,
                        int64_t end) {
    int basis = (int)n->radial.n, basis_short = (int)n->radial_short.n;
    SHARED_NO_WAIT
    for (int64_t start = begin; start < end; start += BLOCK) {
        float radial[BLOCK * WAVES], radial_short[BLOCK * WAVES], weight[BLOCK * HALF];
        int count = up_to_block(start, end), is_short = start < g->short_bonds;
        for (int i = 0; i < count; i++) {
            const double *vector = g->vectors + 3 * (start + i);
            double length = length_of(vector);
            radial_row(&n->radial, length, radial + i * basis);
            if (!is_short) continue;
            radial_row(&n->radial_short, length, radial_short + i * basis_short);
            const int64_t *nodes = g->nodes_of_bond + 2 * (start + i);
            for (int k = 0; k < 3; k++) {
                t->directions[3 * nodes[0] + k] = vector[k] / length;
                t->directions[3 * nodes[1] + k] = -vector[k] / length;
            }
        }
        float *weight_of_bond = t->weight + start * HALF;
        multiply_rows(count, radial, basis, n->weigh_bond.map, HALF, NULL, weight_of_bond);
        memset(t->grad_weight + start * HALF, 0, count * HALF * sizeof(float));
        if (!is_short) {
            memcpy(t->long_edge + (start - g->short_bonds) * basis, radial,
                   count * basis * sizeof(float));
            continue;
        }
        multiply_rows(count, radial, basis, n->embed_bond.map, HALF, NULL, t->e[0] + start * HALF);
        multiply_rows(count, radial_short, basis_short, n->weigh_short.map, HALF, NULL, weight);
        for (int i = 0; i < count; i++)
            for (int side = 0; side < 2; side++) {
                int64_t node = g->nodes_of_bond[2 * (start + i) + side];
                memcpy(t->node_weight + node * HALF, weight + i * HALF, HALF * sizeof(float));
                memset(t->grad_node_weight + node * HALF, 0, HALF * sizeof(float));
            }
    }
}

/* A first linear map of the features of a block of atoms. */
INLINE void map_atoms(const tables_t *t, const linear_t *map, int64_t start, int count, float *to) {
    multiply_rows(count, t->v + start * HALF, HALF, map->map, FULL, map->bias, to + start * FULL);
}

/* For the edges of atoms at a depth. */
static void map_edge_ends(const network_t *n, const tables_t *t, int depth, int64_t start,
                          int count) {
    map_atoms(t, &n->atom[depth].source, start, count, t->atom_source[depth]);
    map_atoms(t, &n->atom[depth].target, start, count, t->atom_target[depth]);
}

static void begin_atoms(const network_t *n, const graph_t *g, const tables_t *t) {
    SHARED
    for (int64_t start = 0; start < g->atoms; start += BLOCK) {
        int count = up_to_block(start, g->atoms);
        memcpy(t->v + start * HALF, g->features + start * HALF, count * HALF * sizeof(float));
        map_edge_ends(n, t, 0, start, count);
    }
}

/* Messages of the bonds of atoms: short bonds, then long ones, in parts of about equally many. */
static operator_t atom_operator(const network_t *n, const graph_t *g, const tables_t *t, int depth,
                                int is_short) {
    const atom_layer_t *layer = &n->atom[depth];
    int64_t first = is_short ? 0 : g->short_bonds;
    return (operator_t){
        .gated_mlp = is_short ? &layer->short_bonds : &layer->long_bonds,
        .source_node = g->start + first,
        .target_node = g->end + first,
        .source = t->atom_source[depth],
        .target = t->atom_target[depth],
        .edge = is_short ? t->e[depth] : t->long_edge,
        .weight = t->weight + first * HALF,
    };
}

/* The bonds of a part, counted from the first short or from the first long one. */
INLINE void bonds_of_part(const graph_t *g, const tables_t *t, int64_t part, int is_short,
                          int64_t *begin, int64_t *end) {
    int64_t first = is_short ? 0 : g->short_bonds;
    int64_t size = is_short ? g->short_bonds : g->bonds - g->short_bonds;
    *begin = between(g->bonds * part / t->parts - first, 0, size);
    *end = between(g->bonds * (part + 1) / t->parts - first, 0, size);
}

static void atom_messages(const network_t *n, const graph_t *g, const tables_t *t, int depth) {
    SHARED
    for (int64_t part = 0; part < t->parts; part++) {
        float *sums = t->sums_source + part * g->atoms * HALF;
        memset(sums, 0, g->atoms * HALF * sizeof *sums);
        for (int is_short = 1; is_short >= 0; is_short--) {
            int64_t begin, end;
            operator_t o = atom_operator(n, g, t, depth, is_short);
            bonds_of_part(g, t, part, is_short, &begin, &end);
            forward_rows(&o, begin, end, sums);
        }
    }
}

/* Sum of a block of rows of the tables of all parts, in their order. */
INLINE void sum_parts(const float *tables, int64_t parts, int64_t table_size, int64_t offset,
                      int size, float *sums) {
    memcpy(sums, tables + offset, size * sizeof *sums);
    for (int64_t part = 1; part < parts; part++)
        for (int k = 0; k < size; k += LANES)
            add(sums + k, load(tables + part * table_size + offset + k));
}

INLINE void add_bias(int count, const float *bias, float *y) {
    for (int k = 0; bias && k < count * HALF; k += LANES) add(y + k, load(bias + k % HALF));
}

static void update_atoms(const network_t *n, const graph_t *g, const tables_t *t, int depth,
                         float *features) {
    const linear_t *out = &n->atom[depth].out;
    SHARED
    for (int64_t start = 0; start < g->atoms; start += BLOCK) {
        float message[BLOCK * HALF], *v = t->v + start * HALF;
        int count = up_to_block(start, g->atoms);
        int is_last = depth == n->atom_layers - 1;
        if (is_last) memcpy(features + start * HALF, v, count * HALF * sizeof *v);
        sum_parts(t->sums_source, t->parts, g->atoms * HALF, start * HALF, count * HALF, message);
        add_bias(count, out->bias, v);
        add_product(count, message, HALF, out->map, HALF, v);
        if (is_last) continue;
        map_edge_ends(n, t, depth + 1, start, count);
        map_atoms(t, &n->bond[depth].center, start, count, t->bond_center);
        if (depth + 2 < n->atom_layers)
            map_atoms(t, &n->angle[depth].center, start, count, t->angle_center);
    }
}

/* First linear maps of what angles take from their nodes: a block of bonds. */
static void map_nodes(const graph_t *g, const angle_layer_t *layer, const float *e,
                      const float *of_center, int64_t start, int count, float *source,
                      float *target) {
    float mapped[BLOCK * 2 * FULL];
    multiply_rows(count, e + start * HALF, HALF, layer->bond.map, 2 * FULL, NULL, mapped);
    for (int i = 0; i < count; i++)
        for (int side = 0; side < 2; side++) {
            int64_t node = g->nodes_of_bond[2 * (start + i) + side];
            const float *center = of_center + g->node_center[node] * FULL;
            const float *of_bond = mapped + i * 2 * FULL;
            for (int k = 0; k < FULL; k += LANES) {
                store(source + node * FULL + k, load(of_bond + k) + load(center + k));
                store(target + node * FULL + k, load(of_bond + FULL + k));
            }
        }
}

static void map_bonds(const network_t *n, const graph_t *g, const tables_t *t, int depth) {
    SHARED
    for (int64_t start = 0; start < g->short_bonds; start += BLOCK)
        map_nodes(g, &n->bond[depth], t->e[depth], t->bond_center, start,
                  up_to_block(start, g->short_bonds), t->bond_source[depth], t->bond_target[depth]);
}

static operator_t bond_operator(const network_t *n, const graph_t *g, const tables_t *t,
                                int depth) {
    return (operator_t){
        .gated_mlp = &n->bond[depth].gated_mlp,
        .are_angles = 1,
        .source_node = g->source,
        .target_node = g->target,
        .source = t->bond_source[depth],
        .target = t->bond_target[depth],
        .edge = t->a[depth],
        .weight = t->node_weight,
    };
}

static operator_t angle_operator(const network_t *n, const graph_t *g, const tables_t *t,
                                 int depth) {
    return (operator_t){
        .gated_mlp = &n->angle[depth].gated_mlp,
        .are_angles = 1,
        .source_node = g->source,
        .target_node = g->target,
        .source = t->angle_source[depth],
        .target = t->angle_target[depth],
        .edge = t->a[depth],
        .embed = depth ? NULL : &n->embed_angle,
    };
}

/* First atom of a part of the angles: parts have about equally many and share no central atom, so
 * that their number, which may depend on that of the threads, changes no sum. */
INLINE int64_t first_center(const graph_t *g, int64_t part, int64_t parts) {
    int64_t wanted = g->angles * part / parts, low = 0, high = g->atoms;
    if (part == parts) return high;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (g->first_angle[middle] < wanted) low = middle + 1;
        else high = middle;
    }
    return low;
}

static int64_t angle_parts(const graph_t *g, const tables_t *t) {
    int64_t most = g->angles / (4 * BLOCK) + 1, wanted = t->threads == 1 ? 1 : 8 * t->threads;
    return most < wanted ? most : wanted;
}

/* Zeros for the nodes of the central atoms [begin, end). */
INLINE void clear_nodes(const tables_t *t, float *table, int width, int64_t begin, int64_t end) {
    int64_t first = t->first_node[begin], last = t->first_node[end];
    memset(table + first * width, 0, (last - first) * width * sizeof *table);
}

INLINE const double *direction(const tables_t *t, int64_t node) { return t->directions + 3 * node; }

/* The angular basis; of an angle and its reverse it is the same. */
static void begin_angles(const network_t *n, const graph_t *g, const tables_t *t) {
    int64_t columns = n->angular.columns;
    SHARED_NO_WAIT
    for (int64_t start = 0; start < g->angles; start += BLOCK)
        for (int64_t row = start; row < start + up_to_block(start, g->angles); row++) {
            if (g->reverse[row] < row) continue;
            const double *a = direction(t, g->source[row]), *b = direction(t, g->target[row]);
            float *basis = t->a[0] + row * columns;
            angular_row(&n->angular, a, b, basis);
            memcpy(t->a[0] + g->reverse[row] * columns, basis, columns * sizeof *basis);
        }
}

static void bond_messages(const network_t *n, const graph_t *g, const tables_t *t, int depth) {
    operator_t o = bond_operator(n, g, t, depth);
    int64_t parts = angle_parts(g, t);
    SHARED
    for (int64_t part = 0; part < parts; part++) {
        int64_t begin = first_center(g, part, parts), end = first_center(g, part + 1, parts);
        clear_nodes(t, t->node_message, HALF, begin, end);
        forward_rows(&o, g->first_angle[begin], g->first_angle[end], t->node_message);
    }
}

static void update_bonds(const network_t *n, const graph_t *g, const tables_t *t, int depth) {
    SHARED
    for (int64_t start = 0; start < g->short_bonds; start += BLOCK) {
        float weighted[BLOCK * HALF];
        int count = up_to_block(start, g->short_bonds);
        for (int i = 0; i < count; i++) {
            const int64_t *nodes = g->nodes_of_bond + 2 * (start + i);
            const float *there = t->node_message + nodes[0] * HALF;
            const float *back = t->node_message + nodes[1] * HALF;
            float *message = t->bond_message[depth] + (start + i) * HALF;
            for (int k = 0; k < HALF; k += LANES) {
                vec both = load(there + k) + load(back + k);
                store(message + k, both);
                store(weighted + i * HALF + k, both * load(t->node_weight + nodes[0] * HALF + k));
            }
        }
        float *e = t->e[depth + 1] + start * HALF;
        memcpy(e, t->e[depth] + start * HALF, count * HALF * sizeof *e);
        add_bias(count, n->bond[depth].out.bias, e);
        add_product(count, weighted, HALF, n->bond[depth].out.map, HALF, e);
        if (depth + 2 < n->atom_layers)
            map_nodes(g, &n->angle[depth], t->e[depth + 1], t->angle_center, start, count,
                      t->angle_source[depth], t->angle_target[depth]);
    }
}

static void update_angles(const network_t *n, const graph_t *g, const tables_t *t, int depth) {
    operator_t o = angle_operator(n, g, t, depth);
    int64_t parts = angle_parts(g, t);
    SHARED
    for (int64_t part = 0; part < parts; part++)
        forward_rows(&o, g->first_angle[first_center(g, part, parts)],
                     g->first_angle[first_center(g, part + 1, parts)], t->a[depth + 1]);
}

/* silu of a block, and its slope, in place of its argument. */
INLINE void silus(int count, float *x, float *slope) {
    for (int k = 0; k < count * HALF; k += 2 * LANES) {
        vec a = load(x + k), b = load(x + k + LANES), sa, sb;
        sigmoids(a, b, &sa, &sb);
        store(x + k, a * sa);
        store(x + k + LANES, b * sb);
        store(slope + k, sa + a * sa * (1.0f - sa));
        store(slope + k + LANES, sb + b * sb * (1.0f - sb));
    }
}

/* Energy of each atom, and its gradient by the features of the atom. */
static void read_out(const network_t *n, const graph_t *g, const tables_t *t, double *energies) {
    SHARED
    for (int64_t start = 0; start < g->atoms; start += BLOCK) {
        float normal[BLOCK * HALF], inverse[BLOCK], x[2][BLOCK * HALF];
        float slope[MOST_LAYERS][BLOCK * HALF];
        int count = up_to_block(start, g->atoms), now = 0;
        for (int i = 0; i < count; i++) {
            const float *v = t->v + (start + i) * HALF;
            vec total = {0}, squares = {0};
            for (int k = 0; k < HALF; k += LANES) total += load(v + k);
            float mean = sum(total) * (1.0f / HALF);
            for (int k = 0; k < HALF; k += LANES) {
                vec centred = load(v + k) - mean;
                squares += centred * centred;
                store(normal + i * HALF + k, centred);
            }
            inverse[i] = 1.0f / sqrtf(sum(squares) * (1.0f / HALF) + n->readout_epsilon);
            for (int k = 0; k < HALF; k += LANES) {
                vec scaled = load(normal + i * HALF + k) * inverse[i];
                store(normal + i * HALF + k, scaled);
                store(x[0] + i * HALF + k,
                      scaled * load(n->readout_scale + k) + load(n->readout_shift + k));
            }
        }
        for (int layer = 0; layer < n->readout_layers; layer++, now = !now) {
            const linear_t *map = &n->readout[layer];
            multiply_rows(count, x[now], HALF, map->map, HALF, map->bias, x[!now]);
            silus(count, x[!now], slope[layer]);
        }
        for (int i = 0; i < count; i++) {
            double energy = n->readout_bias;
            for (int k = 0; k < HALF; k++)
                energy += (double)x[now][i * HALF + k] * n->readout_last[k];
            energies[start + i] = energy;
            memcpy(x[now] + i * HALF, n->readout_last, HALF * sizeof(float));
        }
        for (int layer = (int)n->readout_layers - 1; layer >= 0; layer--, now = !now) {
            for (int k = 0; k < count * HALF; k += LANES)
                store(x[now] + k, load(x[now] + k) * load(slope[layer] + k));
            multiply_rows(count, x[now], HALF, n->readout[layer].map_back, HALF, NULL, x[!now]);
        }
        for (int i = 0; i < count; i++) {
            float *grad = x[now] + i * HALF, *z = normal + i * HALF;
            vec total = {0}, along = {0};
            for (int k = 0; k < HALF; k += LANES) {
                vec scaled = load(grad + k) * load(n->readout_scale + k);
                total += scaled;
                along += scaled * load(z + k);
                store(grad + k, scaled);
            }
            float mean = sum(total) * (1.0f / HALF), factor = sum(along) * (1.0f / HALF);
            for (int k = 0; k < HALF; k += LANES)
                store(t->grad_v + (start + i) * HALF + k,
                      (load(grad + k) - mean - load(z + k) * factor) * inverse[i]);
        }
    }
}

/* ---- Backward: in reverse order, each stage adds to the gradients of what it read. ---- */

/* Of the sum of messages that an atom takes up. */
static void update_atoms_back(const network_t *n, const graph_t *g, const tables_t *t, int depth) {
    SHARED
    for (int64_t start = 0; start < g->atoms; start += BLOCK)
        multiply_rows(up_to_block(start, g->atoms), t->grad_v + start * HALF, HALF,
                      n->atom[depth].out.map_back, HALF, NULL, t->atom_message + start * HALF);
}

static void atom_messages_back(const network_t *n, const graph_t *g, const tables_t *t, int depth) {
    int64_t table_size = g->atoms * FULL;
    SHARED
    for (int64_t part = 0; part < t->parts; part++) {
        gradients_t to = {.output = t->atom_message, .is_first = depth == n->atom_layers - 1};
        if (depth) { /* the first features of atoms do not depend on positions */
            to.source = t->sums_source + part * table_size;
            to.target = t->sums_target + part * table_size;
            memset(to.source, 0, table_size * sizeof(float));
            memset(to.target, 0, table_size * sizeof(float));
        }
        for (int is_short = 1; is_short >= 0; is_short--) {
            int64_t begin, end;
            operator_t o = atom_operator(n, g, t, depth, is_short);
            bonds_of_part(g, t, part, is_short, &begin, &end);
            to.edge = is_short ? t->grad_e : t->grad_long_edge;
            to.weight = t->grad_weight + (is_short ? 0 : g->short_bonds * HALF);
            backward_rows(&o, begin, end, &to);
        }
    }
}

/* The first linear maps of the features of atoms. */
static void map_atoms_back(const network_t *n, const graph_t *g, const tables_t *t, int depth) {
    SHARED_NO_WAIT
    for (int64_t start = 0; start < g->atoms; start += BLOCK) {
        float grad[BLOCK * FULL], *grad_v = t->grad_v + start * HALF;
        int count = up_to_block(start, g->atoms);
        const float *tables[2] = {t->sums_source, t->sums_target};
        const linear_t *maps[2] = {&n->atom[depth].source, &n->atom[depth].target};
        for (int side = 0; side < 2; side++) {
            sum_parts(tables[side], t->parts, g->atoms * FULL, start * FULL, count * FULL, grad);
            add_product(count, grad, FULL, maps[side]->map_back, HALF, grad_v);
        }
    }
}

/* The rows of all angles. What they give to their nodes is written to `grad_source` and
 * `grad_target`. */
static void backward_angles(const graph_t *g, const tables_t *t, const operator_t *o,
                            const gradients_t *to) {
    int64_t parts = angle_parts(g, t);
    SHARED
    for (int64_t part = 0; part < parts; part++) {
        int64_t begin = first_center(g, part, parts), end = first_center(g, part + 1, parts);
        clear_nodes(t, t->grad_source, FULL, begin, end);
        clear_nodes(t, t->grad_target, FULL, begin, end);
        backward_rows(o, g->first_angle[begin], g->first_angle[end], to);
    }
}

static void update_angles_back(const network_t *n, const graph_t *g, const tables_t *t, int depth) {
    operator_t o = angle_operator(n, g, t, depth);
    gradients_t to = {
        .output = t->grad_a,
        .source = t->grad_source,
        .target = t->grad_target,
        .edge = depth ? t->grad_a : t->grad_basis,
    };
    backward_angles(g, t, &o, &to);
}

/* The first linear maps of what angles take from their nodes: to central atoms and to bonds. */
static void map_nodes_back(const graph_t *g, const tables_t *t, const angle_layer_t *layer) {
    SHARED_NO_WAIT
    for (int64_t start = 0; start < g->atoms; start += BLOCK) {
        float grad[BLOCK * FULL];
        int count = up_to_block(start, g->atoms);
        memset(grad, 0, count * FULL * sizeof *grad);
        for (int i = 0; i < count; i++) {
            const int64_t *nodes = t->first_node + start + i;
            for (int64_t node = nodes[0]; node < nodes[1]; node++)
                for (int k = 0; k < FULL; k += LANES)
                    add(grad + i * FULL + k, load(t->grad_source + node * FULL + k));
        }
        add_product(count, grad, FULL, layer->center.map_back, HALF, t->grad_v + start * HALF);
    }
    SHARED
    for (int64_t start = 0; start < g->short_bonds; start += BLOCK) {
        float grad[BLOCK * 2 * FULL];
        int count = up_to_block(start, g->short_bonds);
        for (int i = 0; i < count; i++) {
            const int64_t *nodes = g->nodes_of_bond + 2 * (start + i);
            float *to = grad + i * 2 * FULL;
            for (int k = 0; k < FULL; k += LANES) {
                store(to + k, load(t->grad_source + nodes[0] * FULL + k) +
                                  load(t->grad_source + nodes[1] * FULL + k));
                store(to + FULL + k, load(t->grad_target + nodes[0] * FULL + k) +
                                         load(t->grad_target + nodes[1] * FULL + k));
            }
        }
        add_product(count, grad, 2 * FULL, layer->bond.map_back, HALF, t->grad_e + start * HALF);
    }
}

static void update_bonds_back(const network_t *n, const graph_t *g, const tables_t *t, int depth) {
    SHARED
    for (int64_t start = 0; start < g->short_bonds; start += BLOCK) {
        float grad[BLOCK * HALF], *grad_e = t->grad_e + start * HALF;
        int count = up_to_block(start, g->short_bonds);
        multiply_rows(count, grad_e, HALF, n->bond[depth].out.map_back, HALF, NULL, grad);
        for (int i = 0; i < count; i++) {
            const int64_t *nodes = g->nodes_of_bond + 2 * (start + i);
            const float *message = t->bond_message[depth] + (start + i) * HALF;
            const float *weight = t->node_weight + nodes[0] * HALF;
            for (int k = 0; k < HALF; k += LANES) {
                vec of_row = load(grad + i * HALF + k), weighted = of_row * load(weight + k);
                store(t->node_message + nodes[0] * HALF + k, weighted);
                store(t->node_message + nodes[1] * HALF + k, weighted);
                /* Both nodes have the weight of the bond; one of them takes this gradient. */
                add(t->grad_node_weight + nodes[0] * HALF + k, of_row * load(message + k));
            }
        }
    }
}

static void bond_messages_back(const network_t *n, const graph_t *g, const tables_t *t, int depth) {
    operator_t o = bond_operator(n, g, t, depth);
    gradients_t to = {
        .output = t->node_message,
        .source = t->grad_source,
        .target = t->grad_target,
        .edge = depth ? t->grad_a : t->grad_basis,
        .weight = t->grad_node_weight,
        .is_first = depth == n->atom_layers - 2,
    };
    backward_angles(g, t, &o, &to);
}

static void begin_angles_back(const network_t *n, const graph_t *g, const tables_t *t) {
    int64_t columns = n->angular.columns, parts = angle_parts(g, t);
    SHARED
    for (int64_t part = 0; part < parts; part++) {
        int64_t begin = first_center(g, part, parts), end = first_center(g, part + 1, parts);
        for (int64_t k = 3 * t->first_node[begin]; k < 3 * t->first_node[end]; k++)
            t->grad_directions[k] = 0;
        for (int64_t row = g->first_angle[begin]; row < g->first_angle[end]; row++) {
            if (g->reverse[row] < row) continue;
            int64_t source = g->source[row], target = g->target[row];
            const double *a = direction(t, source), *b = direction(t, target);
            const float *back = t->grad_basis + g->reverse[row] * columns;
            float grad[FULL];
            for (int k = 0; k < columns; k++) grad[k] = t->grad_basis[row * columns + k] + back[k];
            double slope = angular_slope(&n->angular, a, b, grad);
            for (int k = 0; k < 3; k++) {
                t->grad_directions[3 * source + k] += slope * b[k];
                t->grad_directions[3 * target + k] += slope * a[k];
            }
        }
    }
}

/* Bond vectors, from the gradients by bases and directions, of bonds [begin, end). */
static void begin_bonds_back(const network_t *n, const graph_t *g, const tables_t *t, int64_t begin,
                             int64_t end, double *gradients) {
    int basis = (int)n->radial.n, basis_short = (int)n->radial_short.n;
    SHARED_NO_WAIT
    for (int64_t start = begin; start < end; start += BLOCK) {
        float radial[BLOCK * WAVES], radial_short[BLOCK * WAVES], weight[BLOCK * HALF];
        int count = up_to_block(start, end), is_short = start < g->short_bonds;
        const float *grad_weight = t->grad_weight + start * HALF;
        multiply_rows(count, grad_weight, HALF, n->weigh_bond.map_back, basis, NULL, radial);
        if (is_short) {
            const float *grad_e = t->grad_e + start * HALF, *of_nodes = t->grad_node_weight;
            add_product(count, grad_e, HALF, n->embed_bond.map_back, basis, radial);
            for (int i = 0; i < count; i++) {
                const int64_t *nodes = g->nodes_of_bond + 2 * (start + i);
                for (int k = 0; k < HALF; k += LANES)
                    store(weight + i * HALF + k, load(of_nodes + nodes[0] * HALF + k) +
                                                     load(of_nodes + nodes[1] * HALF + k));
            }
            const float *map_back = n->weigh_short.map_back;
            multiply_rows(count, weight, HALF, map_back, basis_short, NULL, radial_short);
        } else {
            const float *grad = t->grad_long_edge + (start - g->short_bonds) * basis;
            for (int k = 0; k < count * basis; k += LANES) add(radial + k, load(grad + k));
        }
        for (int i = 0; i < count; i++) {
            const double *vector = g->vectors + 3 * (start + i);
            double length = length_of(vector), unit[3], by_direction[3] = {0}, along = 0;
            double slope = radial_slope(&n->radial, length, radial + i * basis);
            for (int k = 0; k < 3; k++) unit[k] = vector[k] / length;
            if (is_short) {
                const int64_t *nodes = g->nodes_of_bond + 2 * (start + i);
                slope += radial_slope(&n->radial_short, length, radial_short + i * basis_short);
                for (int k = 0; k < 3; k++) {
                    by_direction[k] = t->grad_directions[3 * nodes[0] + k] -
                                      t->grad_directions[3 * nodes[1] + k];
                    along += by_direction[k] * unit[k];
                }
            }
            for (int k = 0; k < 3; k++)
                gradients[3 * (start + i) + k] =
                    slope * unit[k] + (by_direction[k] - along * unit[k]) / length;
        }
    }
}

/* The stages that bear the names of the equations in network.py; their loops end in a barrier. */
static void forward(const network_t *n, const graph_t *g, const tables_t *t, const result_t *to) {
    begin_bonds(n, g, t, 0, g->short_bonds);
    begin_bonds(n, g, t, g->short_bonds, g->bonds);
    begin_atoms(n, g, t);
    begin_angles(n, g, t);
    for (int depth = 0; depth < n->atom_layers; depth++) {
        atom_messages(n, g, t, depth);
        update_atoms(n, g, t, depth, to->features);
        if (depth + 1 == n->atom_layers) break;
        map_bonds(n, g, t, depth);
        bond_messages(n, g, t, depth);
        update_bonds(n, g, t, depth);
        if (depth + 2 < n->atom_layers) update_angles(n, g, t, depth);
    }
    read_out(n, g, t, to->energies);
}

static void backward(const network_t *n, const graph_t *g, const tables_t *t, double *gradients) {
    for (int depth = (int)n->atom_layers - 1; depth >= 0; depth--) {
        if (depth + 2 < n->atom_layers) {
            update_angles_back(n, g, t, depth);
            map_nodes_back(g, t, &n->angle[depth]);
        }
        if (depth + 1 < n->atom_layers) {
            update_bonds_back(n, g, t, depth);
            bond_messages_back(n, g, t, depth);
            map_nodes_back(g, t, &n->bond[depth]);
        }
        update_atoms_back(n, g, t, depth);
        atom_messages_back(n, g, t, depth);
        if (depth) map_atoms_back(n, g, t, depth);
    }
    begin_angles_back(n, g, t);
    begin_bonds_back(n, g, t, 0, g->short_bonds, gradients);
    begin_bonds_back(n, g, t, g->short_bonds, g->bonds, gradients);
}

/* Bytes of working memory that `evaluate` needs. */
int64_t workspace_bytes(const network_t *n, const graph_t *g) {
    tables_t tables;
    return lay_out(n, g, NULL, &tables) - (char *)NULL;
}

/* workspace: aligned to 64 bytes; its content does not matter. */
void evaluate(const network_t *n, const graph_t *g, const result_t *result, void *workspace,
              int64_t threads) {
    tables_t tables = {.threads = threads};
    lay_out(n, g, workspace, &tables);
    for (int64_t atom = 0, node = 0; atom <= g->atoms; atom++) {
        while (node < g->nodes && g->node_center[node] < atom) node++;
        tables.first_node[atom] = node;
    }
#pragma omp parallel num_threads((int)threads)
    {
        forward(n, g, &tables, result);
        if (result->gradients) backward(n, g, &tables, result->gradients);
    }
}

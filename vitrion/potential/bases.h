/* Bases of bond lengths and angles, in double precision up to the last rounding: phases reach
 * 100 rad. */

#include "vectors.h"


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

/* out[n]: sin(f r / cutoff) / r with its smooth cutoff. */
static void radial_row(const radial_t *basis, double r, float *out) {
    double sine[WAVES], cosine[WAVES], value, slope;
    waves(r / basis->cutoff, basis->frequencies, (int)basis->n, sine, cosine);
    envelope(basis, r, &value, &slope);
    for (int k = 0; k < basis->n; k++) out[k] = (float)(value * sine[k]);
}

/* The gradient by r from that by the output. */
static double radial_slope(const radial_t *basis, double r, const float *grad) {
    double sine[WAVES], cosine[WAVES], value, slope, total = 0;
    waves(r / basis->cutoff, basis->frequencies, (int)basis->n, sine, cosine);
    envelope(basis, r, &value, &slope);
    dvec sums = {0};
    value /= basis->cutoff;
    for (int k = 0; k < basis->n; k += DOUBLES) {
        dvec g;
        for (int i = 0; i < DOUBLES; i++) g[i] = grad[k + i];
        sums += g * (load_double(sine + k) * slope +
                     load_double(cosine + k) * load_double(basis->frequencies + k) * value);
    }
    for (int i = 0; i < DOUBLES; i++) total += sums[i];
    return total;
}

typedef struct {
    const double *frequencies; /* [order], then zeros up to a multiple of 8, at most 64 */
    int64_t order, columns;    /* of the basis: 1 + 2 order, then zeros */
} angular_t;

static const double PER_ROOT_PI = 0.56418958354775628695;
static const double GUARD = 1.0 - 1e-6; /* chgnet's, of acos */

/* Sines and cosines of the multiples of the angle between two directions; returns its cosine. */
INLINE double angular_waves(const angular_t *basis, const double *a, const double *b, double *sine,
                            double *cosine) {
    double c = (a[0] * b[0] + a[1] * b[1] + a[2] * b[2]) * GUARD;
    waves(acos(c), basis->frequencies, (int)((basis->order + 7) / 8 * 8), sine, cosine);
    return c;
}

/* out[columns]: 1 / sqrt(2), sin(f theta), cos(f theta), zeros, over sqrt(pi). */
static void angular_row(const angular_t *basis, const double *a, const double *b, float *out) {
    double sine[WAVES], cosine[WAVES];
    int order = (int)basis->order;
    angular_waves(basis, a, b, sine, cosine);
    out[0] = (float)(PER_ROOT_PI * sqrt(0.5));
    for (int k = 0; k < order; k++) {
        out[1 + k] = (float)(PER_ROOT_PI * sine[k]);
        out[1 + order + k] = (float)(PER_ROOT_PI * cosine[k]);
    }
    for (int k = 1 + 2 * order; k < basis->columns; k++) out[k] = 0.0f;
}

/* The gradient by the cosine between the directions from that by the output. */
static double angular_slope(const angular_t *basis, const double *a, const double *b,
                            const float *grad) {
    double sine[WAVES], cosine[WAVES], slope = 0;
    const float *of_sine = grad + 1, *of_cosine = of_sine + basis->order;
    double c = angular_waves(basis, a, b, sine, cosine);
    for (int k = 0; k < basis->order; k++)
        slope += basis->frequencies[k] * (of_sine[k] * cosine[k] - of_cosine[k] * sine[k]);
    return slope * -PER_ROOT_PI * GUARD / sqrt((1.0 - c) * (1.0 + c));
}

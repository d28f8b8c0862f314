// Exponential, logarithm and what is made of them, for vectors: series to the last place or two of the type.

template <class T, int LANES, int ROWS>
struct Functions {
    typedef Kernels<T, LANES, ROWS> K;
    typedef typename K::Vec Vec;
    typedef typename K::Int Int;
    typedef typename K::Ints Ints;

    static constexpr bool SINGLE = sizeof(T) == 4;
    static constexpr int MANTISSA = SINGLE ? 23 : 52, BIAS = SINGLE ? 127 : 1023;
    static constexpr T LN2 = T(0.693147180559945309417);

    // Of numbers that are not positive: exp(n ln 2 + rest) is a power of two times a Taylor series.
    static Vec exp(Vec x) {
        constexpr int DEGREE = SINGLE ? 7 : 13;
        constexpr T LOWEST = SINGLE ? -87 : -708;  // below it the result is no normal number: zero
        constexpr T ROUND = T(1.5) * T(Int(1) << MANTISSA);  // added, it leaves the nearest integer in the last bits
        constexpr T HIGH = SINGLE ? T(0.693359375) : T(6.93145751953125e-1);
        constexpr T LOW = SINGLE ? T(-2.12194440e-4) : T(1.42860682030941723212e-6);
        const Vec rounded = x * (1 / LN2) + ROUND, n = rounded - ROUND;
        const Vec rest = (x - n * HIGH) - n * LOW;
        T factor = 1;
        for (int k = 2; k <= DEGREE; ++k) factor /= T(k);
        Vec sum = Vec{} + factor;
        for (int k = DEGREE; k > 0; --k) factor *= T(k), sum = sum * rest + factor;
        const Ints power = ((Ints)rounded - (Ints)(Vec{} + ROUND) + BIAS) << MANTISSA;
        return x < LOWEST ? Vec{} : sum * (Vec)power;
    }

    // Of positive normal numbers: x = 2^n m with m around 1, log m = 2 artanh((m - 1) / (m + 1)).
    static Vec log(Vec x) {
        constexpr int TERMS = SINGLE ? 5 : 11;
        const Ints least = (Ints)(Vec{} + T(0.70710678118654752440));
        const Ints n = ((Ints)x - least) >> MANTISSA;
        const Vec m = (Vec)((Ints)x - (n << MANTISSA));
        const Vec ratio = (m - T(1)) / (m + T(1)), square = ratio * ratio;
        Vec sum = {};
        for (int k = TERMS - 1; k >= 0; --k) sum = sum * square + T(1) / T(2 * k + 1);
        const Vec found = __builtin_convertvector(n, Vec) * LN2 + (ratio + ratio) * sum;
        return x - x == Vec{} ? found : x;  // infinity and NaN
    }

    static Vec tanh(Vec x) {
        const Vec e = exp(x < Vec{} ? x + x : -x - x), size = (T(1) - e) / (T(1) + e);
        return x < Vec{} ? -size : size;
    }

    static Vec sigmoid(Vec x) {
        const Vec e = exp(x < Vec{} ? x : -x);
        return (x < Vec{} ? e : Vec{} + T(1)) / (T(1) + e);
    }
};

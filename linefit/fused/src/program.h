// What the compiled step computes, and the layout of its parameters. The same layout is written down once more in
// linefit/fused/program.py, which fills it: a change here is a change there.
#pragma once
#include <cstddef>
#include <cstdint>

constexpr int MAX_DEPTH = 8;
constexpr int MAX_TAPS = 121;  // of a kernel

enum Pooling : int32_t {
    POOL_MAX = 0,
    POOL_AVERAGE = 1,
    POOL_FLATTEN = 2,
    POOL_SUM = 3,
    POOL_MAX_AVERAGE = 4,
    POOL_GRID = 5,
    POOL_LOG_SUM_EXP = 6,
    POOL_GEM = 7,
    POOL_SOFT = 8,
    POOL_SPATIAL_SOFTMAX = 9,
    POOL_ATTENTION = 10,
    POOL_GATED_ATTENTION = 11,
};

struct Program {
    int32_t depth;                        // convolutions, each followed by ReLU
    int32_t side;                         // of their kernels, odd
    int32_t channels[MAX_DEPTH + 1];      // of the input (pixel first, then constants) and of every layer
    int32_t pooling;
    int32_t pooling_size;                 // a grid's side; attention's hidden units, padded as channels are
    int32_t hidden;                       // units of the head's hidden layer, a multiple of 16
    int32_t unit;                         // channels are padded with zeros to a multiple of it: 8 or 16

    int padded(int layer) const { return (channels[layer] + unit - 1) / unit * unit; }
    int taps() const { return side * side; }
    int last() const { return padded(depth); }

    // Windows that an image is divided into, and values that pooling makes of a channel.
    int windows() const { return pooling == POOL_GRID ? pooling_size * pooling_size : 1; }
    int parts() const { return pooling == POOL_MAX_AVERAGE || pooling == POOL_SPATIAL_SOFTMAX ? 2 : windows(); }
    // Of the head's first matrix; the last part's padding is not read.
    int features() const { return (parts() - 1) * last() + channels[depth]; }

    bool is_attention() const { return pooling == POOL_ATTENTION || pooling == POOL_GATED_ATTENTION; }
    // Whether the gradient of features reaches so few sites that each is followed by itself.
    bool pools_maxima() const { return pooling == POOL_MAX || pooling == POOL_GRID; }
    // Whether pooling reads what images add to the empty one.
    bool pools_differences() const {
        return pooling == POOL_AVERAGE || pooling == POOL_SUM || pooling == POOL_MAX_AVERAGE || pooling == POOL_FLATTEN;
    }

    // Of the pooling's parameters: GeM's exponents [channel]; the softmax's logarithm of the temperature [unit];
    // attention's first matrix [channel][size], its bias [size], the scores' weights [size] and bias [unit], and where it
    // is gated the gate's matrix and bias.
    size_t pooling_parameters() const {
        const size_t matrix = (size_t(last()) + 1) * pooling_size;
        switch (pooling) {
            case POOL_GEM: return last();
            case POOL_SPATIAL_SOFTMAX: return unit;
            case POOL_ATTENTION: return matrix + pooling_size + unit;
            case POOL_GATED_ATTENTION: return 2 * matrix + pooling_size + unit;
            default: return 0;
        }
    }
};

// Parameters as one array: for every convolution [tap][in][out] and its bias [out]; the pooling's; the head's first matrix
// [part][channel][hidden] (a flatten net's is kept apart), its bias, the second matrix [2][hidden] and its bias [unit].
struct Layout {
    size_t weight[MAX_DEPTH + 1], bias[MAX_DEPTH + 1];
    size_t pooling, head, head_bias, output, output_bias, size;

    explicit Layout(const Program& program) {
        size_t at = 0;
        for (int layer = 1; layer <= program.depth; ++layer) {
            weight[layer] = at;
            at += size_t(program.taps()) * program.padded(layer - 1) * program.padded(layer);
            bias[layer] = at;
            at += program.padded(layer);
        }
        pooling = at;
        at += program.pooling_parameters();
        head = at;
        if (program.pooling != POOL_FLATTEN) at += size_t(program.parts()) * program.last() * program.hidden;
        head_bias = at;
        at += program.hidden;
        output = at;
        at += size_t(2) * program.hidden;
        output_bias = at;
        size = at + program.unit;
    }
};

template <class T>
struct Parameters {
    T *theta, *mean, *square;                    // as in `Layout`, with Adam's moments
    // The first matrix of a flatten net's head, in place: [channel * area + site][hidden], and its moments.
    T *large, *large_mean, *large_square;
    uint8_t* met;                                // [channel * area + site]: whether it ever had a gradient
    const T* positions;                          // [site][2]: what a spatial softmax takes the mean of
};

enum Loss : int32_t { LOSS_MSE = 0, LOSS_HUBER = 1, LOSS_L1 = 2 };

// Some steps: which images each of them takes, and how the optimiser changes parameters.
struct Steps {
    int64_t count;
    const int64_t* order;         // indices of images, batch after batch
    const int64_t* ends;          // [count]: where in `order` each batch ends
    const double* learning_rate;  // [count]
    int64_t done;                 // steps before these
    double beta1, beta2, epsilon, weight_decay;
    int32_t loss;
};

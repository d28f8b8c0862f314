// What the compiled step computes, and the layout of its parameters. The same layout is written down once more in
// linefit/fused/program.py, which fills it: a change here is a change there.
#pragma once
#include <cstddef>
#include <cstdint>

constexpr int MAX_DEPTH = 8;
constexpr int TAPS = 9;

enum Pooling : int32_t { POOL_MAX = 0, POOL_AVERAGE = 1, POOL_FLATTEN = 2 };

struct Program {
    int32_t depth;                        // 3x3 convolutions, each followed by ReLU
    int32_t channels[MAX_DEPTH + 1];      // of the input (pixel first, then constants) and of every layer
    int32_t pooling;
    int32_t hidden;                       // units of the head's hidden layer, a multiple of 16
    int32_t unit;                         // channels are padded with zeros to a multiple of it: 8 or 16

    int padded(int layer) const { return (channels[layer] + unit - 1) / unit * unit; }
    int last() const { return padded(depth); }
};

// Parameters as one array: for every convolution [tap][in][out] and its bias [out]; then the head's first matrix
// [in][hidden] (a flatten net's is kept apart), its bias, the second matrix [2][hidden] and its bias [unit].
struct Layout {
    size_t weight[MAX_DEPTH + 1], bias[MAX_DEPTH + 1];
    size_t head, head_bias, output, output_bias, size;

    explicit Layout(const Program& program) {
        size_t at = 0;
        for (int layer = 1; layer <= program.depth; ++layer) {
            weight[layer] = at;
            at += size_t(TAPS) * program.padded(layer - 1) * program.padded(layer);
            bias[layer] = at;
            at += program.padded(layer);
        }
        head = at;
        if (program.pooling != POOL_FLATTEN) at += size_t(program.last()) * program.hidden;
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

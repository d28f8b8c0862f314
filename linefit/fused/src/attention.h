// The scores of attention: of every row of the last layer one, `w tanh(V x)` or gated `w (tanh(V x) sigmoid(U x))`.

template <class T, int LANES, int ROWS>
struct Attention : Softmax<T, LANES, ROWS> {
    typedef Softmax<T, LANES, ROWS> Base;
    typedef typename Base::F F;
    typedef typename Base::K K;
    typedef typename Base::Vec Vec;
    using Base::layout, Base::program, Base::values;

    static constexpr int64_t CHUNK = Base::CHUNK;

    Buffer<T> active, gate, row_scores, units_first, to_inputs;  // `active`, `gate`: [row][unit]

    using Base::Base;

    bool gated() const { return program.pooling == POOL_GATED_ATTENTION; }
    int64_t rows() { return this->last().classes + this->last().nodes; }
    // Where parameters begin, see `Program::pooling_parameters`.
    size_t matrix() const { return size_t(program.last()) * program.pooling_size; }
    size_t value() const { return layout.pooling; }
    size_t score() const { return value() + matrix() + program.pooling_size; }
    size_t gating() const { return score() + program.pooling_size + program.unit; }

    const T* score_rows() {
        const int units = program.pooling_size;
        T* to = row_scores.need(rows());
        linear(value(), active);
        for (int64_t i = 0; i < rows() * units; i += LANES) K::store(active.data + i, F::tanh(K::load(active.data + i)));
        if (gated()) {
            linear(gating(), gate);
            for (int64_t i = 0; i < rows() * units; i += LANES)
                K::store(gate.data + i, F::sigmoid(K::load(gate.data + i)));
        }
        const T *weight = this->theta + score(), bias = weight[units];
        for (int64_t r = 0; r < rows(); ++r) {
            Vec sum = {};
            for (int o = 0; o < units; o += LANES)
                sum += K::load(weight + o) * K::load(active.data + r * units + o) * gate_at(r * units + o);
            to[r] = K::sum(sum) + bias;
        }
        return to;
    }

    Vec gate_at(int64_t i) const { return gated() ? K::load(gate.data + i) : Vec{} + T(1); }

    // The values times a matrix [channel][unit] that begins at `from`, its bias behind it.
    void linear(size_t from, Buffer<T>& out) {
        const size_t units = program.pooling_size, stride = program.last();
        const T *x = values.data, *theta = this->theta;
        typename K::Panel panel{theta + from, 1, this->last().width, 0, units};
        K::multiply(rows(), [=](int64_t r, int) { return x + r * stride; }, panel, int(units / LANES),
                    [](int v) { return size_t(v) * LANES; }, theta + from + matrix(), out.need(rows() * units), units,
                    this->complete, this->scratch);
    }

    // From the gradient of scores [row][lane], to be summed over lanes, to that of parameters and values.
    void from_scores(const T* g, T* to_values, T* gradient) {
        const int units = program.pooling_size;
        const T* weight = this->theta + score();
        T* to_weight = gradient + score();
        for (int64_t r = 0; r < rows(); ++r) {
            const T to_score = K::sum(K::load(g + r * LANES));
            to_weight[units] += to_score;
            for (int o = 0; o < units; o += LANES) {
                const int64_t i = r * units + o;
                const Vec a = K::load(active.data + i), b = gate_at(i), to_unit = to_score * K::load(weight + o);
                K::add(to_weight + o, to_score * a * b);
                K::store(active.data + i, to_unit * b * (T(1) - a * a));
                if (gated()) K::store(gate.data + i, to_unit * a * b * (T(1) - b));
            }
        }
        from_linear(value(), active.data, to_values, gradient);
        if (gated()) from_linear(gating(), gate.data, to_values, gradient);
    }

    // Through `linear`, from the gradient [row][unit] of its result.
    void from_linear(size_t from, const T* g, T* to_values, T* gradient) {
        const size_t units = program.pooling_size, stride = program.last();
        const T *left[CHUNK], *right[CHUNK];
        T* by_unit = units_first.need(units * stride);
        Base::transpose(this->theta + from, stride, units, by_unit);
        typename K::Panel panel{by_unit, 1, int(units), 0, stride};
        T *bias = gradient + from + matrix(), *sent = to_inputs.need(CHUNK * stride);
        for (int64_t begin = 0; begin < rows(); begin += CHUNK) {
            const int64_t some = rows() - begin < CHUNK ? rows() - begin : CHUNK;
            for (int64_t i = 0; i < some; ++i) {
                left[i] = values.data + (begin + i) * stride, right[i] = g + (begin + i) * units;
                for (size_t o = 0; o < units; o += LANES) K::add(bias + o, K::load(right[i] + o));
            }
            K::accumulate(some, left, right, this->last().width, int(units / LANES), gradient + from, units);
            K::multiply(some, [=](int64_t r, int) { return g + (begin + r) * units; }, panel, int(stride / LANES),
                        [](int v) { return size_t(v) * LANES; }, nullptr, sent, stride, this->complete, this->scratch);
            for (size_t i = 0; i < size_t(some) * stride; i += LANES)
                K::add(to_values + begin * stride + i, K::load(sent + i));
        }
    }
};

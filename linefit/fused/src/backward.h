// Backward through the convolutions, for the batch that `Forward` holds.

template <class T, int LANES, int ROWS>
struct Backward : Forward<T, LANES, ROWS> {
    typedef Forward<T, LANES, ROWS> Base;
    typedef typename Base::K K;
    typedef typename Base::Vec Vec;
    typedef typename Base::Ints Ints;
    typedef typename Base::Layer Layer;
    using Base::layer, Base::layout, Base::program, Base::tables, Base::theta;

    static constexpr int64_t CHUNK = 64;  // rows of a product whose operands stay in cache

    Buffer<T> transposed[MAX_DEPTH + 1];  // weights as [tap][out][in]
    Buffer<T> reached, sent, totals;
    Buffer<int32_t> touched;

    using Base::Base;

    void transpose_weights() {
        for (int l = 1; l <= program.depth; ++l) {
            size_t in = layer[l - 1].stride, out = layer[l].stride;
            T* to = transposed[l].need(TAPS * in * out);
            for (int tap = 0; tap < TAPS; ++tap)
                transpose(theta + layout.weight[l] + tap * in * out, in, out, to + tap * in * out);
        }
    }

    static void transpose(const T* from, size_t rows, size_t columns, T* to) {
        for (size_t r = 0; r < rows; r += 8)
            for (size_t c = 0; c < columns; ++c)
                for (size_t i = r; i < r + 8; ++i) to[c * rows + i] = from[i * columns + c];
    }

    void zero_gradients(int l) {
        Layer& at = layer[l];
        at.gradient.zeros(size_t(at.classes + at.nodes + 1) * at.stride);
    }

    // From the gradient of layer l's values to those of its parameters and of the layer below.
    void convolution(int l, T* gradient) {
        Layer &at = layer[l], &below = layer[l - 1];
        const size_t out = at.stride;
        T* own = at.gradient.data;
        T* total = totals.need(at.classes * out);  // of a class: its own and that of the nodes in its place
        for (size_t i = 0; i < (at.classes + at.nodes) * out; i += LANES)
            K::store(own + i, K::load(at.z.data + i) > Vec{} ? K::load(own + i) : Vec{});
        std::memcpy(total, own, at.classes * out * sizeof(T));

        T* sums = reached.zeros(below.nodes * TAPS * out);  // [node below][tap][out]: of what reads it
        int32_t* rows = touched.zeros(below.nodes + 1);
        for (int64_t p = 0; p < at.nodes; ++p) {
            const T* g = own + (at.classes + p) * out;
            if (!K::any(g, int(out))) continue;
            for (size_t c = 0; c < out; c += LANES) K::add(total + at.base.data[p] * out + c, K::load(g + c));
            for (uint32_t e = at.first.data[p]; e < at.first.data[p + 1]; ++e) {
                rows[at.edge.data[e] / TAPS] = 1;
                T* to = sums + size_t(at.edge.data[e]) * out;
                for (size_t c = 0; c < out; c += LANES) K::add(to + c, K::load(g + c));
            }
        }
        int64_t count = 0;
        for (int32_t u = 0; u < below.nodes; ++u)
            if (rows[u]) rows[count++] = u;

        for (int cls = 0; cls < at.classes; ++cls)
            for (size_t c = 0; c < out; c += LANES)
                K::add(gradient + layout.bias[l] + c, K::load(total + cls * out + c));
        weights(l, rows, count, sums, total, gradient + layout.weight[l]);
        if (l > 1) inputs(l, rows, count, sums, total);
    }

    void weights(int l, const int32_t* rows, int64_t count, const T* sums, const T* total, T* to) {
        Layer &at = layer[l], &below = layer[l - 1];
        const size_t in = below.stride, out = at.stride;
        const T *left[CHUNK], *right[CHUNK];
        for (int64_t begin = 0; begin < count; begin += CHUNK)
            for (int tap = 0; tap < TAPS; ++tap) {
                int64_t pairs = 0;
                for (int64_t i = begin; i < count && i < begin + CHUNK; ++i, ++pairs) {
                    left[pairs] = below.difference.data + rows[i] * in;
                    right[pairs] = sums + (size_t(rows[i]) * TAPS + tap) * out;
                }
                K::accumulate(pairs, left, right, below.width, int(out / LANES), to + tap * in * out, out);
            }
        for (int begin = 0; begin < at.classes; begin += CHUNK)
            for (int tap = 0; tap < TAPS; ++tap) {
                int64_t pairs = 0;
                for (int cls = begin; cls < at.classes && cls < begin + CHUNK; ++cls) {
                    int32_t child = at.level->children[cls * TAPS + tap];
                    if (child < 0) continue;
                    left[pairs] = below.value.data + child * in;
                    right[pairs++] = total + cls * out;
                }
                K::accumulate(pairs, left, right, below.width, int(out / LANES), to + tap * in * out, out);
            }
    }

    void inputs(int l, const int32_t* rows, int64_t count, const T* sums, const T* total) {
        Layer &at = layer[l], &below = layer[l - 1];
        const size_t in = below.stride, out = at.stride;
        const int vectors = int(in / LANES);
        zero_gradients(l - 1);
        T* to = below.gradient.data;
        T* buffer = sent.need(CHUNK * TAPS * in);
        typename K::Panel by_node{transposed[l].data, TAPS, at.width, out * in, in};
        for (int64_t begin = 0; begin < count; begin += CHUNK) {
            int64_t some = count - begin < CHUNK ? count - begin : CHUNK;
            K::multiply(some, [=](int64_t r, int tap) { return sums + (size_t(rows[begin + r]) * TAPS + tap) * out; },
                        by_node, vectors, [](int v) { return size_t(v) * LANES; }, nullptr, buffer, in, this->complete,
                        this->scratch);
            for (int64_t r = 0; r < some; ++r) {
                int32_t u = rows[begin + r], base = below.base.data[u];
                for (size_t k = 0; k < in; k += LANES) {
                    Vec value = K::load(buffer + r * in + k);
                    K::store(to + (below.classes + u) * in + k, value);
                    K::add(to + base * in + k, -value);
                }
            }
        }
        typename K::Panel by_class{transposed[l].data, 1, at.width, 0, in};
        for (int begin = 0; begin < at.classes; begin += CHUNK) {
            int some = at.classes - begin < CHUNK ? at.classes - begin : int(CHUNK);
            K::multiply(some, [=](int64_t r, int) { return total + (begin + r) * out; }, by_class, TAPS * vectors,
                        [=](int v) { return v / vectors * in * out + v % vectors * size_t(LANES); }, nullptr, buffer,
                        TAPS * in, this->complete, this->scratch);
            for (int64_t r = 0; r < some * TAPS; ++r) {
                int32_t child = at.level->children[begin * TAPS + r];
                if (child < 0) continue;
                for (size_t k = 0; k < in; k += LANES) K::add(to + child * in + k, K::load(buffer + r * in + k));
            }
        }
    }
};

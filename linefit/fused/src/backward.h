// Backward through the convolutions, for the batch that `Forward` holds.

template <class T, int LANES, int ROWS>
struct Backward : Forward<T, LANES, ROWS> {
    typedef Forward<T, LANES, ROWS> Base;
    typedef typename Base::K K;
    typedef typename Base::Vec Vec;
    typedef typename Base::Ints Ints;
    typedef typename Base::Layer Layer;
    using Base::AHEAD, Base::layer, Base::layout, Base::program, Base::tables, Base::taps, Base::theta;

    static constexpr int64_t CHUNK = 64;  // rows of a product whose operands stay in cache

    Buffer<T> transposed[MAX_DEPTH + 1];  // weights as [tap][out][in]
    Buffer<T> reached, sent, totals;
    Buffer<int32_t> touched, live, readers;  // nodes: below that are read; with a gradient; those, by what they read
    Buffer<uint32_t> reader_start;           // [node below * taps + tap + 1]

    using Base::Base;

    void transpose_weights() {
        for (int l = 1; l <= program.depth; ++l) {
            size_t in = layer[l - 1].stride, out = layer[l].stride;
            T* to = transposed[l].need(taps * in * out);
            for (int tap = 0; tap < taps; ++tap)
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
        pass_relu(at, 0, at.classes);
        std::memcpy(total, own, at.classes * out * sizeof(T));
        sort_edges(l, total);
        const int64_t count = list_touched(below.nodes);
        for (int cls = 0; cls < at.classes; ++cls)
            for (size_t c = 0; c < out; c += LANES)
                K::add(gradient + layout.bias[l] + c, K::load(total + cls * out + c));
        if (l > 1) zero_gradients(l - 1);
        for (int64_t begin = 0; begin < count; begin += CHUNK) {
            const int64_t some = count - begin < CHUNK ? count - begin : CHUNK;
            const int32_t* rows = touched.data + begin;
            const T* sums = gather(at, rows, some);
            node_weights(l, rows, some, sums, gradient + layout.weight[l]);
            if (l > 1) node_inputs(l, rows, some, sums);
        }
        for (int begin = 0; begin < at.classes; begin += CHUNK) {
            const int some = at.classes - begin < CHUNK ? at.classes - begin : int(CHUNK);
            class_weights(l, begin, some, total, gradient + layout.weight[l]);
            if (l > 1) class_inputs(l, begin, some, total);
        }
    }

    // The gradient of some rows' values becomes that of what they are before ReLU.
    static void pass_relu(Layer& at, int64_t begin, int64_t end) {
        for (int64_t i = begin * at.stride; i < end * at.stride; i += LANES) {
            T* g = at.gradient.data + i;
            K::store(g, K::load(at.z.data + i) > Vec{} ? K::load(g) : Vec{});
        }
    }

    // The edges that a gradient comes through, by the node below and the tap; on the way it is added to the nodes' classes.
    void sort_edges(int l, T* total) {
        Layer& at = layer[l];
        const size_t out = at.stride, keys = size_t(layer[l - 1].nodes) * taps;
        const uint32_t *first = at.first.data, *edge = at.edge.data;
        const T* own = at.gradient.data + at.classes * out;
        uint32_t* start = reader_start.zeros(keys + 2);
        int32_t *nodes = live.need(at.nodes + 1), *reader = readers.need(first[at.nodes] + 1);
        int64_t count = 0;
        for (int64_t p = 0; p < at.nodes; ++p) {
            const T* g = own + p * out;
            pass_relu(at, at.classes + p, at.classes + p + 1);
            if (!K::any(g, int(out))) continue;
            nodes[count++] = int32_t(p);
            for (size_t c = 0; c < out; c += LANES) K::add(total + at.base.data[p] * out + c, K::load(g + c));
            for (uint32_t e = first[p]; e < first[p + 1]; ++e) ++start[edge[e] + 2];
        }
        for (size_t key = 0; key < keys; ++key) start[key + 2] += start[key + 1];
        for (int64_t i = 0; i < count; ++i)
            for (uint32_t e = first[nodes[i]]; e < first[nodes[i] + 1]; ++e) reader[start[edge[e] + 1]++] = nodes[i];
    }

    // How many nodes of a layer are read by one of those edges; they are in `touched`.
    int64_t list_touched(int64_t nodes) {
        int32_t* rows = touched.need(nodes + 1);
        int64_t count = 0;
        for (int64_t u = 0; u < nodes; ++u) {
            rows[count] = int32_t(u);
            count += reader_start.data[u * taps] < reader_start.data[(u + 1) * taps];
        }
        return count;
    }

    // Of some nodes below [node][tap][out]: the gradient of all that reads them.
    const T* gather(const Layer& at, const int32_t* rows, int64_t some) {
        const size_t out = at.stride;
        reached.need(some * taps * out);
        size_t c = 0;
        for (; c + 3 * LANES <= out; c += 3 * LANES) gather_columns<3>(at, rows, some, c);
        for (; c < out; c += LANES) gather_columns<1>(at, rows, some, c);
        return reached.data;
    }

    template <int V>
    void gather_columns(const Layer& at, const int32_t* rows, int64_t some, size_t column) {
        const size_t out = at.stride;
        const T* own = at.gradient.data + at.classes * out + column;
        const int32_t* reader = readers.data;
        const uint32_t last = reader_start.data[rows[some - 1] * size_t(taps) + taps];
        T* to = reached.data + column;
        for (int64_t i = 0; i < some; ++i) {
            const uint32_t* start = reader_start.data + rows[i] * size_t(taps);
            for (int tap = 0; tap < taps; ++tap, to += out) {
                Vec sum[V] = {};
                for (uint32_t r = start[tap]; r < start[tap + 1]; ++r) {
                    const T* next = own + size_t(reader[r + AHEAD < last ? r + AHEAD : r]) * out;
                    for (int v = 0; v < V; ++v) __builtin_prefetch(next + v * LANES);
                    for (int v = 0; v < V; ++v) sum[v] += K::load(own + size_t(reader[r]) * out + v * LANES);
                }
                for (int v = 0; v < V; ++v) K::store(to + v * LANES, sum[v]);
            }
        }
    }

    void node_weights(int l, const int32_t* rows, int64_t some, const T* sums, T* to) {
        Layer &at = layer[l], &below = layer[l - 1];
        const size_t in = below.stride, out = at.stride;
        const T *left[CHUNK], *right[CHUNK];
        for (int tap = 0; tap < taps; ++tap) {
            for (int64_t i = 0; i < some; ++i) {
                left[i] = below.difference.data + rows[i] * in;
                right[i] = sums + (i * taps + tap) * out;
            }
            K::accumulate(some, left, right, below.width, int(out / LANES), to + tap * in * out, out);
        }
    }

    void class_weights(int l, int begin, int some, const T* total, T* to) {
        Layer &at = layer[l], &below = layer[l - 1];
        const size_t in = below.stride, out = at.stride;
        const T *left[CHUNK], *right[CHUNK];
        for (int tap = 0; tap < taps; ++tap) {
            int64_t pairs = 0;
            for (int cls = begin; cls < begin + some; ++cls) {
                int32_t child = at.level->children[cls * taps + tap];
                if (child < 0) continue;
                left[pairs] = below.value.data + child * in;
                right[pairs++] = total + cls * out;
            }
            K::accumulate(pairs, left, right, below.width, int(out / LANES), to + tap * in * out, out);
        }
    }

    void node_inputs(int l, const int32_t* rows, int64_t some, const T* sums) {
        Layer &at = layer[l], &below = layer[l - 1];
        const size_t in = below.stride, out = at.stride;
        T *to = below.gradient.data, *buffer = sent.need(CHUNK * taps * in);
        typename K::Panel panel{transposed[l].data, taps, at.width, out * in, in};
        K::multiply(some, [=](int64_t r, int tap) { return sums + (r * taps + tap) * out; }, panel, int(in / LANES),
                    [](int v) { return size_t(v) * LANES; }, nullptr, buffer, in, this->complete, this->scratch);
        for (int64_t r = 0; r < some; ++r) {
            int32_t u = rows[r], base = below.base.data[u];
            for (size_t k = 0; k < in; k += LANES) {
                Vec value = K::load(buffer + r * in + k);
                K::store(to + (below.classes + u) * in + k, value);
                K::add(to + base * in + k, -value);
            }
        }
    }

    void class_inputs(int l, int begin, int some, const T* total) {
        Layer &at = layer[l], &below = layer[l - 1];
        const size_t in = below.stride, out = at.stride;
        const int vectors = int(in / LANES);
        T *to = below.gradient.data, *buffer = sent.need(CHUNK * taps * in);
        typename K::Panel panel{transposed[l].data, 1, at.width, 0, in};
        K::multiply(some, [=](int64_t r, int) { return total + (begin + r) * out; }, panel, taps * vectors,
                    [=](int v) { return v / vectors * in * out + v % vectors * size_t(LANES); }, nullptr, buffer,
                    taps * in, this->complete, this->scratch);
        for (int64_t r = 0; r < some * taps; ++r) {
            int32_t child = at.level->children[begin * taps + r];
            if (child < 0) continue;
            for (size_t k = 0; k < in; k += LANES) K::add(to + child * in + k, K::load(buffer + r * in + k));
        }
    }
};

// Forward through the convolutions for some images of a data set, and pooling. A layer's features are computed once for
// every class of the empty image and once for every distinct node of these images.

template <class T, int LANES, int ROWS>
struct Forward {
    typedef Kernels<T, LANES, ROWS> K;
    typedef typename K::Vec Vec;
    typedef typename K::Ints Ints;

    // One layer in one batch. Rows of `z` and `gradient` are the classes, then the nodes, then one of zeros.
    struct Layer {
        const Level* level;
        int classes, width, stride;   // width: real channels, stride: padded
        int64_t nodes;                // distinct ones in the batch
        Buffer<int32_t> used, local;  // node of the data set of each row; row of each node of the data set
        Buffer<uint64_t> bits;
        Buffer<T> z;                  // before ReLU
        Buffer<T> value;              // of the classes after ReLU, then a row of zeros
        Buffer<T> difference;         // of the nodes: value less that of the class
        Buffer<T> gradient;           // with respect to values
    };

    const Program program;
    const Layout layout;
    const Tables* tables = nullptr;
    const T* theta = nullptr;
    bool complete = false;  // parameters are not all finite
    Layer layer[MAX_DEPTH + 1];
    int64_t images = 0;
    const int64_t* order = nullptr;
    Buffer<T> products, features, average_total;
    Buffer<uint16_t> scratch;
    Buffer<int32_t> chosen;  // [image][channel]: row of the last layer's z that is the maximum

    explicit Forward(const Program& program) : program(program), layout(program) {
        for (int l = 0; l <= program.depth; ++l)
            layer[l].width = program.channels[l], layer[l].stride = program.padded(l);
        Layer& input = layer[0];
        input.difference.zeros(input.stride)[0] = 1;  // a lit pixel
        input.local.zeros(1);
        input.nodes = 1;
    }

    // The data set that indices refer to from now on, and the input's values [class][channel] on it.
    void bind(const Tables& given, const T* constants) {
        tables = &given;
        for (int l = 0; l <= program.depth; ++l) {
            const Level& level = given.level[l];
            layer[l].level = &level, layer[l].classes = level.classes;
            layer[l].value.zeros(size_t(level.classes + 1) * layer[l].stride);
        }
        Layer& input = layer[0];
        for (int c = 0; c < input.classes; ++c)
            std::memcpy(input.value.data + size_t(c) * input.stride, constants + size_t(c) * input.width,
                        input.width * sizeof(T));
    }

    Layer& last() { return layer[program.depth]; }
    const int32_t* nodes_of(const Layer& at, int64_t n, int64_t& count) const {
        int64_t begin = at.level->start[order[n]];
        count = at.level->start[order[n] + 1] - begin;
        return at.level->node.data() + begin;
    }

    void convolutions(const int64_t* indices, int64_t count) {
        order = indices, images = count;
        for (int l = 1; l <= program.depth; ++l) {
            collect(layer[l]);
            background(l);
            multiply_taps(l);
            if (l < program.depth || program.pooling != POOL_MAX) sum_taps<true>(l);
            else sum_taps<false>(l);
        }
    }

    // The distinct nodes of the batch, in the order of the data set's.
    void collect(Layer& at) {
        size_t words = at.level->nodes / 64 + 1;
        uint64_t* bits = at.bits.zeros(words);
        int64_t count, most = 0;
        for (int64_t n = 0; n < images; ++n) {
            const int32_t* node = nodes_of(at, n, count);
            for (int64_t i = 0; i < count; ++i) bits[node[i] >> 6] |= uint64_t(1) << (node[i] & 63);
            most += count;
        }
        int32_t *used = at.used.need(most + 1), *local = at.local.need(at.level->nodes + 1);
        at.nodes = 0;
        for (size_t word = 0; word < words; ++word)
            for (uint64_t left = bits[word]; left; left &= left - 1) {
                int32_t node = int32_t(word * 64 + __builtin_ctzll(left));
                local[node] = int32_t(at.nodes);
                used[at.nodes++] = node;
            }
    }

    void background(int l) {
        Layer &at = layer[l], &below = layer[l - 1];
        const int32_t* children = at.level->children.data();
        size_t in = below.stride, out = at.stride;
        const T* value = below.value.data;
        auto row = [=, &below](int64_t r, int tap) {
            int32_t child = children[r * TAPS + tap];
            return value + (child < 0 ? below.classes : child) * in;
        };
        T* z = at.z.need((at.classes + at.nodes + 1) * out);
        typename K::Panel panel{theta + layout.weight[l], TAPS, below.width, in * out, out};
        K::multiply(at.classes, row, panel, int(out / LANES), [](int v) { return size_t(v) * LANES; },
                    theta + layout.bias[l], z, out, complete, scratch);
        for (size_t i = 0; i < at.classes * out; i += LANES) K::store(at.value.data + i, K::relu(K::load(z + i)));
        std::memset(z + (at.classes + at.nodes) * out, 0, out * sizeof(T));
    }

    // What every node of the layer below adds through every tap: [node][tap][out].
    void multiply_taps(int l) {
        Layer &at = layer[l], &below = layer[l - 1];
        size_t in = below.stride, out = at.stride;
        int vectors = int(out / LANES);
        const T* difference = below.difference.data;
        T* to = products.need(below.nodes * TAPS * out);
        typename K::Panel panel{theta + layout.weight[l], 1, below.width, 0, out};
        K::multiply(below.nodes, [=](int64_t r, int) { return difference + r * in; }, panel, TAPS * vectors,
                    [=](int v) { return v / vectors * in * out + v % vectors * size_t(LANES); }, nullptr, to,
                    TAPS * out, complete, scratch);
    }

    template <bool DIFFERENCE>
    void sum_taps(int l) {
        Layer& at = layer[l];
        if (DIFFERENCE) at.difference.need((at.nodes + 1) * at.stride);
        int vectors = at.stride / LANES;
        int v = 0;
        for (; v + 3 <= vectors; v += 3) sum_columns<DIFFERENCE, 3>(l, v * LANES);
        if (vectors - v == 2) sum_columns<DIFFERENCE, 2>(l, v * LANES);
        if (vectors - v == 1) sum_columns<DIFFERENCE, 1>(l, v * LANES);
    }

    template <bool DIFFERENCE, int V>
    void sum_columns(int l, int column) {
        Layer& at = layer[l];
        const Level& level = *at.level;
        const int32_t* local = layer[l - 1].local.data;
        const size_t out = at.stride;
        const T* product = products.data + column;
        T *z = at.z.data + column, *difference = at.difference.data + column;
        for (int64_t p = 0; p < at.nodes; ++p) {
            int32_t node = at.used.data[p];
            Vec change[V] = {};
            for (int64_t e = level.first[node]; e < level.first[node + 1]; ++e) {
                uint32_t edge = level.edge[e];
                const T* from = product + (size_t(local[edge >> 4]) * TAPS + (edge & 15)) * out;
                for (int v = 0; v < V; ++v) change[v] += K::load(from + v * LANES);
            }
            const T* base = z + level.base[node] * out;
            T* to = z + (at.classes + p) * out;
            for (int v = 0; v < V; ++v) {
                Vec before = K::load(base + v * LANES), after = before + change[v];
                K::store(to + v * LANES, after);
                if (DIFFERENCE) {
                    // Where both are positive the difference is the change itself, the same for many nodes.
                    Vec clipped = K::relu(after) - K::relu(before);
                    Ints linear = (before > Vec{}) & (after > Vec{});
                    K::store(difference + p * out + v * LANES, linear ? change[v] : clipped);
                }
            }
        }
    }

    // Features [image][channel], and in `chosen` where each comes from.
    T* pool_maximum() {
        Layer& at = last();
        const int stride = at.stride;
        T* top = features.need(images * stride);
        chosen.need(images * stride);
        BackgroundMaxima<T, LANES, ROWS> best(at.z.data, at.stride, at.width, *at.level, *tables);
        Buffer<int32_t> rows;
        for (int64_t n = 0; n < images; ++n) {
            int64_t count;
            const int32_t* node = nodes_of(at, n, count);
            int32_t* row = rows.need(count + 1);
            for (int64_t i = 0; i < count; ++i) row[i] = at.classes + at.local.data[node[i]];
            for (int c = 0; c < stride; c += LANES) {
                Vec value = Vec{} - T(__builtin_inf());
                Ints where = Ints{} - 1;
                for (int64_t i = 0; i < count; ++i) {
                    Vec z = K::load(at.z.data + size_t(row[i]) * stride + c);
                    Ints larger = (z > value) | (z != z);  // NaN wins, as in a dense pool
                    value = larger ? z : value;
                    where = larger ? Ints{} + typename K::Int(i) : where;
                }
                K::store(top + n * stride + c, value);
                for (int i = 0; i < LANES; ++i)
                    chosen.data[n * stride + c + i] = where[i] < 0 ? -1 : row[where[i]];
            }
            for (int c = 0; c < at.width; ++c) best.compare(order[n], c, top[n * stride + c], chosen.data[n * stride + c]);
        }
        for (int64_t i = 0; i < images * stride; i += LANES) K::store(top + i, K::relu(K::load(top + i)));
        return top;
    }

    T* pool_average() {
        Layer& at = last();
        const int stride = at.stride;
        T* sums = features.need(images * stride);
        T *total = average_total.zeros(2 * stride), *part = total + stride;
        for (int y = 0; y < tables->height; ++y) {  // row by row: fewer roundings than site by site
            std::memset(part, 0, stride * sizeof(T));
            for (int x = 0; x < tables->width; ++x) {
                const T* value = at.value.data + size_t(at.level->class_of_site[y * tables->width + x]) * stride;
                for (int c = 0; c < stride; c += LANES) K::add(part + c, K::load(value + c));
            }
            for (int c = 0; c < stride; c += LANES) K::add(total + c, K::load(part + c));
        }
        for (int64_t n = 0; n < images; ++n) {
            int64_t count;
            const int32_t* node = nodes_of(at, n, count);
            for (int c = 0; c < stride; c += LANES) {
                Vec sum = K::load(total + c);
                for (int64_t i = 0; i < count; ++i)
                    sum += K::load(at.difference.data + size_t(at.local.data[node[i]]) * stride + c);
                K::store(sums + n * stride + c, sum / T(tables->area()));
            }
        }
        return sums;
    }
};

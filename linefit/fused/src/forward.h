// Forward through the convolutions for some images of a data set. A layer's features are computed once for
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
        Buffer<uint64_t> bits;
        Buffer<int32_t> local;        // row of a node of the data set
        Buffer<int32_t> base;         // [row]: class
        Buffer<uint32_t> first;       // [row + 1]: edges
        Buffer<uint32_t> edge;        // row of the layer below * taps + tap
        Buffer<int64_t> start;        // [image + 1]
        Buffer<int32_t> row;          // [start[images]]: rows of every image, site by site
        Buffer<T> z;                  // before ReLU
        bool shows_background;        // whether the classes are there already: predictions leave parameters alone
        Buffer<T> value;              // of the classes after ReLU, then a row of zeros
        Buffer<T> difference;         // of the nodes: value less that of the class
        Buffer<T> gradient;           // with respect to values
    };

    static constexpr int AHEAD = 32;  // entries of a list by which memory is asked for in advance

    const Program program;
    const Layout layout;
    const int taps;
    const Tables* tables = nullptr;
    const T* theta = nullptr;
    bool complete = false;  // parameters are not all finite
    bool trains = false;    // what backward reads is kept
    Layer layer[MAX_DEPTH + 1];
    int64_t images = 0;
    const int64_t* order = nullptr;
    Buffer<T> products;
    Buffer<uint16_t> scratch;

    explicit Forward(const Program& program) : program(program), layout(program), taps(program.taps()) {
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
            layer[l].level = &level, layer[l].classes = level.classes, layer[l].shows_background = false;
            layer[l].value.zeros(size_t(level.classes + 1) * layer[l].stride);
        }
        Layer& input = layer[0];
        for (int c = 0; c < input.classes; ++c)
            std::memcpy(input.value.data + size_t(c) * input.stride, constants + size_t(c) * input.width,
                        input.width * sizeof(T));
    }

    Layer& last() { return layer[program.depth]; }
    const Layer& last() const { return layer[program.depth]; }

    void convolutions(const int64_t* indices, int64_t count) {
        order = indices, images = count;
        for (int l = 1; l <= program.depth; ++l) {
            collect(layer[l], layer[l - 1]);
            background(l);
            multiply_taps(l);
            if (l == program.depth && pools_sums()) return;
            if (l < program.depth || program.pools_differences()) sum_taps<true>(l);
            else sum_taps<false>(l);
        }
    }

    // Whether pooling takes the last layer's nodes as they are summed, instead of reading them again: where each of
    // them is read by one image alone. Their values are written only if a gradient will ask for them.
    bool pools_sums() const {
        const bool knows = program.pooling == POOL_MAX || program.pooling == POOL_AVERAGE || program.pooling == POOL_SUM;
        return knows && !last().level->shared;
    }

    // The nodes of the batch, in the order of the data set's if it shares them, their edges, and the images' rows.
    void collect(Layer& at, const Layer& below) {
        const Level& level = *at.level;
        int64_t* start = at.start.need(images + 1);
        start[0] = 0;
        for (int64_t n = 0; n < images; ++n)
            start[n + 1] = start[n] + level.start[order[n] + 1] - level.start[order[n]];
        int32_t* row = at.row.need(start[images] + 1);
        at.base.need(start[images] + 1), at.first.need(start[images] + 1), at.edge.need((start[images] + 1) * taps);
        at.nodes = 0;
        at.first.data[0] = 0;
        if (!level.shared) {
            for (int64_t n = 0; n < images; ++n)
                for (int64_t node = level.start[order[n]]; node < level.start[order[n] + 1]; ++node) {
                    row[at.nodes] = int32_t(at.nodes);
                    link(at, below, uint32_t(node));
                }
            return;
        }
        const size_t words = level.nodes / 64 + 1;
        uint64_t* bits = at.bits.zeros(words);
        for (int64_t n = 0; n < images; ++n)
            for (int64_t i = level.start[order[n]]; i < level.start[order[n] + 1]; ++i)
                bits[level.node[i] >> 6] |= uint64_t(1) << (level.node[i] & 63);
        int32_t* local = at.local.need(level.nodes + 1);
        for (size_t word = 0; word < words; ++word)
            for (uint64_t left = bits[word]; left; left &= left - 1) {
                uint32_t node = uint32_t(word * 64 + __builtin_ctzll(left));
                local[node] = int32_t(at.nodes);
                link(at, below, node);
            }
        for (int64_t n = 0; n < images; ++n) {
            const int32_t* node = level.node.data() + level.start[order[n]];
            for (int64_t i = start[n]; i < start[n + 1]; ++i) row[i] = local[node[i - start[n]]];
        }
    }

    // Make a node of the data set the batch's next row.
    void link(Layer& at, const Layer& below, uint32_t node) {
        const uint32_t *record = at.level->record.data(), end = at.level->first[node + 1];
        uint32_t e = at.level->first[node], count = at.first.data[at.nodes];
        at.base.data[at.nodes] = int32_t(record[e]);
        while (++e < end) {
            const int32_t row = below.local.data[record[e] >> TAP_BITS];
            at.edge.data[count++] = uint32_t(row) * taps + (record[e] & LAST_TAP);
        }
        at.first.data[++at.nodes] = count;
    }

    void background(int l) {
        Layer &at = layer[l], &below = layer[l - 1];
        const int32_t* children = at.level->children.data();
        size_t in = below.stride, out = at.stride;
        const T* value = below.value.data;
        auto row = [=, &below](int64_t r, int tap) {
            int32_t child = children[r * taps + tap];
            return value + (child < 0 ? below.classes : child) * in;
        };
        const size_t rows = at.classes + at.nodes + 1;
        const bool known = at.shows_background && at.z.holds(rows * out);
        T* z = at.z.need(rows * out);
        std::memset(z + (rows - 1) * out, 0, out * sizeof(T));
        if (known) return;
        typename K::Panel panel{theta + layout.weight[l], taps, below.width, in * out, out};
        K::multiply(at.classes, row, panel, int(out / LANES), [](int v) { return size_t(v) * LANES; },
                    theta + layout.bias[l], z, out, complete, scratch);
        for (size_t i = 0; i < at.classes * out; i += LANES) K::store(at.value.data + i, K::relu(K::load(z + i)));
        at.shows_background = !trains;
    }

    // What every node of the layer below adds through every tap: [node][tap][out].
    void multiply_taps(int l) {
        Layer &at = layer[l], &below = layer[l - 1];
        size_t in = below.stride, out = at.stride;
        int vectors = int(out / LANES);
        const T* difference = below.difference.data;
        T* to = products.need(below.nodes * taps * out);
        typename K::Panel panel{theta + layout.weight[l], 1, below.width, 0, out};
        K::multiply(below.nodes, [=](int64_t r, int) { return difference + r * in; }, panel, taps * vectors,
                    [=](int v) { return v / vectors * in * out + v % vectors * size_t(LANES); }, nullptr, to,
                    taps * out, complete, scratch);
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
        const size_t out = at.stride;
        T *z = at.z.data + at.classes * out + column, *difference = at.difference.data + column;
        each_sum<V>(l, column, 0, at.nodes, [=](int64_t p, int v, Vec before, Vec change) {
            const Vec after = before + change;
            K::store(z + p * out + v * LANES, after);
            if (DIFFERENCE) K::store(difference + p * out + v * LANES, difference_of(before, change));
        });
    }

    // What a change before ReLU is after it. Where both values are positive it is the change itself, the same for many
    // nodes.
    static Vec difference_of(Vec before, Vec change) {
        const Vec after = before + change, clipped = K::relu(after) - K::relu(before);
        const Ints linear = (before > Vec{}) & (after > Vec{});
        return linear ? change : clipped;
    }

    // `visit(node, vector, before, change)` for some nodes: V vectors of their class from a column on, and what their
    // edges add to them.
    template <int V, class Visit>
    void each_sum(int l, int column, int64_t begin, int64_t end, Visit visit) {
        const Layer& at = layer[l];
        const size_t out = at.stride;
        const T *product = products.data + column, *z = at.z.data + column;
        const uint32_t *first = at.first.data, *edge = at.edge.data;
        const uint32_t edges = first[at.nodes];
        for (int64_t p = begin; p < end; ++p) {
            Vec change[V] = {};
            for (uint32_t e = first[p]; e < first[p + 1]; ++e) {
                const T* next = product + size_t(edge[e + AHEAD < edges ? e + AHEAD : e]) * out;
                for (int v = 0; v < V; ++v) __builtin_prefetch(next + v * LANES);
                const T* from = product + size_t(edge[e]) * out;
                for (int v = 0; v < V; ++v) change[v] += K::load(from + v * LANES);
            }
            const T* base = z + at.base.data[p] * out;
            for (int v = 0; v < V; ++v) visit(p, v, K::load(base + v * LANES), change[v]);
        }
    }
};
